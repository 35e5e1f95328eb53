//! Backoff of requests to an origin that failed.

use std::time::{Duration, Instant};

/// Delay after the first failure.
const FIRST: Duration = Duration::from_secs(1);

/// The longest delay; it doubles with each further failure.
const MOST: Duration = Duration::from_secs(30);

/// Until when one object is not requested from the origin again, and the current delay; none if it has not failed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff(Option<(Instant, Duration)>);

impl Backoff {
    /// Whether the origin must not be asked at `now`.
    pub fn holds(&self, now: Instant) -> bool {
        self.0.is_some_and(|(until, _)| now < until)
    }

    /// Records a failure.
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
