//! State shared by workers and the disk threads.

use std::{
    collections::HashSet,
    fmt,
    fs::File,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::{
    directory::Directory,
    entry::Place,
    figures::{Counters, count},
    head::StoredHead,
    id::Id,
    index::Index,
    jobs::Jobs,
    line::Line,
    purge::{Purge, What},
    settings::KeepFree,
    trouble::Trouble,
};
use crate::store::memory;

/// Number of reader threads.
pub const READERS: usize = 2;

/// A read that takes longer is a miss: a hanging disk must not be slower than the origin.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The most bytes that wait to be written. They are in memory in addition to the accounted objects, so they are taken from the
/// store's account at startup.
pub const QUEUE_BYTES: u64 = 8 * 1024 * 1024;

/// The most jobs that wait for the writer.
const JOBS: usize = 16 * 1024;

/// The most reads that wait. Further ones are a miss at once.
const READS: usize = 1024;

/// Memory for the index is reserved in steps of this many bytes.
const STEP: u64 = 64 * 1024;

/// The most keys that are remembered as replaced while the journal is read.
const REPLACED: usize = 100_000;

/// Reserves bytes of the store's memory, evicting other objects if needed; none if that is impossible.
pub type Rooms = Box<dyn Fn(u64) -> Option<memory::Room> + Send + Sync>;

/// Where memory for the index may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Other objects may be evicted for it.
    Any,
    /// Only memory already reserved: for callers that are evicting.
    Charged,
}

/// State shared by workers and disk threads.
pub struct Shared {
    /// The directory; replaced after it vanished and came back.
    pub directory: ArcSwap<Directory>,
    /// A std mutex: held for a few instructions, never across an await, and never while another lock is taken or memory is
    /// reserved.
    held: Mutex<Held>,
    /// Queue to the writer.
    pub jobs: Jobs<Job>,
    /// Queue to the readers.
    pub reads: Jobs<Read>,
    /// Counters.
    pub counters: Counters,
    /// Why writing is paused, if it is.
    pub trouble: ArcSwapOption<Trouble>,
    /// Whether the journal lacks a record and must be rewritten.
    pub lacking: AtomicBool,
    /// Whether there may be files that the index does not contain.
    pub may_have_orphans: AtomicBool,
    /// `store.disk`, in bytes.
    pub limit: AtomicU64,
    /// `store.keep_free`.
    pub keep_free: ArcSwap<KeepFree>,
    /// Since when each reader has been busy, in milliseconds since `began` plus one; 0: idle.
    reading: [AtomicU64; READERS],
    began: Instant,
    rooms: Rooms,
    /// Memory reserved for the index.
    charged: Mutex<memory::Room>,
}

/// The state under the lock.
#[derive(Debug)]
pub struct Held {
    /// The index.
    pub index: Index,
    /// The journal file that the index refers to.
    pub journal: Option<Arc<File>>,
    /// Purges that are being processed.
    pub purges: Vec<Purge>,
    /// While the journal is read: keys that were replaced or removed meanwhile, and must not be restored.
    pub loading: Option<Replaced>,
}

/// Keys that must not be restored from the journal.
#[derive(Debug, Default)]
pub struct Replaced {
    keys: HashSet<u128>,
    /// Too many to remember: nothing is restored.
    all: bool,
}

/// Jobs of the writer.
#[derive(Debug)]
pub enum Job {
    /// An object has a new head.
    Head(Place, Box<StoredHead>),
    /// Writes a block.
    Block(Place, u32, Vec<Bytes>),
    /// The complete length became known; the index has it already.
    Length(Id, u64),
    /// An object was removed from the index.
    Gone {
        /// Its id.
        id: Id,
        /// Whether the journal still needs a record of it.
        line: bool,
        /// If its file is unused and must be deleted: its disk space.
        file: Option<u64>,
    },
    /// A block could not be read and was removed from the index; with its disk space.
    Lost(Id, u32, u64),
    /// Makes a purge durable and processes it.
    Purge {
        /// What to purge.
        what: What,
        /// Whether objects only become stale.
        soft: bool,
        /// Time of the purge, in milliseconds since 1970.
        at: u64,
        /// Its serial number; 0 if the journal was not read yet.
        serial: u64,
        /// What was purged already.
        gone: Purged,
        /// Receives the result once the purge is durable.
        reply: oneshot::Sender<Option<Purged>>,
    },
}

/// The effect of a purge on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Objects.
    pub objects: u64,
    /// Disk space of their bodies, in bytes.
    pub bytes: u64,
    /// Whether processing is complete. The rest is processed later, but is not found any more.
    pub complete: bool,
}

/// Jobs of the readers.
#[derive(Debug)]
pub enum Read {
    /// Reads a block.
    Block(Place, u32, Done),
    /// Reads a head.
    Head(Arc<File>, Line, oneshot::Sender<Option<Box<StoredHead>>>),
}

/// Receives a block that was read. If it is dropped, it receives none.
pub struct Done(Option<Box<dyn FnOnce(Option<Bytes>) + Send>>);

impl Done {
    /// With this callback.
    pub fn new(tell: impl FnOnce(Option<Bytes>) + Send + 'static) -> Self {
        Done(Some(Box::new(tell)))
    }

    /// Calls it.
    pub fn tell(mut self, bytes: Option<Bytes>) {
        if let Some(tell) = self.0.take() {
            tell(bytes);
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            tell(None);
        }
    }
}

impl fmt::Debug for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Done")
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl Replaced {
    fn add(&mut self, hash: u128) {
        if self.keys.len() < REPLACED {
            self.keys.insert(hash);
        } else {
            self.all = true;
        }
    }

    /// Whether objects with this hash must not be restored.
    pub fn has(&self, hash: u128) -> bool {
        self.all || self.keys.contains(&hash)
    }
}

impl Shared {
    /// A tier in this directory whose journal is not read yet. `charged` is the memory reserved for its queue.
    pub fn new(
        directory: Directory,
        limit: u64,
        keep_free: KeepFree,
        rooms: Rooms,
        charged: memory::Room,
    ) -> Self {
        Shared {
            directory: ArcSwap::from_pointee(directory),
            held: Mutex::new(Held {
                index: Index::default(),
                journal: None,
                purges: Vec::new(),
                loading: Some(Replaced::default()),
            }),
            jobs: Jobs::new(JOBS, charged.bytes() as usize),
            reads: Jobs::new(READS, usize::MAX),
            counters: Counters::default(),
            trouble: ArcSwapOption::empty(),
            lacking: AtomicBool::new(false),
            may_have_orphans: AtomicBool::new(true),
            limit: limit.into(),
            keep_free: ArcSwap::from_pointee(keep_free),
            reading: Default::default(),
            began: Instant::now(),
            rooms,
            charged: Mutex::new(charged),
        }
    }

    /// Queues a job for the readers; if the queue is full or the disk hangs it is dropped, which is a miss at once.
    pub fn read(&self, read: Read) {
        if !self.is_hanging() {
            // If refused, dropping it notifies the requester.
            _ = self.reads.push(read, 0);
        }
    }

    /// Whether all readers have been busy for so long that a new read would wait in vain.
    fn is_hanging(&self) -> bool {
        let now = self.millis();
        let patience = PATIENCE.as_millis() as u64 / 2;
        let busy = self.reading.iter().map(|since| since.load(Relaxed));
        busy.into_iter()
            .all(|since| since != 0 && now.saturating_sub(since) > patience)
    }

    /// Marks a reader as busy or idle.
    pub fn set_reading(&self, reader: usize, is_busy: bool) {
        let since = if is_busy { self.millis() } else { 0 };
        self.reading[reader].store(since, Relaxed);
    }

    fn millis(&self) -> u64 {
        self.began.elapsed().as_millis() as u64 + 1
    }

    /// Locks the state.
    pub fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether writing is not paused.
    pub fn is_writing(&self) -> bool {
        self.trouble.load().is_none()
    }

    /// Reserves memory for `more` bytes of index. False if there is none.
    pub fn charge(&self, more: u64, room: Room) -> bool {
        loop {
            let cost = self.cost() + more;
            if self.charged().bytes() >= cost {
                return true;
            }
            if room == Room::Charged {
                return false;
            }
            // No lock is held: other objects may have to be evicted.
            let Some(room) = (self.rooms)(STEP) else {
                return false;
            };
            self.charged().join(room);
        }
    }

    /// Releases memory that the index no longer needs.
    pub fn give_back(&self) {
        let cost = self.cost() + 16 * STEP;
        let mut charged = self.charged();
        let over = charged.bytes().saturating_sub(cost);
        charged.shrink(over);
    }

    /// Memory of the index and the queue, in bytes.
    pub fn cost(&self) -> u64 {
        let held = self.held();
        let purges = held.purges.iter().map(|purge| purge.bytes() as u64);
        held.index.cost() + purges.sum::<u64>() + self.jobs.most_bytes() as u64
    }

    fn charged(&self) -> MutexGuard<'_, memory::Room> {
        self.charged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes an object unfindable and queues its record. Returns whether it existed.
    pub fn doom(&self, held: &mut Held, place: Place) -> bool {
        let Some(file) = held.index.doom(place) else {
            return false;
        };
        let gone = Job::Gone {
            id: place.id,
            line: true,
            file,
        };
        if !self.must(gone) {
            held.index.add_orphaned(file.unwrap_or_default());
        }
        true
    }

    /// Queues a job for the writer that must not be lost. If it does not fit, the journal will be rewritten and orphan files
    /// searched. Returns whether it was queued.
    pub fn must(&self, job: Job) -> bool {
        let fits = self.jobs.push(job, 0).is_ok();
        if !fits {
            self.lacking.store(true, Relaxed);
            self.may_have_orphans.store(true, Relaxed);
        }
        fits
    }

    /// Counts a job that was not queued.
    pub fn not_written(&self) {
        count(&self.counters.not_written);
    }
}

impl Held {
    /// Objects with this hash must not be restored by a journal that is being read.
    pub fn replace(&mut self, hash: u128) {
        if let Some(replaced) = &mut self.loading {
            replaced.add(hash);
        }
    }
}
