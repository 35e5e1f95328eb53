//! Numbers in human-readable form.

use std::time::Duration;

/// Milliseconds, with microsecond precision.
pub(super) fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

/// A number rounded to `decimals`.
pub(super) fn rounded(number: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (number * scale).round() / scale
}
