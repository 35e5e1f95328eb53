//! A change of the level: who requested it, what it did, and why it may fail.

use std::{fmt, sync::Arc};

use crate::traffic::{
    canary::{Candidate, Conflict},
    level::Level,
    tuning::Tuning,
};

/// Who requested a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LevelSource {
    /// The admin endpoint of this instance.
    Admin,
    /// The key in Redis, written by another instance, or by this one before a restart.
    Redis,
}

impl fmt::Display for LevelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LevelSource::Admin => "set by the admin endpoint",
            LevelSource::Redis => "set for all instances in redis",
        })
    }
}

/// The effect of a change of level. The tunings are those of the affected clients: in the canary, or all.
#[derive(Clone, Debug)]
pub struct LevelChange {
    /// The level of all clients outside the canary after the change.
    pub level: Level,
    /// The tuning before.
    pub before: Arc<Tuning>,
    /// The tuning after.
    pub after: Arc<Tuning>,
    /// The canary that runs after the change; none: all clients have `level`.
    pub canary: Option<Candidate>,
}

/// The tuner does not answer: it is being replaced, which takes one or two seconds.
#[derive(Debug, thiserror::Error)]
#[error("the tuner does not answer; it is being started anew, try again")]
pub struct TunerAway;

/// Why a level was not set. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum NotSet {
    /// The tuner does not answer; try again.
    #[error(transparent)]
    Away(#[from] TunerAway),
    /// The request contradicts the running canary, or there is none to take back.
    #[error(transparent)]
    Conflict(#[from] Conflict),
}
