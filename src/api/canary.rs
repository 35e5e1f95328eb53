//! The canary in /stats: both groups, and their difference with confidence intervals.

use std::time::Instant;

use serde::Serialize;
use utoipa::ToSchema;

use super::{figures::Window, numbers::rounded};
use crate::traffic::{
    canary::{
        Candidate,
        interval::Estimate,
        trial::{Comparison, GroupSummary, Measures},
    },
    published::Published,
};

/// The canary that runs, or the end of the last one.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Canary {
    /// The level and its share of the clients; null if no canary runs.
    candidate: Option<Candidate>,
    /// Both groups; null if no canary runs.
    groups: Option<Groups>,
    /// Candidate less stable; null if no canary runs.
    difference: Option<Difference>,
    /// The last rollback, until a level is set for all clients.
    last_rollback: Option<LastRollback>,
}

/// The clients with the stable level, and those with the candidate level.
#[derive(Debug, Serialize, ToSchema)]
struct Groups {
    stable: Group,
    candidate: Group,
}

/// One group: the figures of `window`, and those that `difference` compares.
#[derive(Debug, Serialize, ToSchema)]
struct Group {
    #[serde(flatten)]
    window: Window,
    /// Requests that were served or failed; not those whose client left or was at fault.
    counted_requests: u64,
    /// How many of them failed: by the origin, by the proxy, or refused by a limit.
    failed_requests: u64,
    /// Clients that sent them: a lower bound, at most 64.
    clients: u64,
    /// Failed per counted requests, in percent.
    error_rate: Option<f64>,
    /// Median time to the end of a response, where failed ones rank behind all others; null if half of them failed.
    p50_ms: Option<f64>,
    /// The 95th percentile of the same time.
    p95_ms: Option<f64>,
    /// Throughput: bits of complete responses per second of request time, in Mbit/s.
    goodput_mbps: Option<f64>,
}

/// Candidate less stable.
#[derive(Debug, Serialize, ToSchema)]
struct Difference {
    /// In percentage points.
    error_rate: Interval,
    p50_ms: Interval,
    p95_ms: Interval,
    goodput_mbps: Interval,
}

/// A value and its 95 % confidence interval. Unknown or infinite values are null.
#[derive(Debug, Serialize, ToSchema)]
struct Interval {
    value: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
}

/// A candidate that was rolled back.
#[derive(Debug, Serialize, ToSchema)]
struct LastRollback {
    #[schema(format = DateTime)]
    at: String,
    reason: String,
}

impl Canary {
    /// None if no canary runs and none was rolled back.
    pub(super) fn of(published: &Published) -> Option<Self> {
        let canary = published.canary.load();
        let last_rollback = canary.last_rollback.as_ref().map(|rollback| LastRollback {
            at: humantime::format_rfc3339_millis(rollback.at).to_string(),
            reason: rollback.reason.clone(),
        });
        let running = canary.candidate.map(|_| {
            let comparison = published.comparison.load();
            match comparison.as_deref() {
                Some(comparison) if comparison.stage == canary.stage => comparison.clone(),
                // Before the first tick of this canary.
                _ => Comparison::empty(canary.stage, Instant::now()),
            }
        });
        (running.is_some() || last_rollback.is_some()).then(|| Canary {
            candidate: canary.candidate,
            groups: running.as_ref().map(|comparison| Groups {
                stable: Group::of(&comparison.stable),
                candidate: Group::of(&comparison.candidate),
            }),
            difference: running
                .as_ref()
                .map(|comparison| Difference::of(&comparison.difference)),
            last_rollback,
        })
    }
}

impl Group {
    fn of(group: &GroupSummary) -> Self {
        let measures = &group.measures;
        let value = |estimate: Option<Estimate>, scale| Interval::of(estimate, scale).value;
        Group {
            window: Window::of(&group.summary),
            counted_requests: group.counted,
            failed_requests: group.failed,
            clients: group.clients,
            error_rate: value(measures.error_rate, 100.0),
            p50_ms: value(measures.p50_ms, 1.0),
            p95_ms: value(measures.p95_ms, 1.0),
            goodput_mbps: value(measures.goodput_mbps, 1.0),
        }
    }
}

impl Difference {
    fn of(difference: &Measures) -> Self {
        Difference {
            error_rate: Interval::of(difference.error_rate, 100.0),
            p50_ms: Interval::of(difference.p50_ms, 1.0),
            p95_ms: Interval::of(difference.p95_ms, 1.0),
            goodput_mbps: Interval::of(difference.goodput_mbps, 1.0),
        }
    }
}

impl Interval {
    fn of(estimate: Option<Estimate>, scale: f64) -> Self {
        let shown = |of: fn(&Estimate) -> f64| {
            let number = estimate
                .as_ref()
                .map(of)
                .filter(|number| number.is_finite());
            number.map(|number| rounded(number * scale, 3))
        };
        Interval {
            value: shown(|estimate| estimate.value),
            low: shown(|estimate| estimate.low),
            high: shown(|estimate| estimate.high),
        }
    }
}
