//! The process in /stats.

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::{
    numbers::rounded,
    process::{OpenFiles, Usage},
};

/// The process and its use of resources.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Process {
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// Processor time of all threads so far; null if the system does not report it.
    cpu_seconds: Option<f64>,
    /// Resident memory.
    resident_bytes: Option<u64>,
    /// Open files and sockets.
    open_files: Option<usize>,
    /// Limit on open files and sockets (`ulimit -n`).
    open_files_limit: Option<u64>,
}

impl Process {
    pub(in crate::api) fn now() -> Self {
        let (usage, files) = (Usage::now(), OpenFiles::now());
        Self {
            version: env!("CARGO_PKG_VERSION"),
            cpu_seconds: usage.map(|usage| rounded(usage.cpu.as_secs_f64(), 2)),
            resident_bytes: usage.map(|usage| usage.resident),
            open_files: files.map(|files| files.open),
            open_files_limit: files.map(|files| files.most),
        }
    }
}
