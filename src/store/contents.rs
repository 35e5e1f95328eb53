//! What of an object is changed together: its body, what that takes in memory, what of it is on disk, and who reads it.

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

/// What goes at once where room is needed: a part of a large body, or the whole of a small one.
pub const EXTENT: u64 = 1024 * 1024;

/// Uses of an extent are counted up to this.
const MOST_USES: u8 = 3;

/// What is changed together, under the lock of its object.
#[derive(Debug)]
pub struct Contents {
    /// The bytes that are here.
    pub body: Body,
    /// What head and body take of the memory.
    pub room: Room,
    /// How often each extent was used since it was last looked at.
    pub uses: HashMap<u64, u8>,
    /// Where it is on disk; none where it is not.
    pub disk: Option<Arc<Handle>>,
    /// Blocks that are being read from disk.
    pub loading: HashSet<u64>,
    /// Blocks that are said to be on disk and could not be read: they are missing.
    pub lost: HashSet<u64>,
    /// Where each reader is.
    pub readers: HashMap<u64, u64>,
    /// The number of the next reader.
    pub next_reader: u64,
    /// Until when the origin is not asked for it again, and how long it is left alone then.
    pub retry: Backoff,
}

impl Contents {
    /// An extent was used once more.
    pub fn use_extent(&mut self, extent: u64) {
        let uses = self.uses.entry(extent).or_default();
        *uses = (*uses + 1).min(MOST_USES);
    }

    /// What there is at `at`, where memory has not got it.
    pub fn read_disk(&mut self, at: u64, found: Found, cx: &mut Context<'_>) -> Found {
        let block = at / BLOCK;
        if self.loading.contains(&block) {
            self.body.wait(at, cx);
            return Found::Wait;
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

    /// The first byte of `part` that is neither here, in memory or on disk, nor sure to come.
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

    /// Where the first block from `at` on begins that can be read from disk.
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

    /// Whether a block can be read from disk.
    pub fn is_stored(&self, block: u64) -> bool {
        self.stored_from(block * BLOCK) == Some(block * BLOCK)
    }

    /// The blocks that are whole since a fill went from `from` on: they are to be written.
    pub fn completed(&mut self, from: u64, fill: u64) -> Vec<(u64, Vec<Bytes>)> {
        let to = self.body.left(fill).map(|left| left.start);
        let is_over = to.is_none();
        let to = to.unwrap_or_else(|| self.body.end_of(fill));
        if to <= from {
            return Vec::new();
        }
        // One that the fill is still in is not whole.
        let last = if is_over {
            to.div_ceil(BLOCK)
        } else {
            to / BLOCK
        };
        let blocks =
            (from / BLOCK..last).filter_map(|number| Some((number, self.body.block(number)?)));
        let blocks: Vec<_> = blocks.collect();
        for (number, _) in &blocks {
            self.lost.remove(number);
        }
        blocks
    }
}

/// Writes a block, behind. A body of more blocks than there can be is not kept on disk.
pub fn write(handle: &Handle, number: u64, pieces: Vec<Bytes>) {
    if let Ok(number) = u32::try_from(number) {
        handle.write(number, pieces);
    }
}
