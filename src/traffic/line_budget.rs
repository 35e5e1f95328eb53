//! Rate limit for log lines about similar events. The others are counted, and the next line reports their number.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use super::token_bucket::TokenBucket;

/// Lines that may be written at once.
const BURST: f64 = 20.0;
/// Lines a second after that.
const RATE: f64 = 1.0;

/// The line budget for one kind of event, over the whole process.
#[derive(Debug)]
pub struct LineBudget {
    bucket: TokenBucket,
    unwritten: AtomicU64,
}

impl LineBudget {
    /// A full budget.
    pub fn new(now: Instant) -> Self {
        LineBudget {
            bucket: TokenBucket::new(BURST, RATE, now),
            unwritten: AtomicU64::new(0),
        }
    }

    /// Requests a line at `now`: returns how many events were not logged since the last line, or none if this one must not be
    /// logged either.
    pub fn take(&self, now: Instant) -> Option<u64> {
        if self.bucket.spend(now) {
            return Some(self.unwritten.swap(0, Relaxed));
        }
        self.unwritten.fetch_add(1, Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_gets_a_line_a_second_that_tells_how_many_had_none() {
        let now = Instant::now();
        let lines = LineBudget::new(now);
        let written = (0..1020).filter_map(|_| lines.take(now)).count();
        assert_eq!(written, 20);
        assert_eq!(lines.take(now + Duration::from_secs(1)), Some(1000));
        assert_eq!(lines.take(now + Duration::from_secs(1)), None);
        assert_eq!(lines.take(now + Duration::from_secs(2)), Some(1));
    }
}
