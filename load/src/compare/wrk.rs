//! wrk, the load generator of the comparison: it needs less CPU per request than any proxy.

use std::{fs, io::ErrorKind, path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use serde::Deserialize;

use crate::{failure::Failure, host::Host, sys};

const SCRIPT: &str = include_str!("wrk.lua");

/// What wrk measured.
#[derive(Clone, Debug, Deserialize)]
pub struct Found {
    /// Answers received in full.
    pub requests: u64,
    /// Bytes received, heads included.
    pub bytes: u64,
    /// Length in microseconds.
    pub micros: u64,
    /// Median time of a request in microseconds.
    pub p50_us: f64,
    /// 95th percentile.
    pub p95_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
    /// Failed connects, reads, writes, and timeouts.
    pub errors: u64,
    /// Answers with a status of 400 or more.
    pub status_errors: u64,
}

/// Asks for one URL over so many connections for so long.
///
/// # Errors
///
/// wrk is missing or failed.
pub async fn run(
    host: Host<'_>,
    dir: &Path,
    url: &str,
    connections: u32,
    lasting: Duration,
) -> Result<Found> {
    let script = dir.join("wrk.lua");
    fs::write(&script, SCRIPT)?;
    let mut command = host.command("wrk");
    command.args([
        "-t",
        "2",
        "-c",
        &connections.to_string(),
        "--latency",
        "--timeout",
        "60s",
    ]);
    command
        .arg("-d")
        .arg(format!("{}s", lasting.as_secs().max(1)))
        .arg("-s")
        .arg(&script)
        .arg(url);
    command.stdin(Stdio::null());
    sys::die_with_parent(&mut command);
    let mut command = tokio::process::Command::from(command);
    let output = command
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => anyhow!(Failure::Missing {
                what: "wrk".to_owned()
            }),
            _ => anyhow!(error).context("wrk"),
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let Some(line) = text.lines().find_map(|l| l.strip_prefix("LAB ")) else {
        bail!(
            "wrk said: {} {}",
            text.trim(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    };
    serde_json::from_str(line).context("reading what wrk measured")
}
