//! What the disk tier counts, for `/stats` and metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

use super::trouble::Trouble;

/// Counted since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Blocks that were written.
    pub written: AtomicU64,
    /// Blocks and heads that were not: the queue was full, or writing was stopped.
    pub not_written: AtomicU64,
    /// Blocks that were read and held their checksum.
    pub read: AtomicU64,
    /// Blocks and heads that could not be read, whatever the cause.
    pub not_read: AtomicU64,
    /// Blocks and heads that did not hold their checksum.
    pub checksum_failures: AtomicU64,
    /// Errors of the system while reading.
    pub read_errors: AtomicU64,
    /// Errors of the system while writing.
    pub write_errors: AtomicU64,
    /// Reads that took too long.
    pub slow_reads: AtomicU64,
    /// Extents that were pushed out.
    pub evictions: AtomicU64,
    /// Places in the journal that did not check when it was read.
    pub journal_damages: AtomicU64,
    /// Bodies without a record that were removed.
    pub orphans: AtomicU64,
    /// How long the journal is.
    pub journal: AtomicU64,
}

/// Counts one more.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// The tier's figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DiskFigures {
    /// Whether the journal is still being read: until then nothing is found.
    pub loading: bool,
    /// What keeps it from writing; null: nothing.
    pub trouble: Option<Trouble>,
    /// Objects on disk.
    pub objects: u64,
    /// What their files take, in bytes.
    pub bytes: u64,
    /// What the journal takes, in bytes.
    pub journal_bytes: u64,
    /// The bound, in bytes: `store.disk`.
    pub limit: u64,
    /// What the index is charged in memory, in bytes.
    pub memory: u64,
    /// Blocks that were written.
    pub blocks_written: u64,
    /// Blocks and heads that were not written: the queue was full, or writing was stopped.
    pub not_written: u64,
    /// Blocks that were read.
    pub blocks_read: u64,
    /// Blocks and heads that could not be read, whatever the cause.
    pub not_read: u64,
    /// Blocks and heads that did not hold their checksum.
    pub checksum_failures: u64,
    /// Errors of the system while reading.
    pub read_errors: u64,
    /// Errors of the system while writing.
    pub write_errors: u64,
    /// Reads that took too long.
    pub slow_reads: u64,
    /// Extents that were pushed out.
    pub evictions: u64,
    /// Places in the journal that did not check when it was read.
    pub journal_damages: u64,
    /// Bodies without a record that were removed.
    pub orphans: u64,
    /// Purges that are being worked off.
    pub purges: u64,
}
