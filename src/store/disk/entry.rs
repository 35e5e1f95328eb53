//! The index entry of one object.

use super::{
    blocks::{self, Blocks},
    id::Id,
};

/// Disk space of a file in addition to its bytes; its size is also rounded up to this.
pub const UNIT: u64 = 4096;

/// Entries are allocated in chunks of this many: a growing vector would need twice the memory for a while.
pub const CHUNK: usize = 1024;

/// Marks an unknown length.
pub const UNKNOWN: u64 = u64::MAX;

/// Position of an object in the index. Positions are reused: it is the same object only if the id is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the entry.
    pub slot: u32,
    /// The object's id.
    pub id: Id,
}

/// What the index knows of an object.
#[derive(Debug)]
pub struct Entry {
    /// Hash of its key. Two halves, because a u128 would be aligned to 16 bytes.
    pub hash: [u64; 2],
    /// Its id, in halves.
    pub id: [u64; 2],
    /// Hash of its variant.
    pub variant: u64,
    /// Serial number of its head.
    pub serial: u64,
    /// The complete length of its body, or [`UNKNOWN`].
    pub length: u64,
    /// Offset of its head in the journal.
    pub at: u64,
    /// Offset of its head in the journal that is being rewritten.
    pub next_at: u64,
    /// The blocks of its body.
    pub blocks: Blocks,
    /// Length of its head's line in bytes; 0 if there is none yet.
    pub len: u32,
    /// Number of objects in memory that use it.
    pub pins: u32,
    /// Incremented each time the position is reused.
    pub generation: u16,
    /// Whether the position is in use.
    pub taken: bool,
    /// Whether missing bytes can be fetched (it has a strong validator).
    pub resumable: bool,
    /// No longer found; removed when it is no longer used.
    pub doomed: bool,
    /// Whether no block was ever written.
    pub blank: bool,
}

/// An extent in the eviction queues.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Entry of its object.
    pub slot: u32,
    /// Generation of that entry; if it differs, the object is gone.
    pub generation: u16,
    /// Number of the extent in the object.
    pub number: u16,
}

/// Splits 128 bits into halves.
pub fn halves(whole: u128) -> [u64; 2] {
    [(whole >> 64) as u64, whole as u64]
}

/// Disk space for this many bytes.
pub fn rounded(bytes: u64) -> u64 {
    bytes.next_multiple_of(UNIT)
}

impl Entry {
    /// Length of a block in bytes.
    pub fn block_len(&self, number: u32) -> u64 {
        blocks::len(number, (self.length != UNKNOWN).then_some(self.length))
    }
}

/// The position of an entry.
pub fn place(slot: u32, entry: &Entry) -> Place {
    let [high, low] = entry.id;
    let id = Id(u128::from(high) << 64 | u128::from(low));
    Place { slot, id }
}
