//! What the window says of one origin once a tick: what classifier and limiter decide by.

use std::time::{Duration, Instant};

use super::{
    evidence::Judged,
    sample::{Outcome, Sample},
};

/// What the window knew of one origin at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OriginSummary {
    /// How fast it answers just now.
    pub pace: OriginPace,
    /// What its rate limit is judged by, since the process started.
    pub judged: Judged,
    /// Whether it answered of late.
    pub contact: Contact,
}

/// How fast an origin answers just now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginPace {
    /// The median over the origin's targets of the time to its first byte; none without one that tells.
    pub median: Option<Duration>,
    /// The answers that it is made of.
    pub samples: u64,
    /// All such samples since the process started: shows whether there are new ones.
    pub seen: u64,
}

/// Whether an origin answered of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// When a request last got a response head from it.
    pub answered: Option<Instant>,
    /// When a request last failed to get one.
    pub failed: Option<Instant>,
    /// Failures in a row since the last answer.
    pub failures: u64,
    /// Whether the last failure was a failed connect.
    pub refused: bool,
}

impl Contact {
    /// Takes in what one request that went to it was like.
    pub fn note(&mut self, sample: &Sample) {
        if sample.origin_ttfb.is_some() {
            self.answered = self.answered.max(Some(sample.ended));
            self.failures = 0;
        } else if sample.outcome.is_origin_error() {
            self.failed = self.failed.max(Some(sample.ended));
            self.failures += 1;
            self.refused = sample.outcome == Outcome::ConnectFailed;
        }
    }
}
