//! What is on disk, in memory: for each object a hash of its key, its file's name, where its head lies in the journal, and its
//! blocks' checksums. Some 200 bytes for an object of one block.
//!
//! Pure: it opens no file. Whoever takes something out of it removes the file and tells the journal.

use std::{
    hash::{BuildHasher as _, RandomState},
    ops::Range,
};

use hashbrown::HashTable;

use super::{
    blocks::{self, Blocks, EXTENT, MOST},
    record::Id,
};
use crate::store::{
    body::BLOCK,
    key::Key,
    s3fifo::{Found, Queues},
    variant::Variant,
};

/// What a file takes on disk beside its bytes, and what its bytes are rounded up to.
const UNIT: u64 = 4096;

/// Entries are kept in chunks of so many: a vector that grows would take twice their room for a while.
const CHUNK: usize = 1024;

/// What an object is charged in memory: more than it takes.
pub const COST: u64 = 256;

/// What each block of a large object is charged in memory beside.
pub const BLOCK_COST: u64 = 9;

/// No length is known.
const UNKNOWN: u64 = u64::MAX;

/// An object, by its place in the index. Places are used again: it is this object only while the id there is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The entry's number.
    pub slot: u32,
    /// The object's id.
    pub id: Id,
}

/// What is known of an object that comes in.
#[derive(Clone, Copy, Debug)]
pub struct New {
    /// [`Index::hash`] of its key.
    pub hash: u128,
    /// [`Index::variant`] of its variant.
    pub variant: u64,
    /// Its file's name.
    pub id: Id,
    /// Of its head: the higher, the newer.
    pub serial: u64,
    /// The complete length of its body, if it is known.
    pub length: Option<u64>,
    /// Whether it has a strong validator: what of it is missing can be fetched again.
    pub resumable: bool,
}

/// Where a line lies in the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The offset of its first byte.
    pub at: u64,
    /// Its bytes, with its end. 0: there is none yet.
    pub len: u32,
}

/// What goes to make room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Victim {
    /// An object.
    Object(Id),
    /// Blocks of an object.
    Blocks(Place, Range<u32>),
}

#[derive(Debug)]
struct Entry {
    /// Two halves, for a u128 would be rounded up to 16 bytes.
    hash: [u64; 2],
    id: [u64; 2],
    variant: u64,
    serial: u64,
    length: u64,
    at: u64,
    /// Where its head lies in the journal that is being written anew.
    next_at: u64,
    blocks: Blocks,
    len: u32,
    /// Objects in memory that read and write it.
    pins: u32,
    /// Grows each time that the place is used again.
    generation: u16,
    taken: bool,
    resumable: bool,
    /// It is found no more, and goes once nobody reads it.
    doomed: bool,
    /// No block of it was ever written.
    blank: bool,
}

/// An extent in the queues.
#[derive(Clone, Copy, Debug)]
struct Extent {
    slot: u32,
    generation: u16,
    number: u16,
}

/// All objects on disk.
#[derive(Debug)]
pub struct Index {
    chunks: Vec<Vec<Entry>>,
    free: Vec<u32>,
    by_hash: HashTable<u32>,
    by_id: HashTable<u32>,
    queues: Queues<Extent>,
    /// How many extents the queues had when they were last rid of those that are gone.
    tidied: usize,
    objects: usize,
    blocks: u64,
    bytes: u64,
    serial: u64,
    seeds: [RandomState; 2],
}

fn halves(whole: u128) -> [u64; 2] {
    [(whole >> 64) as u64, whole as u64]
}

fn rounded(bytes: u64) -> u64 {
    bytes.next_multiple_of(UNIT)
}

impl Default for Index {
    fn default() -> Self {
        Index {
            chunks: Vec::new(),
            free: Vec::new(),
            by_hash: HashTable::new(),
            by_id: HashTable::new(),
            queues: Queues::default(),
            tidied: 0,
            objects: 0,
            blocks: 0,
            bytes: 0,
            serial: 1,
            seeds: [RandomState::new(), RandomState::new()],
        }
    }
}

impl Index {
    /// The hash that a key is found by: 128 bits, with a random seed of this process.
    pub fn hash(&self, key: &Key) -> u128 {
        let [high, low] = &self.seeds;
        u128::from(high.hash_one(key)) << 64 | u128::from(low.hash_one(key))
    }

    /// The hash that a variant is told apart by.
    pub fn variant(&self, variant: &Variant) -> u64 {
        self.seeds[0].hash_one(variant)
    }

    /// How many objects there are.
    pub fn objects(&self) -> usize {
        self.objects
    }

    /// Bytes on disk, as files take them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What all of it is charged in memory.
    pub fn cost(&self) -> u64 {
        self.objects as u64 * COST + self.blocks * BLOCK_COST
    }

    /// The next serial number.
    pub fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// This serial number was given away, by another process.
    pub fn pass_serial(&mut self, serial: u64) {
        self.serial = self.serial.max(serial);
    }

    /// Takes an object in, found from now on once it has a head.
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

    /// Puts an extent into the queues, for as large as it will be.
    fn enqueue(&mut self, slot: u32, number: u32) {
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
        // What went in another way than by the queues is still in them.
        if self.queues.len() > 2 * self.tidied + CHUNK {
            let chunks = &self.chunks;
            self.queues.retain(|extent| is_here(chunks, extent));
            self.tidied = self.queues.len();
        }
    }

    /// The objects of this hash that have a head, the newest first.
    pub fn find(&self, hash: u128) -> Vec<Place> {
        let mut same = self.same(hash, None);
        same.retain(|&place| self.get(place).is_some_and(|entry| entry.len > 0));
        same
    }

    /// The objects of this hash, and of this variant if one is given, with or without a head, the newest first.
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

    /// The object of this id.
    pub fn place(&self, id: Id) -> Option<Place> {
        let found = self.by_id.find(id.0 as u64, |&slot| {
            let entry = self.entry(slot);
            entry.is_some_and(|entry| entry.id == halves(id.0))
        });
        found.map(|&slot| Place { slot, id })
    }

    /// The object at `slot`, if there is one that can be found; for walks over all, up to [`Index::slots`].
    pub fn at(&self, slot: u32) -> Option<Place> {
        let entry = self.entry(slot)?;
        (entry.taken && !entry.doomed).then(|| place(slot, entry))
    }

    /// How many places there are.
    pub fn slots(&self) -> u32 {
        let last = self.chunks.last().map_or(0, Vec::len);
        (self.chunks.len().saturating_sub(1) * CHUNK + last) as u32
    }

    /// Whether the object is here, and not doomed.
    pub fn is_alive(&self, place: Place) -> bool {
        self.get(place).is_some_and(|entry| !entry.doomed)
    }

    /// Where its head lies, and its serial number.
    pub fn head(&self, place: Place) -> Option<(Line, u64)> {
        let entry = self.get(place).filter(|entry| entry.len > 0)?;
        let line = Line {
            at: entry.at,
            len: entry.len,
        };
        Some((line, entry.serial))
    }

    /// Its head lies here from now on; `next`: in the journal that is being written anew, if one is.
    pub fn set_head(&mut self, place: Place, line: Line, next: u64, serial: u64) {
        self.pass_serial(serial);
        if let Some(entry) = self.get_mut(place) {
            (entry.at, entry.len, entry.next_at) = (line.at, line.len, next);
            entry.serial = serial;
        }
    }

    /// Its head was copied to the journal that is being written anew.
    pub fn set_next(&mut self, place: Place, next: u64) {
        if let Some(entry) = self.get_mut(place) {
            entry.next_at = next;
        }
    }

    /// The journal that was being written anew is the journal now.
    pub fn turn_over(&mut self) {
        for entry in self.chunks.iter_mut().flatten() {
            entry.at = entry.next_at;
        }
    }

    /// The complete length of its body.
    pub fn length(&self, place: Place) -> Option<u64> {
        let length = self.get(place)?.length;
        (length != UNKNOWN).then_some(length)
    }

    /// The complete length is known now.
    pub fn set_length(&mut self, place: Place, length: u64) {
        if let Some(entry) = self.get_mut(place)
            && entry.length == UNKNOWN
        {
            entry.length = length;
        }
    }

    /// The checksum of a block that is here, and how long it is.
    pub fn block(&self, place: Place, number: u32) -> Option<(u64, u64)> {
        let entry = self.get(place)?;
        Some((entry.blocks.get(number)?, entry.block_len(number)))
    }

    /// The first block from `number` on that is here.
    pub fn next_block(&self, place: Place, number: u32) -> Option<u32> {
        let mut blocks = self.get(place)?.blocks.within(number..MOST);
        blocks.next().map(|(number, _)| number)
    }

    /// All of its blocks that are here, with their checksums.
    pub fn blocks(&self, place: Place) -> Vec<(u32, u64)> {
        let entry = self.get(place);
        entry.map_or_else(Vec::new, |entry| entry.blocks.within(0..MOST).collect())
    }

    /// Whether all of its body is here.
    pub fn is_whole(&self, place: Place) -> bool {
        let Some(entry) = self.get(place).filter(|entry| entry.length != UNKNOWN) else {
            return false;
        };
        let blocks = entry.length.div_ceil(BLOCK);
        blocks <= u64::from(MOST) && entry.blocks.within(0..MOST).count() as u64 == blocks
    }

    /// Whether a request can be answered by it: some of its body is here and the rest can be fetched, or all of it is here.
    pub fn is_useful(&self, place: Place) -> bool {
        let Some(entry) = self.get(place).filter(|entry| entry.len > 0) else {
            return false;
        };
        let has_some = entry.resumable && !entry.blocks.is_empty();
        has_some || self.is_whole(place)
    }

    /// The hash of its key.
    pub fn hash_of(&self, place: Place) -> u128 {
        let hash = self.get(place).map(|entry| entry.hash);
        hash.map_or(0, |[high, low]| u128::from(high) << 64 | u128::from(low))
    }

    /// What its body takes on disk, in bytes.
    pub fn bytes_of(&self, place: Place) -> u64 {
        let Some(entry) = self.get(place) else {
            return 0;
        };
        let blocks = entry.blocks.within(0..MOST);
        blocks
            .map(|(number, _)| rounded(entry.block_len(number)))
            .sum()
    }

    /// What a block takes on disk.
    pub fn size(&self, place: Place, number: u32) -> u64 {
        self.get(place)
            .map_or(0, |entry| rounded(entry.block_len(number)))
    }

    /// A block is on disk. False: the object is gone, or has no such block.
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
        // Its first extent went into the queues with the object.
        let is_queued = extent == 0 && entry.blank;
        entry.blank &= extent != 0;
        if entry.blocks.set(number, sum) {
            self.bytes += rounded(len);
            self.blocks += 1;
        }
        if is_first && !is_queued {
            self.enqueue(place.slot, extent);
        }
        true
    }

    /// These blocks are here no more.
    pub fn clear_blocks(&mut self, place: Place, part: Range<u32>) {
        let Some(entry) = self.get_mut(place) else {
            return;
        };
        let gone = entry.blocks.clear(part);
        let bytes: u64 = gone
            .iter()
            .map(|&number| rounded(entry.block_len(number)))
            .sum();
        self.bytes -= bytes;
        self.blocks -= gone.len() as u64;
    }

    /// A block was read.
    pub fn mark_used(&mut self, place: Place, number: u32) {
        if let Some(entry) = self.get_mut(place) {
            entry.blocks.mark_used(number / EXTENT);
        }
    }

    /// An object in memory reads and writes it from now on. False: it is gone.
    pub fn pin(&mut self, place: Place) -> bool {
        let entry = self.get_mut(place).filter(|entry| !entry.doomed);
        entry.map(|entry| entry.pins += 1).is_some()
    }

    /// One object in memory less. Whether it goes now.
    pub fn unpin(&mut self, place: Place) -> bool {
        let Some(entry) = self.get_mut(place) else {
            return false;
        };
        entry.pins = entry.pins.saturating_sub(1);
        let goes = entry.pins == 0 && entry.doomed;
        if goes {
            self.remove(place);
        }
        goes
    }

    /// It is found no more. None: it was gone already. Else whether its file goes now: nobody reads it.
    pub fn doom(&mut self, place: Place) -> Option<bool> {
        let entry = self.get_mut(place).filter(|entry| !entry.doomed)?;
        entry.doomed = true;
        let goes = entry.pins == 0;
        self.unlist(place);
        if goes {
            self.remove(place);
        }
        Some(goes)
    }

    /// It goes, whoever reads it.
    pub fn remove(&mut self, place: Place) {
        self.clear_blocks(place, 0..MOST);
        self.unlist(place);
        let Some(entry) = self.get_mut(place) else {
            return;
        };
        entry.taken = false;
        entry.blocks = Blocks::default();
        let id = place.id.0 as u64;
        if let Ok(found) = self.by_id.find_entry(id, |&slot| slot == place.slot) {
            found.remove();
        }
        self.free.push(place.slot);
        self.objects -= 1;
        self.bytes -= UNIT;
    }

    /// Takes it out of what is found by hash.
    fn unlist(&mut self, place: Place) {
        let Some(entry) = self.get(place) else {
            return;
        };
        let hash = entry.hash[1];
        if let Ok(found) = self.by_hash.find_entry(hash, |&slot| slot == place.slot) {
            found.remove();
        }
    }

    /// All of it goes.
    pub fn clear(&mut self) {
        let (serial, seeds) = (self.serial, self.seeds.clone());
        // Whoever still holds a place must not find another object there: ids tell.
        *self = Index {
            serial,
            seeds,
            ..Index::default()
        };
    }

    /// Takes out what should go next to make room; none if there is nothing.
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
            let is_last = entry
                .blocks
                .within(0..MOST)
                .all(|(number, _)| part.contains(&number));
            if !entry.resumable || is_last {
                self.remove(place);
                return Some(Victim::Object(place.id));
            }
            if entry.blocks.count(number) > 0 {
                self.clear_blocks(place, part.clone());
                return Some(Victim::Blocks(place, part));
            }
        }
    }

    /// Bytes of memory that it takes, by what it has allocated.
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

    fn entry(&self, slot: u32) -> Option<&Entry> {
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

impl Entry {
    fn is(&self, extent: &Extent) -> bool {
        self.taken && self.generation == extent.generation
    }

    fn block_len(&self, number: u32) -> u64 {
        blocks::len(number, (self.length != UNKNOWN).then_some(self.length))
    }
}

fn place(slot: u32, entry: &Entry) -> Place {
    let [high, low] = entry.id;
    let id = Id(u128::from(high) << 64 | u128::from(low));
    Place { slot, id }
}

fn is_here(chunks: &[Vec<Entry>], extent: &Extent) -> bool {
    let entry = &chunks[extent.slot as usize / CHUNK][extent.slot as usize % CHUNK];
    entry.is(extent) && (extent.number == 0 || entry.blocks.count(extent.number.into()) > 0)
}

/// Whether an extent was used since it was last looked at. What could not be fetched again stays while somebody reads it.
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
