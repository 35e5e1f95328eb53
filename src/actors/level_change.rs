//! A change of the level: who asks for it, what it did, and why it may fail.

use std::{fmt, sync::Arc};

use crate::traffic::{
    canary::{Candidate, Conflict},
    level::Level,
    tuning::Tuning,
};

/// Who asks for a level.
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

/// What a change of level did. The tunings are those of the clients that the change is about: the ones in the canary, or
/// all.
#[derive(Clone, Debug)]
pub struct LevelChange {
    /// The level of all clients outside the canary from now on.
    pub level: Level,
    /// The tuning before.
    pub before: Arc<Tuning>,
    /// The tuning from now on.
    pub after: Arc<Tuning>,
    /// The canary that runs from now on; none: all clients have `level`.
    pub canary: Option<Candidate>,
}

/// The tuner does not answer: it is being replaced, which takes a second or two.
#[derive(Debug, thiserror::Error)]
#[error("the tuner does not answer; it is being started anew, try again")]
pub struct TunerAway;

/// Why a level was not set. Nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum NotSet {
    /// Try again.
    #[error(transparent)]
    Away(#[from] TunerAway),
    /// The request does not fit the canary that runs, or there is none to take back.
    #[error(transparent)]
    Conflict(#[from] Conflict),
}
