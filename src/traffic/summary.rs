//! The window's summary once a tick: the figures for /stats, and the input of classifier and limiter.

use std::{
    collections::BTreeMap,
    sync::LazyLock,
    time::{Duration, Instant},
};

use super::{
    distribution::Distributions, origin_id::OriginId, origin_summary::OriginSummary,
    sample::Outcome,
};

/// The window's content at one instant.
#[derive(Clone, Debug)]
pub struct Summary {
    /// When it was computed.
    pub at: Instant,
    /// All requests since the process started.
    pub total: Figures,
    /// The sliding window.
    pub window: Figures,
    /// How much time `window` covers: the setting, or less shortly after the start.
    pub covers: Duration,
    /// The summary of each origin that has samples.
    pub origins: BTreeMap<OriginId, OriginSummary>,
    /// Histograms since the process started.
    pub spread: Distributions,
}

impl Summary {
    /// The summary before anything happened.
    pub fn empty(at: Instant) -> Self {
        Self {
            at,
            total: Figures::default(),
            window: Figures::default(),
            covers: Duration::ZERO,
            origins: BTreeMap::new(),
            spread: Distributions::default(),
        }
    }

    /// The summary of an origin; an empty one before its first sample.
    pub fn of(&self, origin: OriginId) -> &OriginSummary {
        static NOTHING: LazyLock<OriginSummary> = LazyLock::new(OriginSummary::default);
        self.origins.get(&origin).unwrap_or(&NOTHING)
    }

    /// Body bits sent to clients per second in the window, in Mbit/s (10^6).
    pub fn throughput_mbps(&self) -> f64 {
        let seconds = self.covers.as_secs_f64();
        if seconds > 0.0 {
            self.window.bytes as f64 * 8.0 / 1e6 / seconds
        } else {
            0.0
        }
    }
}

/// Counts and times of requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Requests that have ended.
    pub requests: u64,
    /// Errors of the origin, as the rate limit counts them.
    pub errors: u64,
    /// Response body bytes sent to clients.
    pub bytes: u64,
    /// Requests by outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// From a request's head to its end.
    pub total: Times,
    /// From a request's head to the first byte for the client.
    pub ttfb: Times,
    /// From the request sent to the origin to its response head.
    pub origin_ttfb: Times,
}

impl Figures {
    /// Errors among the requests, 0 to 1.
    pub fn error_share(&self) -> f64 {
        if self.requests == 0 {
            0.0
        } else {
            self.errors as f64 / self.requests as f64
        }
    }
}

/// Statistics of a duration: minimum, maximum and mean are exact, percentiles to one percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the usual names")]
pub struct Times {
    pub count: u64,
    pub min: Duration,
    pub avg: Duration,
    pub max: Duration,
    pub p50: Duration,
    pub p95: Duration,
    pub p99: Duration,
}
