//! What the index has of one object.

use super::{
    blocks::{self, Blocks},
    id::Id,
};

/// What a file takes on disk beside its bytes, and what its bytes are rounded up to.
pub const UNIT: u64 = 4096;

/// Entries are kept in chunks of so many: a vector that grows would take twice their room for a while.
pub const CHUNK: usize = 1024;

/// No length is known.
pub const UNKNOWN: u64 = u64::MAX;

/// An object, by its place in the index. Places are used again: it is this object only while the id there is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The entry's number.
    pub slot: u32,
    /// The object's id.
    pub id: Id,
}

/// What is known of an object.
#[derive(Debug)]
pub struct Entry {
    /// Of its key. Two halves, for a u128 would be rounded up to 16 bytes.
    pub hash: [u64; 2],
    /// Its id, in halves.
    pub id: [u64; 2],
    /// Of its variant.
    pub variant: u64,
    /// Of its head.
    pub serial: u64,
    /// The complete length of its body, or [`UNKNOWN`].
    pub length: u64,
    /// Where its head lies in the journal.
    pub at: u64,
    /// Where its head lies in the journal that is being written anew.
    pub next_at: u64,
    /// The blocks of its body.
    pub blocks: Blocks,
    /// The bytes of its head's line; 0: there is none yet.
    pub len: u32,
    /// Objects in memory that read and write it.
    pub pins: u32,
    /// Grows each time that the place is used again.
    pub generation: u16,
    /// Whether an object is here.
    pub taken: bool,
    /// Whether what of it is missing can be fetched again.
    pub resumable: bool,
    /// It is found no more, and goes once nobody reads it.
    pub doomed: bool,
    /// No block of it was ever written.
    pub blank: bool,
}

/// An extent in the queues.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Whose it is.
    pub slot: u32,
    /// Of that entry: else it is of an object that is gone.
    pub generation: u16,
    /// Which one.
    pub number: u16,
}

/// The halves of 128 bits.
pub fn halves(whole: u128) -> [u64; 2] {
    [(whole >> 64) as u64, whole as u64]
}

/// What so many bytes take on disk.
pub fn rounded(bytes: u64) -> u64 {
    bytes.next_multiple_of(UNIT)
}

impl Entry {
    /// How many bytes a block of it has.
    pub fn block_len(&self, number: u32) -> u64 {
        blocks::len(number, (self.length != UNKNOWN).then_some(self.length))
    }
}

/// The place of an entry.
pub fn place(slot: u32, entry: &Entry) -> Place {
    let [high, low] = entry.id;
    let id = Id(u128::from(high) << 64 | u128::from(low));
    Place { slot, id }
}
