//! Counters of the disk tier, for `/stats` and metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use super::trouble::Trouble;

/// Counters since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Blocks written.
    pub written: AtomicU64,
    /// Blocks and heads not written, because the queue was full or writing was paused.
    pub not_written: AtomicU64,
    /// Blocks read with a valid checksum.
    pub read: AtomicU64,
    /// Blocks and heads that could not be read, for any reason.
    pub not_read: AtomicU64,
    /// Blocks and heads with a wrong checksum.
    pub checksum_failures: AtomicU64,
    /// System errors while reading.
    pub read_errors: AtomicU64,
    /// System errors while writing.
    pub write_errors: AtomicU64,
    /// Reads that took too long.
    pub slow_reads: AtomicU64,
    /// Extents evicted.
    pub evictions: AtomicU64,
    /// Damaged places in the journal, found when it was read.
    pub journal_damages: AtomicU64,
    /// Bodies without a journal record that were removed.
    pub orphans: AtomicU64,
    /// Length of the journal in bytes.
    pub journal: AtomicU64,
}

/// Increments a counter.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// State and counters of the disk tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DiskFigures {
    /// Whether the journal is still being read; until then nothing is found.
    pub loading: bool,
    /// Why writing is paused; null if it is not.
    pub trouble: Option<Trouble>,
    /// Objects on disk.
    pub objects: u64,
    /// Disk space of their files, in bytes.
    pub bytes: u64,
    /// Disk space of the journal, in bytes.
    pub journal_bytes: u64,
    /// The limit, in bytes: `store.disk`.
    pub limit: u64,
    /// Memory accounted for the index, in bytes.
    pub memory: u64,
    /// Blocks written.
    pub blocks_written: u64,
    /// Blocks and heads not written, because the queue was full or writing was paused.
    pub not_written: u64,
    /// Blocks read.
    pub blocks_read: u64,
    /// Blocks and heads that could not be read, for any reason.
    pub not_read: u64,
    /// Blocks and heads with a wrong checksum.
    pub checksum_failures: u64,
    /// System errors while reading.
    pub read_errors: u64,
    /// System errors while writing.
    pub write_errors: u64,
    /// Reads that took too long.
    pub slow_reads: u64,
    /// Extents evicted.
    pub evictions: u64,
    /// Damaged places in the journal, found when it was read.
    pub journal_damages: u64,
    /// Bodies without a journal record that were removed.
    pub orphans: u64,
    /// Purges that are still being processed.
    pub purges: u64,
}
