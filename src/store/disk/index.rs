//! The in-memory index of the disk tier: for each object a hash of its key, its file's name, the position of its head in the
//! journal, and its blocks' checksums. About 200 bytes for an object of one block.
//!
//! Pure: it opens no file. The caller removes files and writes the journal.

use std::{
    hash::{BuildHasher as _, RandomState},
    ops::Range,
};

use hashbrown::HashTable;

use super::{
    blocks::{Blocks, EXTENT, MOST},
    entry::{CHUNK, Entry, Extent, Place, UNIT, UNKNOWN, halves, place, rounded},
    id::Id,
    line::Line,
    new::New,
};
use crate::store::{body::BLOCK, key::Key, s3fifo::Queues, variant::Variant};

/// Memory accounted for an object; more than it takes.
pub const COST: u64 = 256;

/// The most additional memory for a block of a large object.
pub const BLOCK_COST: u64 = 4096;

/// The index of all objects on disk.
#[derive(Debug)]
pub struct Index {
    pub(super) chunks: Vec<Vec<Entry>>,
    free: Vec<u32>,
    by_hash: HashTable<u32>,
    by_id: HashTable<u32>,
    pub(super) queues: Queues<Extent>,
    objects: usize,
    /// Memory of blocks outside of their entries, in bytes.
    sums: u64,
    bytes: u64,
    /// Disk space of removed objects whose files are not deleted yet.
    leaving: u64,
    /// Disk space of removed objects whose files will be found only by a scan for orphans.
    orphaned: u64,
    serial: u64,
    seeds: [RandomState; 2],
}

impl Default for Index {
    fn default() -> Self {
        Index {
            chunks: Vec::new(),
            free: Vec::new(),
            by_hash: HashTable::new(),
            by_id: HashTable::new(),
            queues: Queues::default(),
            objects: 0,
            sums: 0,
            bytes: 0,
            leaving: 0,
            orphaned: 0,
            serial: 1,
            seeds: [RandomState::new(), RandomState::new()],
        }
    }
}

impl Index {
    /// Hash of a key: 128 bits, randomly seeded for each process.
    pub fn hash(&self, key: &Key) -> u128 {
        let [high, low] = &self.seeds;
        u128::from(high.hash_one(key)) << 64 | u128::from(low.hash_one(key))
    }

    /// Hash of a variant.
    pub fn variant(&self, variant: &Variant) -> u64 {
        self.seeds[0].hash_one(variant)
    }

    /// Number of objects.
    pub fn objects(&self) -> usize {
        self.objects
    }

    /// Disk space of all objects, in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Disk space including files that are not deleted yet.
    pub fn on_disk(&self) -> u64 {
        self.bytes + self.leaving + self.orphaned
    }

    /// Files of removed objects with this disk space were deleted.
    pub fn left(&mut self, bytes: u64) {
        self.leaving = self.leaving.saturating_sub(bytes);
    }

    /// Disk space of removed objects that stays in use until a scan for orphans.
    pub fn add_orphaned(&mut self, bytes: u64) {
        self.left(bytes);
        self.orphaned += bytes;
    }

    /// Disk space that a scan for orphans will free.
    pub fn orphaned(&self) -> u64 {
        self.orphaned
    }

    /// A scan has freed this much.
    pub fn cleaned(&mut self, bytes: u64) {
        self.orphaned = self.orphaned.saturating_sub(bytes);
    }

    /// Memory accounted for everything.
    pub fn cost(&self) -> u64 {
        self.objects as u64 * COST + self.sums
    }

    /// The next serial number.
    pub fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Raises the counter above a serial number from the journal.
    pub fn pass_serial(&mut self, serial: u64) {
        self.serial = self.serial.max(serial);
    }

    /// Adds an object. It is found once it has a head.
    pub fn insert(&mut self, new: New) -> Place {
        let slot = self.free.pop().unwrap_or_else(|| {
            let full = self.chunks.last().is_none_or(|last| last.len() == CHUNK);
            if full {
                self.chunks.push(Vec::with_capacity(CHUNK));
            }
            let chunk = self.chunks.len() - 1;
            (chunk * CHUNK + self.chunks[chunk].len()) as u32
        });
        let generation = self
            .entry(slot)
            .map_or(0, |entry| entry.generation.wrapping_add(1));
        let entry = Entry {
            hash: halves(new.hash),
            id: halves(new.id.0),
            variant: new.variant,
            serial: new.serial,
            length: new.length.unwrap_or(UNKNOWN),
            at: 0,
            next_at: 0,
            blocks: Blocks::default(),
            len: 0,
            pins: 0,
            generation,
            taken: true,
            resumable: new.resumable,
            doomed: false,
            blank: true,
        };
        let chunk = &mut self.chunks[slot as usize / CHUNK];
        match chunk.get_mut(slot as usize % CHUNK) {
            Some(place) => *place = entry,
            None => chunk.push(entry),
        }
        let chunks = &self.chunks;
        let of = |slot: &u32| &chunks[*slot as usize / CHUNK][*slot as usize % CHUNK];
        self.by_hash
            .insert_unique(new.hash as u64, slot, |slot| of(slot).hash[1]);
        self.by_id
            .insert_unique(new.id.0 as u64, slot, |slot| of(slot).id[1]);
        self.objects += 1;
        self.bytes += UNIT;
        self.enqueue(slot, 0);
        Place { slot, id: new.id }
    }

    /// The objects with this hash that have a head, the newest first.
    pub fn find(&self, hash: u128) -> Vec<Place> {
        let mut same = self.same(hash, None);
        same.retain(|&place| self.get(place).is_some_and(|entry| entry.len > 0));
        same
    }

    /// The objects with this hash and, if given, this variant, with or without a head, the newest first.
    pub fn same(&self, hash: u128, variant: Option<u64>) -> Vec<Place> {
        let mut found: Vec<_> = (self.by_hash.iter_hash(hash as u64))
            .filter_map(|&slot| Some((slot, self.entry(slot)?)))
            .filter(|(_, entry)| entry.hash == halves(hash))
            .filter(|(_, entry)| variant.is_none_or(|variant| variant == entry.variant))
            .map(|(slot, entry)| (entry.serial, place(slot, entry)))
            .collect();
        found.sort_by_key(|(serial, _)| std::cmp::Reverse(*serial));
        found.into_iter().map(|(_, place)| place).collect()
    }

    /// The object with this id.
    pub fn place(&self, id: Id) -> Option<Place> {
        let found = self.by_id.find(id.0 as u64, |&slot| {
            let entry = self.entry(slot);
            entry.is_some_and(|entry| entry.id == halves(id.0))
        });
        found.map(|&slot| Place { slot, id })
    }

    /// The object at `slot`, if one can be found there; to iterate up to [`Index::slots`].
    pub fn at(&self, slot: u32) -> Option<Place> {
        let entry = self.entry(slot)?;
        (entry.taken && !entry.doomed).then(|| place(slot, entry))
    }

    /// Number of positions.
    pub fn slots(&self) -> u32 {
        let last = self.chunks.last().map_or(0, Vec::len);
        (self.chunks.len().saturating_sub(1) * CHUNK + last) as u32
    }

    /// Whether the object exists and can be found.
    pub fn is_alive(&self, place: Place) -> bool {
        self.get(place).is_some_and(|entry| !entry.doomed)
    }

    /// Position of its head in the journal, and its serial number.
    pub fn head(&self, place: Place) -> Option<(Line, u64)> {
        let entry = self.get(place).filter(|entry| entry.len > 0)?;
        let line = Line {
            at: entry.at,
            len: entry.len,
        };
        Some((line, entry.serial))
    }

    /// Sets the position of its head; `next`: in the journal that is being rewritten, if there is one.
    pub fn set_head(&mut self, place: Place, line: Line, next: u64, serial: u64) {
        self.pass_serial(serial);
        if let Some(entry) = self.get_mut(place) {
            (entry.at, entry.len, entry.next_at) = (line.at, line.len, next);
            entry.serial = serial;
        }
    }

    /// Its head was copied to the journal that is being rewritten.
    pub fn set_next(&mut self, place: Place, next: u64) {
        if let Some(entry) = self.get_mut(place) {
            entry.next_at = next;
        }
    }

    /// The rewritten journal replaces the old one.
    pub fn turn_over(&mut self) {
        for entry in self.chunks.iter_mut().flatten() {
            entry.at = entry.next_at;
        }
    }

    /// Complete length of its body.
    pub fn length(&self, place: Place) -> Option<u64> {
        let length = self.get(place)?.length;
        (length != UNKNOWN).then_some(length)
    }

    /// Sets the complete length.
    pub fn set_length(&mut self, place: Place, length: u64) {
        if let Some(entry) = self.get_mut(place)
            && entry.length == UNKNOWN
        {
            entry.length = length;
        }
    }

    /// Checksum and length of a block, if it is on disk.
    pub fn block(&self, place: Place, number: u32) -> Option<(u64, u64)> {
        let entry = self.get(place)?;
        Some((entry.blocks.get(number)?, entry.block_len(number)))
    }

    /// The first block from `number` on that is on disk.
    pub fn next_block(&self, place: Place, number: u32) -> Option<u32> {
        let mut blocks = self.get(place)?.blocks.within(number..MOST);
        blocks.next().map(|(number, _)| number)
    }

    /// All its blocks on disk, with their checksums.
    pub fn blocks(&self, place: Place) -> Vec<(u32, u64)> {
        let entry = self.get(place);
        entry.map_or_else(Vec::new, |entry| entry.blocks.within(0..MOST).collect())
    }

    /// Whether its whole body is on disk.
    pub fn is_whole(&self, place: Place) -> bool {
        let Some(entry) = self.get(place).filter(|entry| entry.length != UNKNOWN) else {
            return false;
        };
        let blocks = entry.length.div_ceil(BLOCK);
        u64::from(entry.blocks.total()) == blocks
    }

    /// Whether it can answer requests: part of its body is on disk and the rest can be fetched, or it is complete.
    pub fn is_useful(&self, place: Place) -> bool {
        let Some(entry) = self.get(place).filter(|entry| entry.len > 0) else {
            return false;
        };
        let has_some = entry.resumable && !entry.blocks.is_empty();
        has_some || self.is_whole(place)
    }

    /// Hash of its key.
    pub fn hash_of(&self, place: Place) -> u128 {
        let hash = self.get(place).map(|entry| entry.hash);
        hash.map_or(0, |[high, low]| u128::from(high) << 64 | u128::from(low))
    }

    /// Disk space of its body, in bytes.
    pub fn bytes_of(&self, place: Place) -> u64 {
        let Some(entry) = self.get(place) else {
            return 0;
        };
        let blocks = entry.blocks.within(0..MOST);
        blocks
            .map(|(number, _)| rounded(entry.block_len(number)))
            .sum()
    }

    /// Disk space of a block.
    pub fn size(&self, place: Place, number: u32) -> u64 {
        self.get(place)
            .map_or(0, |entry| rounded(entry.block_len(number)))
    }

    /// A block was written. False if the object is gone, or has no such block.
    pub fn set_block(&mut self, place: Place, number: u32, sum: u64) -> bool {
        let Some(entry) = self.get_mut(place).filter(|entry| !entry.doomed) else {
            return false;
        };
        let len = entry.block_len(number);
        if len == 0 || number >= MOST {
            return false;
        }
        let extent = number / EXTENT;
        let is_first = entry.blocks.count(extent) == 0;
        // The first extent was queued together with the object.
        let is_queued = extent == 0 && entry.blank;
        entry.blank &= extent != 0;
        let before = entry.blocks.memory() as u64;
        let is_new = entry.blocks.set(number, sum);
        let after = entry.blocks.memory() as u64;
        self.sums += after - before;
        if is_new {
            self.bytes += rounded(len);
        }
        if is_first && !is_queued {
            self.enqueue(place.slot, extent);
        }
        true
    }

    /// Removes blocks. Returns their disk space, which is in use until [`Index::left`].
    pub fn clear_blocks(&mut self, place: Place, part: Range<u32>) -> u64 {
        let Some(entry) = self.get_mut(place) else {
            return 0;
        };
        let before = entry.blocks.memory() as u64;
        let gone = entry.blocks.clear(part);
        let after = entry.blocks.memory() as u64;
        let sizes = gone.iter().map(|&number| rounded(entry.block_len(number)));
        let bytes: u64 = sizes.sum();
        self.bytes -= bytes;
        self.leaving += bytes;
        self.sums -= before - after;
        bytes
    }

    /// Counts a use of a block.
    pub fn mark_used(&mut self, place: Place, number: u32) {
        if let Some(entry) = self.get_mut(place) {
            entry.blocks.mark_used(number / EXTENT);
        }
    }

    /// Pins the entry for an object in memory. False if it is gone.
    pub fn pin(&mut self, place: Place) -> bool {
        let entry = self.get_mut(place).filter(|entry| !entry.doomed);
        entry.map(|entry| entry.pins += 1).is_some()
    }

    /// Unpins it once. If its file must be deleted now: its disk space.
    pub fn unpin(&mut self, place: Place) -> Option<u64> {
        let entry = self.get_mut(place)?;
        entry.pins = entry.pins.saturating_sub(1);
        let goes = entry.pins == 0 && entry.doomed;
        goes.then(|| self.remove(place))
    }

    /// Makes it unfindable. None if it is gone already. Otherwise, if nothing uses it so that its file must be deleted now: its
    /// disk space.
    pub fn doom(&mut self, place: Place) -> Option<Option<u64>> {
        let entry = self.get_mut(place).filter(|entry| !entry.doomed)?;
        entry.doomed = true;
        let goes = entry.pins == 0;
        self.unlist(place);
        Some(goes.then(|| self.remove(place)))
    }

    /// Removes it, whoever uses it. Returns its disk space, which is in use until [`Index::left`].
    pub fn remove(&mut self, place: Place) -> u64 {
        let bytes = self.clear_blocks(place, 0..MOST);
        self.unlist(place);
        let Some(entry) = self.get_mut(place) else {
            return 0;
        };
        entry.taken = false;
        let blocks = std::mem::take(&mut entry.blocks);
        self.sums -= blocks.memory() as u64;
        let id = place.id.0 as u64;
        if let Ok(found) = self.by_id.find_entry(id, |&slot| slot == place.slot) {
            found.remove();
        }
        self.free.push(place.slot);
        self.objects -= 1;
        self.bytes -= UNIT;
        self.leaving += UNIT;
        bytes + UNIT
    }

    /// Removes it from the lookup by hash.
    fn unlist(&mut self, place: Place) {
        let Some(entry) = self.get(place) else {
            return;
        };
        let hash = entry.hash[1];
        if let Ok(found) = self.by_hash.find_entry(hash, |&slot| slot == place.slot) {
            found.remove();
        }
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        let (serial, seeds) = (self.serial, self.seeds.clone());
        let leaving = self.leaving;
        let orphaned = self.orphaned + self.bytes;
        // Ids ensure that stale positions do not refer to another object.
        *self = Index {
            serial,
            seeds,
            leaving,
            orphaned,
            ..Index::default()
        };
    }

    /// Memory that it has allocated, in bytes.
    pub fn memory(&self) -> usize {
        let entries = self
            .chunks
            .iter()
            .map(|chunk| chunk.capacity() * size_of::<Entry>());
        let blocks = self
            .chunks
            .iter()
            .flatten()
            .map(|entry| entry.blocks.memory());
        entries.sum::<usize>()
            + blocks.sum::<usize>()
            + self.chunks.capacity() * size_of::<Vec<Entry>>()
            + self.free.capacity() * 4
            + self.by_hash.allocation_size()
            + self.by_id.allocation_size()
            + self.queues.memory()
    }

    pub(super) fn entry(&self, slot: u32) -> Option<&Entry> {
        let chunk = self.chunks.get(slot as usize / CHUNK)?;
        chunk.get(slot as usize % CHUNK)
    }

    fn get(&self, place: Place) -> Option<&Entry> {
        let entry = self.entry(place.slot)?;
        (entry.taken && entry.id == halves(place.id.0)).then_some(entry)
    }

    fn get_mut(&mut self, place: Place) -> Option<&mut Entry> {
        let chunk = self.chunks.get_mut(place.slot as usize / CHUNK)?;
        let entry = chunk.get_mut(place.slot as usize % CHUNK)?;
        (entry.taken && entry.id == halves(place.id.0)).then_some(entry)
    }
}
