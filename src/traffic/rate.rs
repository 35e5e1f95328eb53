//! The rule by which the rate limit follows the origin's errors: down by a fifth when it fails, up by a fifth when
//! it does not.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::units::{OutOfRange, Rate};

/// `[rate_limit]`: requests per second that go to the origin, where the level has the limit on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The rate never falls below.
    pub min: Rate,
    /// The rate never rises above.
    pub max: Rate,
    /// The rate at the start; `max` if not given, so that a cold start turns nobody away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<Rate>,
    /// Most requests that wait for the rate.
    pub queue: usize,
    /// The longest time between two judgements.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
}

impl Settings {
    /// The rate at the start.
    pub fn start(&self) -> Rate {
        self.initial.unwrap_or(self.max)
    }

    /// Checks what no single value shows.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that makes no sense.
    pub fn check(&self) -> Result<(), OutOfRange> {
        OutOfRange::unless(
            self.min <= self.max,
            "rate_limit.min",
            format!("at most rate_limit.max ({})", self.max.per_second()),
            self.min.per_second(),
        )?;
        OutOfRange::unless(
            (self.min..=self.max).contains(&self.start()),
            "rate_limit.initial",
            format!(
                "between rate_limit.min and rate_limit.max ({} to {})",
                self.min.per_second(),
                self.max.per_second()
            ),
            self.start().per_second(),
        )?;
        OutOfRange::unless(
            self.queue <= 1_000_000,
            "rate_limit.queue",
            "at most 1000000",
            self.queue,
        )?;
        OutOfRange::unless_between(
            "rate_limit.window",
            Duration::from_millis(100),
            self.window,
            Duration::from_secs(3600),
        )
    }
}

/// Requests that reached the origin since the process started, and how many of them were its errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Requests that reached the origin.
    pub requests: u64,
    /// 5xx, failed connects, timeouts, broken bodies.
    pub errors: u64,
}

/// A new rate, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct RateChange {
    /// The rate before.
    pub from: Rate,
    /// The rate from now on.
    pub to: Rate,
    /// What it follows from.
    pub why: String,
}

/// Follows the origin's errors. Fed with totals, so that a lost summary loses nothing.
#[derive(Debug)]
pub struct RatePolicy {
    min: Rate,
    max: Rate,
    window: Duration,
    rate: Rate,
    /// The totals that have been judged already.
    judged: Judged,
    judged_at: Instant,
}

impl RatePolicy {
    /// A judgement falls every so many requests.
    pub const EVERY: u64 = 100;
    /// And never on fewer samples than these: they are carried over.
    pub const FEWEST: u64 = 20;

    /// A policy at `rate` that has seen the totals `so_far`.
    pub fn new(settings: &Settings, rate: Rate, so_far: Judged, now: Instant) -> Self {
        Self {
            min: settings.min,
            max: settings.max,
            window: settings.window,
            rate: rate.scaled(1.0, settings.min, settings.max),
            judged: so_far,
            judged_at: now,
        }
    }

    /// The rate in force.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Leaves what has happened so far unjudged: it happened while the limit was off.
    pub fn skip(&mut self, totals: Judged, now: Instant) {
        self.judged = totals;
        self.judged_at = now;
    }

    /// Judges what is new in `totals`: once for every 100 requests, or once if a window has passed. Says so if the
    /// rate changed.
    pub fn observe(&mut self, totals: Judged, now: Instant) -> Option<RateChange> {
        let fresh = Judged {
            requests: totals.requests.saturating_sub(self.judged.requests),
            errors: totals.errors.saturating_sub(self.judged.errors),
        };
        let due = now.saturating_duration_since(self.judged_at) >= self.window;
        let judgements = match fresh.requests / Self::EVERY {
            0 if due && fresh.requests >= Self::FEWEST => 1,
            hundreds => hundreds,
        };
        if judgements == 0 {
            return None;
        }
        self.skip(totals, now);

        let share = fresh.errors as f64 / fresh.requests as f64;
        let factor: f64 = if share > 0.10 {
            0.8
        } else if share < 0.02 {
            1.2
        } else {
            return None;
        };
        let from = self.rate;
        // a thousand judgements take any rate to its end
        let times = judgements.min(1000) as i32;
        self.rate = from.scaled(factor.powi(times), self.min, self.max);
        (self.rate != from).then(|| RateChange {
            from,
            to: self.rate,
            why: format!(
                "{:.1} % errors in {} requests to the origin",
                share * 100.0,
                fresh.requests
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rate(per_second: f64) -> Rate {
        Rate::new(per_second).unwrap()
    }

    fn settings() -> Settings {
        Settings {
            min: rate(10.0),
            max: rate(1000.0),
            initial: None,
            queue: 1000,
            window: SECOND * 10,
        }
    }

    fn policy(at: f64, now: Instant) -> RatePolicy {
        RatePolicy::new(&settings(), rate(at), Judged::default(), now)
    }

    fn totals(requests: u64, errors: u64) -> Judged {
        Judged { requests, errors }
    }

    #[test]
    fn a_hundred_requests_with_more_than_a_tenth_errors_take_a_fifth_off() {
        let now = Instant::now();
        let mut policy = policy(1000.0, now);
        assert_eq!(policy.observe(totals(99, 99), now), None);
        let change = policy.observe(totals(100, 11), now).unwrap();
        assert_eq!((change.from, change.to), (rate(1000.0), rate(800.0)));
        assert_eq!(change.why, "11.0 % errors in 100 requests to the origin");
    }

    #[test]
    fn a_hundred_requests_with_less_than_two_in_a_hundred_errors_put_a_fifth_on() {
        let now = Instant::now();
        let mut policy = policy(500.0, now);
        assert_eq!(policy.observe(totals(100, 1), now).unwrap().to, rate(600.0));
    }

    #[test]
    fn between_two_and_ten_in_a_hundred_nothing_changes() {
        let now = Instant::now();
        for errors in 2..=10 {
            let mut policy = policy(500.0, now);
            assert_eq!(policy.observe(totals(100, errors), now), None);
            assert_eq!(policy.rate(), rate(500.0));
        }
    }

    #[test]
    fn a_window_judges_fewer_than_a_hundred_but_never_fewer_than_twenty() {
        let now = Instant::now();
        let mut policy = policy(1000.0, now);
        assert_eq!(policy.observe(totals(19, 19), now + SECOND * 10), None);
        assert_eq!(policy.observe(totals(19, 19), now + SECOND * 20), None);
        let change = policy.observe(totals(20, 20), now + SECOND * 21).unwrap();
        assert_eq!(change.to, rate(800.0), "the nineteen were carried over");
        assert_eq!(policy.observe(totals(90, 90), now + SECOND * 22), None);
        assert!(policy.observe(totals(90, 90), now + SECOND * 31).is_some());
    }

    #[test]
    fn several_hundreds_at_once_are_judged_as_often() {
        let now = Instant::now();
        let mut policy = policy(1000.0, now);
        let change = policy.observe(totals(250, 125), now).unwrap();
        assert_eq!(change.to, rate(640.0));
    }

    #[test]
    fn what_happened_while_the_limit_was_off_is_not_judged() {
        let now = Instant::now();
        let mut policy = policy(1000.0, now);
        policy.skip(totals(500, 500), now);
        assert_eq!(policy.observe(totals(599, 500), now), None);
        assert_eq!(
            policy.observe(totals(600, 500), now),
            None,
            "at the top already"
        );
    }

    #[test]
    fn settings_that_contradict_each_other_are_named() {
        let wrong = Settings {
            min: rate(2000.0),
            ..settings()
        };
        assert_eq!(
            wrong.check().unwrap_err().to_string(),
            "rate_limit.min must be at most rate_limit.max (1000), but is 2000"
        );
        let wrong = Settings {
            initial: Some(rate(5.0)),
            ..settings()
        };
        assert_eq!(
            wrong.check().unwrap_err().to_string(),
            "rate_limit.initial must be between rate_limit.min and rate_limit.max (10 to 1000), but is 5"
        );
        assert_eq!(settings().check(), Ok(()));
    }

    proptest! {
        #[test]
        fn the_rate_stays_within_its_bounds_and_moves_only_as_the_errors_say(
            steps in proptest::collection::vec((0u64..400, 0.0f64..=1.0, 0u64..15_000), 0..200),
        ) {
            let mut now = Instant::now();
            let mut policy = policy(1000.0, now);
            let mut so_far = Judged::default();
            for (requests, share, millis) in steps {
                now += Duration::from_millis(millis);
                so_far.requests += requests;
                so_far.errors += (requests as f64 * share) as u64;
                let before = policy.rate();
                let fresh = so_far.requests - policy.judged.requests;
                let failed = so_far.errors - policy.judged.errors;
                let change = policy.observe(so_far, now);
                prop_assert!((rate(10.0)..=rate(1000.0)).contains(&policy.rate()));
                prop_assert_eq!(change.is_some(), policy.rate() != before);
                if let Some(change) = change {
                    prop_assert!(fresh >= RatePolicy::FEWEST);
                    prop_assert_eq!(change.to < change.from, failed * 10 > fresh);
                }
            }
        }
    }
}
