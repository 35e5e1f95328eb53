//! The rule by which the rate limit follows the origin's errors: down by a fifth when it fails, up by a fifth when it does not.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{
    evidence::{Batch, EVERY, Judged},
    goodput::Goodput,
    keys::Group,
};
use crate::{
    reloadable::reloadable,
    units::{OutOfRange, Rate},
};

/// `[rate_limit]`: requests per second to the origin, if the level has the limit on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Lower bound of the rate.
    pub min: Rate,
    /// Upper bound of the rate.
    pub max: Rate,
    /// The rate at startup; `max` if not set, so that nothing is refused after a start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<Rate>,
    /// The most requests that wait for the rate limit.
    pub queue: usize,
    /// The longest time between two judgements.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
}

reloadable!(Settings {
    min: AtOnce,
    max: AtOnce,
    initial: AfterRestart,
    queue: AfterRestart,
    window: AtOnce,
});

impl Settings {
    /// The rate at startup.
    pub fn start(&self) -> Rate {
        self.initial.unwrap_or(self.max)
    }

    /// Checks the values.
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

/// A change of the rate.
#[derive(Clone, Debug, PartialEq)]
pub struct RateChange {
    /// The rate before.
    pub from: Rate,
    /// The rate from now on.
    pub to: Rate,
    /// The reason, in words.
    pub why: String,
}

/// Adapts the rate to the origin's errors, batch by batch.
///
/// Errors of one target or one client alone are excluded as outliers ([`outliers`](super::outliers)). If there are no other
/// requests to compare with, their errors lower the rate for them only ([`RatePolicy::blamed`]), and once others succeed, the
/// previous rate is restored. The rate never falls below what the origin recently answered successfully: a lower limit would refuse
/// requests that could be served.
#[derive(Debug)]
pub struct RatePolicy {
    min: Rate,
    max: Rate,
    rate: Rate,
    /// Number of batches already judged.
    judged: u64,
    goodput: Goodput,
    blame: Option<Blame>,
}

/// A rate that was lowered without other requests to compare with.
#[derive(Debug)]
struct Blame {
    /// The groups that all those requests had in common.
    groups: Vec<Group>,
    /// The rate before.
    before: Rate,
}

impl RatePolicy {
    /// A policy with initial `rate` that has seen the batches in `judged`.
    pub fn new(settings: &Settings, rate: Rate, judged: &Judged, now: Instant) -> Self {
        Self {
            min: settings.min,
            max: settings.max,
            rate: rate.scaled(1.0, settings.min, settings.max),
            judged: judged.batches,
            goodput: Goodput::new(settings.window, judged.succeeded, now),
            blame: None,
        }
    }

    /// Applies changed bounds.
    pub fn resettle(&mut self, settings: &Settings) {
        (self.min, self.max) = (settings.min, settings.max);
        self.goodput.set_span(settings.window);
        self.rate = self.rate.scaled(1.0, self.min, self.max);
    }

    /// The rate in force.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Whether the rate is at its upper bound.
    pub fn is_at_most(&self) -> bool {
        self.rate >= self.max
    }

    /// The groups that the rate applies to: requests that belong to all of them. Empty: all requests.
    pub fn blamed(&self) -> &[Group] {
        self.blame.as_ref().map_or(&[], |blame| &blame.groups)
    }

    /// Skips what happened so far, because the limit was off.
    pub fn skip(&mut self, judged: &Judged, now: Instant) {
        self.judged = judged.batches;
        self.goodput.observe(judged.succeeded, now);
    }

    /// Judges the last batch if it is new, with one step for each 100 requests in it, at least one. Returns the change, if there is
    /// one.
    pub fn observe(&mut self, judged: &Judged, now: Instant) -> Option<RateChange> {
        let is_new = judged.batches != self.judged;
        self.skip(judged, now);
        let batch = Some(&judged.last).filter(|_| is_new)?;
        let from = self.rate;
        let outliers = &batch.weighed.outliers;
        let given_back = self
            .blame
            .take_if(|blame| blame.groups.iter().any(|group| outliers.contains(group)));
        if let Some(blame) = given_back {
            // it was lowered since then, and may have risen again
            self.rate = blame.before.scaled(1.0, from, self.max);
        } else {
            // a thousand steps reach any bound
            let times = (batch.all.requests / EVERY).clamp(1, 1000) as i32;
            let share = batch.share()?;
            if share > 0.10 {
                self.lower(0.8_f64.powi(times), batch, judged.succeeded, now);
            } else if share < 0.02 {
                self.rate = from.scaled(1.2_f64.powi(times), self.min, self.max);
            }
        }
        if self.rate == self.max {
            self.blame = None;
        }
        (self.rate != from).then(|| RateChange {
            from,
            to: self.rate,
            why: why(batch),
        })
    }

    fn lower(&mut self, factor: f64, batch: &Batch, succeeded: u64, now: Instant) {
        let from = self.rate;
        let lately = Rate::new(self.goodput.lately(succeeded, now)).unwrap_or(Rate::LOWEST);
        // a lower bound only, not a reason to raise the rate
        let least = lately.scaled(1.0, self.min, from);
        self.rate = from.scaled(factor, least, self.max);
        let alone = &batch.weighed.alone;
        self.blame = match self.blame.take() {
            _ if alone.is_empty() => None,
            Some(mut blame) => {
                blame.groups.retain(|group| alone.contains(group));
                Some(blame).filter(|blame| !blame.groups.is_empty())
            }
            None if from == self.max => Some(Blame {
                groups: alone.clone(),
                before: from,
            }),
            // It applied to all requests before.
            None => None,
        };
    }
}

fn why(batch: &Batch) -> String {
    let Batch { all, weighed } = batch;
    match weighed.outliers.len() {
        0 => format!(
            "{:.1} % errors in {} requests to the origin",
            all.share() * 100.0,
            all.requests
        ),
        outliers => format!(
            "{:.1} % errors in {} requests to the origin, without the {outliers} targets or clients that stand out",
            weighed.rest.share() * 100.0,
            weighed.rest.requests
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::traffic::{
        keys::{Dimension, Keys},
        outliers::{Count, Weighed},
    };

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

    /// A policy with its test inputs.
    struct Fed {
        policy: RatePolicy,
        judged: Judged,
        now: Instant,
    }

    impl Fed {
        fn at(per_second: f64) -> Self {
            let now = Instant::now();
            let judged = Judged::default();
            Fed {
                policy: RatePolicy::new(&settings(), rate(per_second), &judged, now),
                judged,
                now,
            }
        }

        fn hear(&mut self, all: Count, weighed: Weighed) -> Option<RateChange> {
            self.judged.batches += 1;
            self.judged.last = Batch { all, weighed };
            self.policy.observe(&self.judged, self.now)
        }

        /// A batch whose errors are spread over all groups.
        fn batch(&mut self, requests: u64, errors: u64) -> Option<RateChange> {
            let all = Count { requests, errors };
            let rest = all;
            self.hear(
                all,
                Weighed {
                    rest,
                    ..Weighed::default()
                },
            )
        }

        /// A hundred errors of one client.
        fn alone(&mut self, client: u8) -> Option<RateChange> {
            let all = Count {
                requests: 100,
                errors: 100,
            };
            let weighed = Weighed {
                rest: all,
                alone: vec![of(client)],
                ..Weighed::default()
            };
            self.hear(all, weighed)
        }
    }

    fn of(client: u8) -> Group {
        let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, client));
        Keys::of("/", None, client).group(Dimension::Client)
    }

    #[test]
    fn a_hundred_requests_with_more_than_a_tenth_errors_take_a_fifth_off() {
        let change = Fed::at(1000.0).batch(100, 11).unwrap();
        assert_eq!((change.from, change.to), (rate(1000.0), rate(800.0)));
        assert_eq!(change.why, "11.0 % errors in 100 requests to the origin");
    }

    #[test]
    fn a_hundred_requests_with_less_than_two_in_a_hundred_errors_put_a_fifth_on() {
        assert_eq!(Fed::at(500.0).batch(100, 1).unwrap().to, rate(600.0));
    }

    #[test]
    fn between_two_and_ten_in_a_hundred_nothing_changes() {
        for errors in 2..=10 {
            let mut fed = Fed::at(500.0);
            assert_eq!(fed.batch(100, errors), None);
            assert_eq!(fed.policy.rate(), rate(500.0));
        }
    }

    #[test]
    fn a_batch_is_judged_once_and_each_hundred_in_it_counts() {
        let mut fed = Fed::at(1000.0);
        assert_eq!(fed.batch(250, 125).unwrap().to, rate(640.0));
        assert_eq!(fed.policy.observe(&fed.judged, fed.now), None);
        assert_eq!(fed.batch(20, 20).unwrap().to, rate(512.0));
    }

    #[test]
    fn what_happened_while_the_limit_was_off_is_not_judged() {
        let mut fed = Fed::at(1000.0);
        fed.judged.batches = 5;
        fed.judged.last.weighed.rest = Count {
            requests: 500,
            errors: 500,
        };
        fed.policy.skip(&fed.judged, fed.now);
        assert_eq!(fed.policy.observe(&fed.judged, fed.now), None);
    }

    #[test]
    fn the_rate_never_falls_under_what_lately_succeeded() {
        let mut fed = Fed::at(1000.0);
        fed.now += SECOND * 10;
        fed.judged.succeeded = 4000;
        for _ in 0..50 {
            fed.batch(100, 50);
        }
        assert_eq!(fed.policy.rate(), rate(400.0));
        // From now on nothing succeeds.
        for _ in 0..10 {
            fed.now += SECOND * 10;
            fed.batch(1000, 1000);
        }
        assert_eq!(fed.policy.rate(), rate(10.0));
    }

    #[test]
    fn a_rate_under_what_succeeds_is_not_lowered_further_and_not_raised_by_errors() {
        let mut fed = Fed::at(100.0);
        fed.now += SECOND * 10;
        fed.judged.succeeded = 5000;
        assert_eq!(fed.batch(100, 50), None);
        assert_eq!(fed.policy.rate(), rate(100.0));
    }

    #[test]
    fn errors_of_one_alone_lower_its_own_rate_until_others_are_heard_to_succeed() {
        let mut fed = Fed::at(1000.0);
        assert_eq!(fed.alone(1).unwrap().to, rate(800.0));
        assert_eq!(fed.alone(1).unwrap().to, rate(640.0));
        assert_eq!(fed.policy.blamed(), [of(1)]);
        let all = Count {
            requests: 100,
            errors: 99,
        };
        let rest = Count {
            requests: 1,
            errors: 0,
        };
        let weighed = Weighed {
            rest,
            outliers: vec![of(1)],
            alone: Vec::new(),
        };
        assert_eq!(fed.hear(all, weighed).unwrap().to, rate(1000.0));
        assert!(fed.policy.blamed().is_empty());
    }

    #[test]
    fn errors_of_several_one_after_the_other_lower_everybody_s() {
        let mut fed = Fed::at(1000.0);
        fed.alone(1);
        fed.alone(2);
        assert_eq!(fed.policy.rate(), rate(640.0));
        assert!(fed.policy.blamed().is_empty());
        fed.alone(1);
        assert!(fed.policy.blamed().is_empty(), "it was everybody's before");
    }

    #[test]
    fn too_few_beside_those_who_stand_out_change_nothing() {
        let mut fed = Fed::at(500.0);
        for errors in [0, 19] {
            let all = Count {
                requests: 100,
                errors: 81 + errors,
            };
            let rest = Count {
                requests: 19,
                errors,
            };
            let weighed = Weighed {
                rest,
                outliers: vec![of(1)],
                alone: Vec::new(),
            };
            assert_eq!(fed.hear(all, weighed), None);
        }
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
            steps in proptest::collection::vec((20u64..400, 0.0f64..=1.0, 0u64..15_000), 0..200),
        ) {
            let mut fed = Fed::at(1000.0);
            for (requests, share, millis) in steps {
                fed.now += Duration::from_millis(millis);
                let errors = (requests as f64 * share) as u64;
                fed.judged.succeeded += requests - errors;
                let before = fed.policy.rate();
                let change = fed.batch(requests, errors);
                prop_assert!((rate(10.0)..=rate(1000.0)).contains(&fed.policy.rate()));
                prop_assert_eq!(change.is_some(), fed.policy.rate() != before);
                if let Some(change) = change {
                    prop_assert_eq!(change.to < change.from, errors * 10 > requests);
                }
            }
        }
    }
}
