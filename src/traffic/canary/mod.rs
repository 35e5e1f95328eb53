//! A canary of levels: a share of the clients has another level, and is compared with the rest.
//!
//! [`split`] assigns clients, [`trial`] counts both groups, [`interval`] and [`cells`] compute confidence intervals, [`judge`]
//! tests whether the candidate is worse, [`referee`] follows the running canary. This file has what an operator requests.

use std::{fmt, time::Duration, time::SystemTime};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::level::Level;
use crate::{reloadable::reloadable, units::OutOfRange};

pub mod cells;
pub mod interval;
pub mod judge;
pub mod referee;
pub mod split;
pub mod trial;

/// `[canary]`: how a candidate level is judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Sliding window over which the two groups are compared.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// No group is judged on fewer requests.
    pub min_samples: u64,
    /// No group is judged on fewer clients.
    pub min_clients: u64,
    /// Tolerated increase of the candidate's p95: 0.2 is a fifth.
    pub max_slowdown: f64,
    /// Probability that a candidate which is no worse is rolled back by mistake, over its whole run, 0 to 1; 0: no automatic
    /// rollback.
    pub risk: f64,
}

reloadable!(Settings {
    window: AfterRestart,
    min_samples: AfterRestart,
    min_clients: AfterRestart,
    max_slowdown: AfterRestart,
    risk: AfterRestart,
});

impl Settings {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that makes no sense.
    pub fn check(&self) -> Result<(), OutOfRange> {
        OutOfRange::unless_between(
            "canary.window",
            Duration::from_secs(10),
            self.window,
            Duration::from_secs(24 * 3600),
        )?;
        OutOfRange::unless(
            (10..=1_000_000_000).contains(&self.min_samples),
            "canary.min_samples",
            "10 to 1000000000",
            self.min_samples,
        )?;
        OutOfRange::unless(
            (2..=cells::COUNT as u64).contains(&self.min_clients),
            "canary.min_clients",
            format!("2 to {}", cells::COUNT),
            self.min_clients,
        )?;
        OutOfRange::unless(
            (0.0..=10.0).contains(&self.max_slowdown),
            "canary.max_slowdown",
            "0 to 10",
            self.max_slowdown,
        )?;
        OutOfRange::unless(
            (0.0..=0.1).contains(&self.risk),
            "canary.risk",
            "0 to 0.1",
            self.risk,
        )
    }
}

/// A share of the clients, in whole percent, 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64")]
pub struct Percent(u8);

/// A number outside of 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a percentage: give a whole number from 0 to 100")]
pub struct NotAPercent(pub i64);

impl Percent {
    /// Nobody.
    pub const NONE: Percent = Percent(0);
    /// Everybody.
    pub const ALL: Percent = Percent(100);

    /// The number, 0 to 100.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<i64> for Percent {
    type Error = NotAPercent;

    fn try_from(number: i64) -> Result<Self, NotAPercent> {
        u8::try_from(number)
            .ok()
            .filter(|percent| *percent <= 100)
            .map(Percent)
            .ok_or(NotAPercent(number))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

/// A level that a share of the clients has, 1 to 99 percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Candidate {
    /// Their level.
    pub level: Level,
    /// Their share.
    #[schema(value_type = u8, maximum = 99)]
    pub percent: Percent,
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.level, self.percent)
    }
}

/// The last rollback of a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// When.
    #[serde(with = "humantime_serde")]
    pub at: SystemTime,
    /// Why, in words.
    pub reason: String,
}

/// The canary, running or ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// Random number of this candidate with this share, the same on every instance; 0 if there never was one.
    pub stage: u32,
    /// The running candidate; none: all clients have the level.
    pub candidate: Option<Candidate>,
    /// The last rollback, until a level is set for all clients.
    pub last_rollback: Option<Rollback>,
}

/// Which clients have which level: what an operator sets, and what instances share in Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// The level of all clients outside the canary.
    pub level: Level,
    /// The canary.
    pub canary: Canary,
}

/// A request that contradicts the current rollout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The candidate is the level that all clients have already.
    #[error("the level is {0} already: a canary tries another one")]
    SameLevel(Level),
    /// The candidate to be taken back is everybody's level.
    #[error("{0} is the level of all clients: there is no canary to take back; set another level")]
    NoCanary(Level),
    /// The candidate to be taken back is not the running one.
    #[error("the candidate that runs is {0}")]
    OtherCandidate(Candidate),
}

impl Rollout {
    /// The rollout after `level` was requested for `percent` of the clients at `at`: 100 ends a canary, promoted or not; 0 takes
    /// the candidate back; anything between starts one or changes its share, as `stage`.
    ///
    /// # Errors
    ///
    /// [`Conflict`]; nothing changes.
    pub fn asked(
        &self,
        level: Level,
        percent: Percent,
        stage: u32,
        at: SystemTime,
    ) -> Result<Rollout, Conflict> {
        let running = self.canary.candidate;
        match percent {
            Percent::ALL => Ok(Rollout {
                level,
                canary: Canary::default(),
            }),
            Percent::NONE => match running {
                Some(candidate) if candidate.level == level => Ok(self.rolled_back(Rollback {
                    at,
                    reason: "asked for at the admin endpoint".into(),
                })),
                Some(candidate) => Err(Conflict::OtherCandidate(candidate)),
                None if level == self.level => Err(Conflict::NoCanary(level)),
                // no client has it: already as requested
                None => Ok(self.clone()),
            },
            _ if level == self.level => Err(Conflict::SameLevel(level)),
            _ if running == Some(Candidate { level, percent }) => Ok(self.clone()),
            _ => Ok(Rollout {
                level: self.level,
                canary: Canary {
                    stage,
                    candidate: Some(Candidate { level, percent }),
                    last_rollback: self.canary.last_rollback.clone(),
                },
            }),
        }
    }

    /// The same rollout without its candidate.
    pub fn rolled_back(&self, rollback: Rollback) -> Rollout {
        Rollout {
            level: self.level,
            canary: Canary {
                stage: self.canary.stage,
                candidate: None,
                last_rollback: Some(rollback),
            },
        }
    }

    /// The same, without an invalid candidate: one with the stable level, or with a share of 0 or 100.
    pub fn sound(mut self) -> Rollout {
        self.canary.candidate = self.canary.candidate.filter(|candidate| {
            candidate.level != self.level
                && self.canary.stage != 0
                && (Percent(1)..Percent::ALL).contains(&candidate.percent)
        });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: Rollout = Rollout {
        level: Level::Low,
        canary: Canary {
            stage: 0,
            candidate: None,
            last_rollback: None,
        },
    };

    fn ask(rollout: &Rollout, level: Level, percent: u8, stage: u32) -> Result<Rollout, Conflict> {
        rollout.asked(level, Percent(percent), stage, SystemTime::UNIX_EPOCH)
    }

    #[test]
    fn a_share_is_a_whole_number_from_0_to_100() {
        for wrong in [-1, 101, i64::MIN, i64::MAX, 256] {
            assert_eq!(Percent::try_from(wrong), Err(NotAPercent(wrong)));
        }
        assert_eq!(Percent::try_from(0), Ok(Percent::NONE));
        assert_eq!(Percent::try_from(100), Ok(Percent::ALL));
    }

    #[test]
    fn a_canary_begins_grows_and_is_promoted() {
        let ten = ask(&LOW, Level::High, 10, 1).unwrap();
        assert_eq!(ten.level, Level::Low);
        assert_eq!(ten.canary.candidate.unwrap().to_string(), "high for 10 %");
        let fifty = ask(&ten, Level::High, 50, 2).unwrap();
        assert_eq!((fifty.level, fifty.canary.stage), (Level::Low, 2));
        let all = ask(&fifty, Level::High, 100, 3).unwrap();
        assert_eq!(all.level, Level::High);
        assert_eq!(all.canary, Canary::default());
    }

    #[test]
    fn zero_takes_the_candidate_back_and_says_when_and_why() {
        let ten = ask(&LOW, Level::High, 10, 1).unwrap();
        let back = ask(&ten, Level::High, 0, 2).unwrap();
        assert_eq!((back.level, back.canary.candidate), (Level::Low, None));
        assert!(back.canary.last_rollback.is_some());
        assert_eq!(
            ask(&back, Level::High, 0, 3),
            Ok(back.clone()),
            "it is so already"
        );
        assert_eq!(ask(&back, Level::Low, 100, 3), Ok(LOW), "a clean slate");
        let again = ask(&back, Level::High, 10, 4).unwrap();
        assert!(again.canary.last_rollback.is_some(), "it is not forgotten");
    }

    #[test]
    fn the_same_again_changes_nothing() {
        let ten = ask(&LOW, Level::High, 10, 1).unwrap();
        assert_eq!(ask(&ten, Level::High, 10, 2), Ok(ten));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let ten = ask(&LOW, Level::High, 10, 1).unwrap();
        assert_eq!(
            ask(&LOW, Level::Low, 10, 2),
            Err(Conflict::SameLevel(Level::Low))
        );
        assert_eq!(
            ask(&LOW, Level::Low, 0, 2),
            Err(Conflict::NoCanary(Level::Low))
        );
        let other = ask(&ten, Level::Medium, 0, 2).unwrap_err().to_string();
        assert_eq!(other, "the candidate that runs is high for 10 %");
        let medium = ask(&ten, Level::Medium, 20, 2).unwrap();
        assert_eq!(medium.canary.candidate.unwrap().level, Level::Medium);
    }

    #[test]
    fn a_candidate_that_is_none_is_dropped() {
        let ten = ask(&LOW, Level::High, 10, 1).unwrap();
        assert_eq!(ten.clone().sound(), ten);
        let mut same = ten.clone();
        same.level = Level::High;
        assert_eq!(same.sound().canary.candidate, None);
        let mut all = ten;
        all.canary.candidate = Some(Candidate {
            level: Level::High,
            percent: Percent::ALL,
        });
        assert_eq!(all.sound().canary.candidate, None);
    }

    #[test]
    fn settings_out_of_range_name_their_key() {
        let fine = Settings {
            window: Duration::from_secs(600),
            min_samples: 200,
            min_clients: 5,
            max_slowdown: 0.2,
            risk: 0.01,
        };
        assert!(fine.check().is_ok());
        type Change = fn(&mut Settings);
        let wrong: [(&str, Change); 7] = [
            ("canary.window", |s| s.window = Duration::from_secs(9)),
            ("canary.min_samples", |s| s.min_samples = 0),
            ("canary.min_clients", |s| s.min_clients = 65),
            ("canary.max_slowdown", |s| s.max_slowdown = -0.1),
            ("canary.max_slowdown", |s| s.max_slowdown = f64::NAN),
            ("canary.risk", |s| s.risk = 0.5),
            ("canary.risk", |s| s.risk = f64::INFINITY),
        ];
        for (key, change) in wrong {
            let mut settings = fine.clone();
            change(&mut settings);
            let error = settings.check().unwrap_err().to_string();
            assert!(error.starts_with(key), "{error}");
        }
    }
}
