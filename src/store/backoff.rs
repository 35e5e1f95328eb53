//! How long an origin that failed is left alone.

use std::time::{Duration, Instant};

/// After the first failure.
const FIRST: Duration = Duration::from_secs(1);

/// At most: the time is doubled with each further failure.
const MOST: Duration = Duration::from_secs(30);

/// Until when the origin is not asked for one object again, and how long that was; none while it has not failed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff(Option<(Instant, Duration)>);

impl Backoff {
    /// Whether it is not to be asked.
    pub fn holds(&self, now: Instant) -> bool {
        self.0.is_some_and(|(until, _)| now < until)
    }

    /// It failed once more.
    pub fn failed(&mut self, now: Instant) {
        let wait = self.0.map_or(FIRST, |(_, wait)| (wait * 2).min(MOST));
        self.0 = Some((now + wait, wait));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_from_a_second_to_half_a_minute() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        assert!(!backoff.holds(now));
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            backoff.failed(now);
            assert!(backoff.holds(now + Duration::from_millis(seconds * 1000 - 1)));
            assert!(!backoff.holds(now + Duration::from_secs(seconds)));
        }
    }
}
