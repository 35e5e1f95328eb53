//! The mutable state of an object: body, memory, blocks on disk, and readers.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    sync::Arc,
    task::Context,
};

use bytes::Bytes;

use super::{
    backoff::Backoff,
    body::{BLOCK, Body, Found},
    disk::Handle,
    memory::Room,
};

/// The unit of eviction from memory: a range of a large body, or a whole small one.
pub const EXTENT: u64 = 1024 * 1024;

/// Uses of an extent are counted up to this.
const MOST_USES: u8 = 3;

/// The mutable state of an object, under its lock.
#[derive(Debug)]
pub struct Contents {
    /// The bytes in memory.
    pub body: Body,
    /// Memory accounted for head and body.
    pub room: Room,
    /// Uses of each extent since eviction last checked it.
    pub uses: HashMap<u64, u8>,
    /// Its entry on disk, if it has one.
    pub disk: Option<Arc<Handle>>,
    /// Blocks that are being loaded from disk.
    pub loading: HashSet<u64>,
    /// Blocks that could not be read from disk: they count as missing.
    pub lost: HashSet<u64>,
    /// Position of each reader.
    pub readers: HashMap<u64, u64>,
    /// Number of the next reader.
    pub next_reader: u64,
    /// Backoff of requests to the origin for this object.
    pub retry: Backoff,
}

impl Contents {
    /// Those of a body with this length, if known, without bytes. `room` is the memory for the head.
    pub fn new(length: Option<u64>, room: Room) -> Self {
        Contents {
            body: Body::new(length),
            room,
            uses: HashMap::new(),
            disk: None,
            loading: HashSet::new(),
            lost: HashSet::new(),
            readers: HashMap::new(),
            next_reader: 0,
            retry: Backoff::default(),
        }
    }

    /// Counts a use of an extent.
    pub fn use_extent(&mut self, extent: u64) {
        let uses = self.uses.entry(extent).or_default();
        *uses = (*uses + 1).min(MOST_USES);
    }

    /// Replaces `found` at `at` by what is on disk, if it is not in memory.
    pub fn read_disk(&mut self, at: u64, found: Found, cx: &mut Context<'_>) -> Found {
        let block = at / BLOCK;
        if self.loading.contains(&block) {
            self.body.wait(at, cx);
            return Found::Wait(0);
        }
        match (self.stored_from(at), found) {
            (Some(from), found) if from <= at => {
                let end = (block + 1) * BLOCK;
                match found {
                    Found::Missing(gap) => Found::Stored(at..gap.end.min(end)),
                    _ => Found::Stored(at..end),
                }
            }
            (Some(from), Found::Missing(gap)) => Found::Missing(at..gap.end.min(from)),
            (_, found) => found,
        }
    }

    /// The first byte of `part` that is neither in memory, nor on disk, nor confirmed by a fill.
    pub fn unsure(&self, part: &Range<u64>) -> Option<u64> {
        let end = self
            .body
            .length()
            .map_or(part.end, |length| length.min(part.end));
        let mut at = part.start;
        while at < end {
            at = match self.body.sure_to(at) {
                Some(end) => end,
                None if self.is_stored(at / BLOCK) => (at / BLOCK + 1) * BLOCK,
                None => return Some(at),
            };
        }
        None
    }

    /// Position of the first block from `at` on that can be loaded from disk.
    pub fn stored_from(&self, at: u64) -> Option<u64> {
        let handle = self.disk.as_ref()?;
        let mut number = u32::try_from(at / BLOCK).ok()?;
        loop {
            number = handle.next(number)?;
            if !self.lost.contains(&number.into()) {
                return Some(u64::from(number) * BLOCK);
            }
            number += 1;
        }
    }

    /// Whether a block can be loaded from disk.
    pub fn is_stored(&self, block: u64) -> bool {
        self.stored_from(block * BLOCK) == Some(block * BLOCK)
    }

    /// Notes the extents of `part` that had no byte in memory; returns them.
    pub fn begin_extents(&mut self, part: &Range<u64>) -> Vec<u64> {
        let mut begun = Vec::new();
        for extent in part.start / EXTENT..part.end.div_ceil(EXTENT) {
            self.uses.entry(extent).or_insert_with(|| {
                begun.push(extent);
                0
            });
        }
        begun
    }

    /// The complete blocks that `part`, which just came, belongs to: they are to be written to disk.
    pub fn completed(&mut self, part: &Range<u64>) -> Vec<(u64, Vec<Bytes>)> {
        let blocks = part.start / BLOCK..part.end.div_ceil(BLOCK);
        let blocks = blocks.filter_map(|number| Some((number, self.body.block(number)?)));
        let blocks: Vec<_> = blocks.collect();
        for (number, _) in &blocks {
            self.lost.remove(number);
        }
        blocks
    }
}

/// Queues a block for writing. A body with more blocks than the disk tier supports is not written.
pub fn write(handle: &Handle, number: u64, pieces: Vec<Bytes>) {
    if let Ok(number) = u32::try_from(number) {
        handle.write(number, pieces);
    }
}
