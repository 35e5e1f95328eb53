//! The window's summary of one origin, once a tick: the input of classifier and limiter.

use std::time::{Duration, Instant};

use super::{
    evidence::Judged,
    sample::{Outcome, Sample},
};

/// The window's summary of one origin at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OriginSummary {
    /// Its current response time.
    pub pace: OriginPace,
    /// Input of the rate limit, since the process started.
    pub judged: Judged,
    /// Whether it answered recently.
    pub contact: Contact,
}

/// The current response time of an origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginPace {
    /// Median over the origin's targets of the time to first byte; none without meaningful samples.
    pub median: Option<Duration>,
    /// Number of answers it is computed from.
    pub samples: u64,
    /// Number of such samples since the process started, to detect new ones.
    pub seen: u64,
}

/// Whether an origin answered recently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    /// When a request last received a response head.
    pub answered: Option<Instant>,
    /// When a request last failed to receive one.
    pub failed: Option<Instant>,
    /// Failures in a row since the last answer.
    pub failures: u64,
    /// Whether the last failure was a failed connect.
    pub refused: bool,
}

impl Contact {
    /// Updates it by one sample of a request to the origin.
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
