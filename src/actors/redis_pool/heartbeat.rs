//! `<prefix>:instance:<name>`: a summary of one instance, which expires unless it is written again.

use std::time::{Duration, SystemTime};

use redis::Cmd;
use serde_json::json;

use crate::traffic::published::Published;

/// A unique instance name: host, process id, and a random number for several in one process.
pub fn instance_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "unknown",
        host => host,
    };
    format!("{host}-{}-{:08x}", std::process::id(), fastrand::u32(..))
}

/// Writes the summary of `instance`, which expires after `expires`.
pub(super) fn write(prefix: &str, instance: &str, expires: Duration, published: &Published) -> Cmd {
    let origin = published.origin();
    let summary = published.summary.load();
    let value = json!({
        "instance": instance,
        "version": env!("CARGO_PKG_VERSION"),
        "timestamp": humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
        "uptime_seconds": published.started.elapsed().as_secs(),
        "origin": origin.url,
        "optimization_level": published.level.load().level,
        "canary": published.canary.load().candidate,
        "quality": origin.quality(),
        "rate_per_second": origin.gate.rate(),
        "total_requests": summary.total.requests,
        "error_count": summary.total.errors,
        "total_bytes_transferred": summary.total.bytes,
        "throughput_mbps": summary.throughput_mbps(),
    });
    let mut set = redis::cmd("SET");
    set.arg(format!("{prefix}:instance:{instance}"))
        .arg(value.to_string())
        .arg("PX")
        .arg(expires.as_millis() as u64);
    set
}
