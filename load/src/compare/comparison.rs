//! One measurement of the comparison, as it is recorded.

use serde::{Deserialize, Serialize};

use crate::lab::Session;

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// Always "compare".
    pub kind: String,
    /// When it began (RFC 3339).
    pub time: String,
    /// The call of the lab it belongs to; rounds are compared within it.
    pub session: Session,
    /// The contestant.
    pub peer: String,
    /// Its version line.
    pub version: String,
    /// Round, from 1.
    pub round: u32,
    /// Body size in bytes.
    pub size: u64,
    /// Connections at the same time.
    pub connections: u32,
    /// Length in seconds.
    pub seconds: f64,
    /// Requests answered in full.
    pub requests: u64,
    /// Requests per second.
    pub requests_per_second: f64,
    /// Bytes received, heads included, per second, in 1,000,000.
    pub mb_per_second: f64,
    /// Median time of a request in milliseconds.
    pub p50_ms: f64,
    /// 95th percentile in milliseconds.
    pub p95_ms: f64,
    /// 99th percentile in milliseconds.
    pub p99_ms: f64,
    /// Requests that failed, with an error status or without an answer.
    pub errors: u64,
    /// CPU microseconds of the proxy for one request.
    pub cpu_us_per_request: f64,
    /// CPU seconds of the proxy for 1,000,000,000 bytes.
    pub cpu_seconds_per_gb: f64,
    /// CPU seconds of the proxy in the measurement.
    pub cpu_seconds: f64,
    /// CPU seconds of the origin.
    pub origin_cpu_seconds: f64,
    /// CPU seconds of the load generator; 0 in records of before.
    #[serde(default)]
    pub generator_cpu_seconds: f64,
    /// Memory of the proxy right after, in bytes.
    pub memory_bytes: u64,
}
