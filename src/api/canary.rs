//! The canary in /stats: both groups side by side, and how sure their difference is.

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

/// The canary that runs, or what is left of the last one.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Canary {
    /// What runs; null: all clients have the level.
    candidate: Option<Candidate>,
    /// Null if nothing runs.
    groups: Option<Groups>,
    /// Null if nothing runs.
    difference: Option<Difference>,
    /// The last candidate that was taken back, until a level is set for everybody.
    last_rollback: Option<LastRollback>,
}

/// The clients that keep their level, and those that have the candidate's.
#[derive(Debug, Serialize, ToSchema)]
struct Groups {
    stable: Group,
    candidate: Group,
}

/// The numbers of `window`, and those that the difference is about, by the same names.
#[derive(Debug, Serialize, ToSchema)]
struct Group {
    #[serde(flatten)]
    window: Window,
    /// Requests that were served or failed: all but those whose client left or was at fault.
    counted_requests: u64,
    /// Those that failed: by the origin, by the proxy, or turned away.
    failed_requests: u64,
    /// At least so many clients sent them; 64 are many.
    clients: u64,
    /// The failed among the counted, in percent.
    error_rate: Option<f64>,
    /// The median time to the end of a response, a failed one behind all served; null among the failed.
    p50_ms: Option<f64>,
    /// The 95th percentile of the same.
    p95_ms: Option<f64>,
    /// Bits of whole responses per second of the time that requests took, in Mbit/s.
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

/// A value and the bounds between which it lies with 95 % confidence. What is not known, or has no bound, is null.
#[derive(Debug, Serialize, ToSchema)]
struct Interval {
    value: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
}

/// A candidate that was taken back.
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
                // before the first tick
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
