//! The limits on requests to the origin in /stats.

use std::time::Instant;

use serde::Serialize;
use utoipa::ToSchema;

use crate::{api::numbers::millis, traffic::origin::OriginState, units::Rate};

/// The adaptive rate limit on requests to the origin, and its counts.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct RateLimiter {
    /// Whether it is on at this level.
    enabled: bool,
    #[schema(value_type = f64)]
    rate_per_second: Rate,
    /// Requests that pass at once after a pause: the bucket size.
    burst: u64,
    /// Requests in the queue.
    waiting: u64,
    /// Size of the queue.
    queue: u64,
    /// Requests admitted, at once or after a wait.
    admitted: u64,
    /// How many of them waited.
    delayed: u64,
    /// Requests refused with 503.
    rejected: u64,
}

impl RateLimiter {
    pub(in crate::api) fn of(origin: &OriginState) -> Self {
        let gate = &origin.gate;
        let done = gate.admissions();
        Self {
            enabled: gate.is_on(),
            rate_per_second: gate.rate(),
            burst: gate.burst(),
            waiting: gate.waiting(Instant::now()),
            queue: gate.queue(),
            admitted: done.admitted,
            delayed: done.delayed,
            rejected: done.rejected,
        }
    }
}

/// The limit on concurrent exchanges with the origin.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Concurrency {
    /// Whether the limit adapts to the origin's response time and to what the line to it carries.
    enabled: bool,
    /// The current limit.
    limit: usize,
    /// The highest limit, from the level's connections.
    most: usize,
    in_use: u64,
    /// Requests that wait for an exchange to end.
    waiting: u64,
    /// Recent median time to the origin's response head; null with too few answers.
    median_answer_ms: Option<f64>,
    /// Its recent minimum, by which the limit is judged.
    recent_best_ms: Option<f64>,
}

impl Concurrency {
    pub(in crate::api) fn of(origin: &OriginState) -> Self {
        let counters = &origin.counters;
        let most = origin.most_at_once();
        let seen = origin.concurrency.seen();
        Self {
            enabled: origin.concurrency.is_on(),
            limit: origin.concurrency.limit(most),
            most,
            in_use: counters.in_use.get(),
            waiting: counters.waiting.get(),
            median_answer_ms: seen.map(|(median, _)| millis(median)),
            recent_best_ms: seen.map(|(_, reference)| millis(reference)),
        }
    }
}

/// The limit that requests to the origin currently wait for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in crate::api) enum LimitedBy {
    /// None: no request waits.
    Nothing,
    /// The rate limit.
    Rate,
    /// The adaptive limit on concurrent exchanges.
    Concurrency,
    /// The level's limit on connections.
    Connections,
}

impl LimitedBy {
    pub(in crate::api) fn of(origin: &OriginState) -> Self {
        let most = origin.most_at_once();
        if origin.gate.waiting(Instant::now()) > 0 {
            Self::Rate
        } else if origin.counters.waiting.get() == 0 {
            Self::Nothing
        } else if origin.concurrency.limit(most) < most {
            Self::Concurrency
        } else {
            Self::Connections
        }
    }
}
