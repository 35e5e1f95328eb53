//! Detects when a maximum of the settings, not the origin, holds requests back, to tell the operator. Pure: time is an argument.

use std::time::{Duration, Instant, SystemTime};

/// A limit that binds for a shorter time is a burst, and is not reported.
const LASTING: Duration = Duration::from_secs(10);

/// A shorter interruption does not count.
const PAUSE: Duration = Duration::from_secs(3);

/// Least time between two log lines.
const BETWEEN_LINES: Duration = Duration::from_secs(60);

/// Observation at one tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Look {
    /// The settings key of the maximum at which requests wait or are refused; none if no maximum is reached.
    pub key: Option<String>,
    /// Its value.
    pub value: f64,
    /// The value that the current requests would need.
    pub needed: f64,
}

/// A maximum that has held requests back for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct BindingLimit {
    /// Its settings key.
    pub key: String,
    /// Its value.
    pub value: f64,
    /// The highest value that would have been needed since then.
    pub needed: f64,
    /// Since when it holds requests back.
    pub since: SystemTime,
}

/// Follows the observations from tick to tick.
#[derive(Debug, Default)]
pub struct Watch {
    bound: Option<Bound>,
    said: Option<Instant>,
}

#[derive(Debug)]
struct Bound {
    limit: BindingLimit,
    first: Instant,
    last: Instant,
}

impl Watch {
    /// The limit that holds requests back, and whether it is time to log it.
    pub fn observe(
        &mut self,
        look: Look,
        now: Instant,
        clock: SystemTime,
    ) -> Option<(BindingLimit, bool)> {
        match (look.key, &mut self.bound) {
            (Some(key), Some(bound)) if bound.limit.key == key => {
                bound.last = now;
                bound.limit.value = look.value;
                bound.limit.needed = bound.limit.needed.max(look.needed);
            }
            (Some(key), bound) => {
                *bound = Some(Bound {
                    limit: BindingLimit {
                        key,
                        value: look.value,
                        needed: look.needed,
                        since: clock,
                    },
                    first: now,
                    last: now,
                });
            }
            (None, bound) => {
                bound.take_if(|bound| now.saturating_duration_since(bound.last) > PAUSE);
            }
        }
        let bound = self.bound.as_ref()?;
        if bound.last.saturating_duration_since(bound.first) < LASTING {
            return None;
        }
        let is_due = |said| now.saturating_duration_since(said) >= BETWEEN_LINES;
        let says = self.said.is_none_or(is_due);
        if says {
            self.said = Some(now);
        }
        Some((bound.limit.clone(), says))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(key: &str, needed: f64) -> Look {
        Look {
            key: (!key.is_empty()).then(|| key.to_owned()),
            value: 100.0,
            needed,
        }
    }

    #[test]
    fn a_limit_that_binds_for_ten_seconds_is_told_once_a_minute() {
        let (mut watch, start, clock) = (Watch::default(), Instant::now(), SystemTime::now());
        let mut lines = 0;
        for second in 0..130 {
            let now = start + Duration::from_secs(second);
            let needed = if second == 3 { 250.0 } else { 120.0 };
            // An interruption of two seconds does not count.
            let key = if second % 9 < 2 { "" } else { "rate_limit.max" };
            match watch.observe(look(key, needed), now, clock) {
                None => assert!(second < 12, "{second}"),
                Some((limit, says)) => {
                    assert!(second >= 12);
                    assert_eq!((limit.needed, limit.since), (250.0, clock));
                    lines += u32::from(says);
                }
            }
        }
        assert_eq!(lines, 2);
    }

    #[test]
    fn a_burst_or_one_limit_after_another_is_none() {
        let (mut watch, start, clock) = (Watch::default(), Instant::now(), SystemTime::now());
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            let key = ["a", "b", ""][(second / 8) as usize % 3];
            assert_eq!(watch.observe(look(key, 1.0), now, clock), None);
        }
    }
}
