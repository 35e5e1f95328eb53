//! What workers and the disk's threads share.

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

/// Threads that read.
pub const READERS: usize = 2;

/// A read that takes longer is a miss: a disk that hangs must not be slower than the origin.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes that wait to be written, at most: they are held in memory beside what the store counts by objects, so they are taken
/// from its account at the start.
pub const QUEUE_BYTES: u64 = 8 * 1024 * 1024;

/// Jobs that wait for the writer, at most.
const JOBS: usize = 16 * 1024;

/// Reads that wait, at most. One more is a miss at once.
const READS: usize = 1024;

/// Memory for the index is taken in steps of so much.
const STEP: u64 = 64 * 1024;

/// Keys that were answered anew while the journal was read, at most.
const REPLACED: usize = 100_000;

/// Takes so many bytes of the store's memory, after something else has gone, if need be; none if there is none to be had.
pub type Rooms = Box<dyn Fn(u64) -> Option<memory::Room> + Send + Sync>;

/// From where memory for the index comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Something else may go for it.
    Any,
    /// Only what was taken before: for who is making room already.
    Charged,
}

/// Shared by all.
pub struct Shared {
    /// Where files lie. Another one after it vanished and came again.
    pub directory: ArcSwap<Directory>,
    /// A std mutex: held for some instructions, never across an await, and never while anything else is locked or asked for
    /// memory.
    held: Mutex<Held>,
    /// To the writer.
    pub jobs: Jobs<Job>,
    /// To the readers.
    pub reads: Jobs<Read>,
    /// What is counted.
    pub counters: Counters,
    /// What keeps the writer from writing.
    pub trouble: ArcSwapOption<Trouble>,
    /// The journal lacks something: it is to be written anew.
    pub lacking: AtomicBool,
    /// Files may be there that the index does not know.
    pub littered: AtomicBool,
    /// `store.disk`, in bytes.
    pub limit: AtomicU64,
    /// `store.keep_free`.
    pub keep_free: ArcSwap<KeepFree>,
    /// Since when each reader has been at its job, in milliseconds since `began` and one; 0: it has none.
    reading: [AtomicU64; READERS],
    began: Instant,
    rooms: Rooms,
    /// Memory that is taken for the index.
    charged: Mutex<memory::Room>,
}

/// What is changed together.
#[derive(Debug)]
pub struct Held {
    /// What is on disk.
    pub index: Index,
    /// The file that the index's lines lie in.
    pub journal: Option<Arc<File>>,
    /// Purges that are being worked off.
    pub purges: Vec<Purge>,
    /// While the journal is read: what was answered or removed meanwhile, and is not to come back by it.
    pub loading: Option<Replaced>,
}

/// Keys that are not to come back by the journal.
#[derive(Debug, Default)]
pub struct Replaced {
    keys: HashSet<u128>,
    /// Too many to tell: none comes back.
    all: bool,
}

/// What the writer does.
#[derive(Debug)]
pub enum Job {
    /// An object has this head from now on.
    Head(Place, Box<StoredHead>),
    /// Writes a block.
    Block(Place, u32, Vec<Bytes>),
    /// The complete length is known; the index has it already.
    Length(Id, u64),
    /// An object is gone from the index.
    Gone {
        /// Which one.
        id: Id,
        /// The journal does not know it yet.
        line: bool,
        /// Nobody reads its file: how many bytes it takes.
        file: Option<u64>,
    },
    /// A block is gone from the index: it could not be read. How many bytes it takes.
    Lost(Id, u32, u64),
    /// Makes a purge durable, and works it off.
    Purge {
        /// What it means.
        what: What,
        /// Whether what it means is only stale.
        soft: bool,
        /// When, in milliseconds since 1970.
        at: u64,
        /// Its serial number; 0: the journal was not read yet.
        serial: u64,
        /// What went already.
        gone: Purged,
        /// The answer, once it is durable.
        reply: oneshot::Sender<Option<Purged>>,
    },
}

/// What a purge did on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Objects.
    pub objects: u64,
    /// Bytes of their bodies, as their files took them.
    pub bytes: u64,
    /// Whether that is all. Else the rest is worked off behind; it is found no more in any case.
    pub complete: bool,
}

/// What readers do.
#[derive(Debug)]
pub enum Read {
    /// Reads a block.
    Block(Place, u32, Done),
    /// Reads a head.
    Head(Arc<File>, Line, oneshot::Sender<Option<Box<StoredHead>>>),
}

/// Who is told of a block that was read. Dropped, it is told that there is none.
pub struct Done(Option<Box<dyn FnOnce(Option<Bytes>) + Send>>);

impl Done {
    /// Tells it by this.
    pub fn new(tell: impl FnOnce(Option<Bytes>) + Send + 'static) -> Self {
        Done(Some(Box::new(tell)))
    }

    /// Tells it.
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

    /// Whether objects of this hash must not come back.
    pub fn has(&self, hash: u128) -> bool {
        self.all || self.keys.contains(&hash)
    }
}

impl Shared {
    /// A tier in this directory, whose journal is not read yet. `charged` is what its queue takes.
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
            littered: AtomicBool::new(true),
            limit: limit.into(),
            keep_free: ArcSwap::from_pointee(keep_free),
            reading: Default::default(),
            began: Instant::now(),
            rooms,
            charged: Mutex::new(charged),
        }
    }

    /// Gives the readers a job; dropped where the queue is full, or the disk hangs: then it is a miss at once.
    pub fn read(&self, read: Read) {
        if !self.is_hanging() {
            // Refused, whoever waits for it is told by its being dropped.
            _ = self.reads.push(read, 0);
        }
    }

    /// Whether every reader has been at its job for so long that who comes now would wait in vain.
    fn is_hanging(&self) -> bool {
        let now = self.millis();
        let patience = PATIENCE.as_millis() as u64 / 2;
        let busy = self.reading.iter().map(|since| since.load(Relaxed));
        busy.into_iter()
            .all(|since| since != 0 && now.saturating_sub(since) > patience)
    }

    /// A reader begins a job, or has none.
    pub fn set_reading(&self, reader: usize, is_busy: bool) {
        let since = if is_busy { self.millis() } else { 0 };
        self.reading[reader].store(since, Relaxed);
    }

    fn millis(&self) -> u64 {
        self.began.elapsed().as_millis() as u64 + 1
    }

    /// What is changed together.
    pub fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something may be written.
    pub fn is_writing(&self) -> bool {
        self.trouble.load().is_none()
    }

    /// Takes memory for `more` bytes of index beside what is there. False: there is none to be had.
    pub fn charge(&self, more: u64, room: Room) -> bool {
        loop {
            let cost = self.cost() + more;
            if self.charged().bytes() >= cost {
                return true;
            }
            if room == Room::Charged {
                return false;
            }
            // Nothing is locked: other objects may have to go for it.
            let Some(room) = (self.rooms)(STEP) else {
                return false;
            };
            self.charged().join(room);
        }
    }

    /// Gives memory back that the index does not need any more.
    pub fn give_back(&self) {
        let cost = self.cost() + 16 * STEP;
        let mut charged = self.charged();
        let over = charged.bytes().saturating_sub(cost);
        charged.shrink(over);
    }

    /// What the index and the queue take in memory, in bytes.
    pub fn cost(&self) -> u64 {
        let held = self.held();
        let purges = held.purges.iter().map(|purge| purge.bytes() as u64);
        held.index.cost() + purges.sum::<u64>() + self.jobs.most_bytes() as u64
    }

    fn charged(&self) -> MutexGuard<'_, memory::Room> {
        self.charged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an object out, and tells the journal. Whether it was there.
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
            held.index.strew(file.unwrap_or_default());
        }
        true
    }

    /// Gives the writer a job that must not be lost. Where it does not fit, the journal is written anew, and files that
    /// nobody knows are looked for. Whether it did.
    pub fn must(&self, job: Job) -> bool {
        let fits = self.jobs.push(job, 0).is_ok();
        if !fits {
            self.lacking.store(true, Relaxed);
            self.littered.store(true, Relaxed);
        }
        fits
    }

    /// Counts what is not written.
    pub fn not_written(&self) {
        count(&self.counters.not_written);
    }
}

impl Held {
    /// Objects of this hash are not to come back by the journal that is being read, if it is.
    pub fn replace(&mut self, hash: u128) {
        if let Some(replaced) = &mut self.loading {
            replaced.add(hash);
        }
    }
}
