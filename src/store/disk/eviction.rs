//! Chooses what to evict from disk: S3-FIFO over extents of 16 MiB; smaller objects as a whole.

use std::ops::Range;

use super::{
    blocks::EXTENT,
    entry::{CHUNK, Entry, Extent, Place, UNIT, UNKNOWN, place, rounded},
    id::Id,
    index::Index,
};
use crate::store::{body::BLOCK, s3fifo::Found};

/// What to evict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Victim {
    /// An object, with its disk space in bytes.
    Object(Id, u64),
    /// Blocks of an object, with their disk space in bytes.
    Blocks(Place, Range<u32>, u64),
}

impl Index {
    /// Adds an extent to the queues, with its expected size.
    pub(super) fn enqueue(&mut self, slot: u32, number: u32) {
        let Some(entry) = self.entry(slot) else {
            return;
        };
        let whole = u64::from(EXTENT) * BLOCK;
        let begin = u64::from(number) * whole;
        let bytes = match entry.length {
            UNKNOWN => BLOCK,
            length => length.saturating_sub(begin).min(whole),
        };
        let hash = entry.hash[0] ^ u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let extent = Extent {
            slot,
            generation: entry.generation,
            number: number as u16,
        };
        self.queues.insert(extent, hash, rounded(bytes) + UNIT);
        let chunks = &self.chunks;
        self.queues.tidy(|extent| is_here(chunks, extent));
    }

    /// Removes and returns what should be evicted next; none if there is nothing.
    pub fn evict(&mut self) -> Option<Victim> {
        loop {
            let chunks = &mut self.chunks;
            let extent = self.queues.evict(|extent| look(chunks, extent))?;
            let Some(entry) = self.entry(extent.slot).filter(|entry| entry.is(&extent)) else {
                continue;
            };
            let place = place(extent.slot, entry);
            let number = u32::from(extent.number);
            let part = number * EXTENT..(number + 1) * EXTENT;
            let is_last = entry.blocks.total() == entry.blocks.count(number);
            if !entry.resumable || is_last {
                let bytes = self.remove(place);
                return Some(Victim::Object(place.id, bytes));
            }
            if entry.blocks.count(number) > 0 {
                let bytes = self.clear_blocks(place, part.clone());
                return Some(Victim::Blocks(place, part, bytes));
            }
        }
    }
}

impl Entry {
    fn is(&self, extent: &Extent) -> bool {
        self.taken && self.generation == extent.generation
    }
}

fn is_here(chunks: &[Vec<Entry>], extent: &Extent) -> bool {
    let entry = &chunks[extent.slot as usize / CHUNK][extent.slot as usize % CHUNK];
    entry.is(extent) && (extent.number == 0 || entry.blocks.count(extent.number.into()) > 0)
}

/// Whether an extent was used since it was last checked. An object that cannot be fetched again is kept while it is read.
fn look(chunks: &mut [Vec<Entry>], extent: &Extent) -> Found {
    if !is_here(chunks, extent) {
        return Found::Gone;
    }
    let entry = &mut chunks[extent.slot as usize / CHUNK][extent.slot as usize % CHUNK];
    let is_needed = entry.pins > 0 && (!entry.resumable || entry.blocks.is_empty());
    match entry.blocks.take_use(extent.number.into()) || is_needed {
        true => Found::Used,
        false => Found::Unused,
    }
}
