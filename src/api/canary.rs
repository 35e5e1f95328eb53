//! The canary in /stats: both groups side by side, and how sure their difference is.

use std::time::Instant;

use serde_json::{Value, json};

use super::{rounded, stats};
use crate::traffic::{
    canary::{
        interval::Estimate,
        trial::{Comparison, Difference, GroupSummary},
    },
    published::Published,
};

/// Null if no canary runs and none was rolled back.
pub(super) fn canary(published: &Published) -> Value {
    let canary = published.canary.load();
    let last_rollback = canary.last_rollback.as_ref().map(|rollback| {
        json!({
            "at": humantime::format_rfc3339_millis(rollback.at).to_string(),
            "reason": rollback.reason,
        })
    });
    let Some(candidate) = canary.candidate else {
        return match last_rollback {
            None => Value::Null,
            Some(last_rollback) => json!({
                "candidate": null,
                "groups": null,
                "difference": null,
                "last_rollback": last_rollback,
            }),
        };
    };
    let comparison = published.comparison.load();
    let empty = || Comparison::empty(canary.stage, Instant::now());
    let begun = comparison
        .as_deref()
        .filter(|comparison| comparison.stage == canary.stage)
        .cloned();
    let comparison = begun.unwrap_or_else(empty);
    json!({
        "candidate": candidate,
        "groups": {
            "stable": group(&comparison.stable),
            "candidate": group(&comparison.candidate),
        },
        "difference": difference(&comparison.difference),
        "last_rollback": last_rollback,
    })
}

/// The numbers of `window`, and those that the difference is about.
fn group(group: &GroupSummary) -> Value {
    let mut numbers = stats::window(&group.summary);
    if let Value::Object(numbers) = &mut numbers {
        numbers.insert("counted_requests".into(), json!(group.counted));
        numbers.insert("failed_requests".into(), json!(group.failed));
        numbers.insert("clients".into(), json!(group.clients));
    }
    numbers
}

fn difference(difference: &Difference) -> Value {
    json!({
        "error_rate": estimate(difference.error_rate, 6),
        "p50_ms": estimate(difference.p50_ms, 3),
        "p95_ms": estimate(difference.p95_ms, 3),
        "goodput_mbps": estimate(difference.goodput_mbps, 3),
    })
}

/// What is not known, or has no bound, is null.
fn estimate(estimate: Option<Estimate>, decimals: i32) -> Value {
    let shown = |of: fn(&Estimate) -> f64| {
        estimate
            .as_ref()
            .map(of)
            .filter(|number| number.is_finite())
            .map(|number| rounded(number, decimals))
    };
    json!({
        "value": shown(|estimate| estimate.value),
        "low": shown(|estimate| estimate.low),
        "high": shown(|estimate| estimate.high),
    })
}
