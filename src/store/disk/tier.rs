//! The disk tier from the workers' view: only async methods wait for the disk, and for a limited time.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use actix_http::header::HeaderMap;
use bytesize::ByteSize;
use tokio::{sync::oneshot, time::timeout};

use super::{
    directory::{Directory, DirectoryError},
    figures::{DiskFigures, count},
    handle::Handle,
    head::StoredHead,
    id::Id,
    new::New,
    purge::{Purge, Verdict, What, judge},
    reader,
    settings::{KeepFree, Settings},
    shared::{Job, PATIENCE, Purged, QUEUE_BYTES, READERS, Read, Room, Rooms, Shared},
    trouble::Trouble,
    writer::Writer,
};
use crate::store::{key::Key, variant::Ignored};

/// How long [`Disk::close`] waits for pending writes.
const CLOSE: Duration = Duration::from_secs(10);

/// A purge that is not durable within this time is reported as failed.
const PURGE_PATIENCE: Duration = Duration::from_secs(10);

/// The most purges that are processed at the same time.
const PURGES: usize = 1000;

/// The most objects of one key; as many heads may be read to find one.
const VARIANTS: usize = 16;

/// Largest share of `store.memory` for the queue, as a divisor.
const QUEUE_SHARE: u64 = 16;

/// An open disk tier.
#[derive(Debug)]
pub struct Disk {
    shared: Arc<Shared>,
    threads: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

/// An object found on disk.
#[derive(Debug)]
pub struct Recalled {
    /// Its head. [`Handle::has`] tells which blocks of the body are there.
    pub head: StoredHead,
    /// Complete length of its body, if known.
    pub length: Option<u64>,
    /// Access to its body.
    pub handle: Handle,
}

/// Why the tier cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory cannot be used.
    #[error("store.directory: {0}")]
    Directory(#[from] DirectoryError),
    /// `store.memory` is too small for the queue.
    #[error("store.memory: there is no room for what waits to be written")]
    Memory,
    /// A thread cannot be started.
    #[error("the disk's thread cannot be started: {0}")]
    Thread(std::io::Error),
}

/// A purge that a restart may undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDurable {
    /// Too many purges are being processed.
    #[error("too many purges are being worked off: try again")]
    Busy,
    /// The disk does not accept writes.
    #[error("the disk does not take it: it may come undone by a restart")]
    Disk,
}

impl Disk {
    /// Opens the directory, starts the threads, and begins to read the journal; until that is done, nothing is found. `memory` is
    /// `store.memory` in bytes; `rooms` reserves parts of it for the index and for queued writes.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: the service must not start.
    pub fn open(settings: &Settings, memory: u64, rooms: Rooms) -> Result<Self, OpenError> {
        let directory = Directory::open(&settings.directory)?;
        let queue = QUEUE_BYTES.min(memory / QUEUE_SHARE);
        let charged = rooms(queue).ok_or(OpenError::Memory)?;
        let limit = settings.disk.as_u64();
        let shared = Shared::new(directory, limit, settings.keep_free, rooms, charged);
        let shared = Arc::new(shared);
        let disk = Disk {
            shared: Arc::clone(&shared),
            threads: std::sync::Mutex::default(),
        };
        let writer = Writer::new(&shared, settings.pause);
        disk.spawn("store-write", move || writer.run())?;
        for reader in 0..READERS {
            let shared = Arc::clone(&shared);
            disk.spawn("store-read", move || reader::run(&shared, reader))?;
        }
        Ok(disk)
    }

    fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), OpenError> {
        let thread = thread::Builder::new().name(name.to_owned());
        let shared = Arc::clone(&self.shared);
        let thread = thread.spawn(move || {
            let _last = Ended(shared);
            run();
        });
        let mut threads = self.threads();
        threads.push(thread.map_err(OpenError::Thread)?);
        Ok(())
    }

    fn threads(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        let threads = self.threads.lock();
        threads.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Stores a new object, replacing older ones for the same requests. Its id and serial number are set here. None, and counted,
    /// if it is not stored on disk.
    pub fn keep(&self, mut head: StoredHead, room: Room) -> Option<Handle> {
        let fits = self.shared.is_writing() && self.shared.charge(super::index::COST, room);
        let mut held = self.shared.held();
        let hash = held.index.hash(&head.key);
        let variant = held.index.variant(&head.variant);
        // The object it replaces must not be restored, even if the new one is not stored.
        held.replace(hash);
        for old in held.index.same(hash, Some(variant)) {
            self.shared.doom(&mut held, old);
        }
        if let Some(&oldest) = held.index.same(hash, None).get(VARIANTS - 1) {
            self.shared.doom(&mut held, oldest);
        }
        // An object that cannot be evicted partially must not displace all others.
        let quarter = self.shared.limit.load(Relaxed) / 4;
        let is_large =
            head.validator.is_none() && head.length.is_some_and(|length| length > quarter);
        if !fits || is_large || held.loading.is_some() {
            self.shared.not_written();
            return None;
        }
        let id = new_id()?;
        let serial = held.index.next_serial();
        let place = held.index.insert(New {
            hash,
            variant,
            id,
            serial,
            length: head.length,
            resumable: head.validator.is_some(),
        });
        head.id = id;
        head.serial = serial;
        let bytes = head.bytes();
        // Under the lock, so that purges and heads are queued in the order of their serial numbers.
        if self
            .shared
            .jobs
            .push(Job::Head(place, Box::new(head)), bytes)
            .is_err()
        {
            let bytes = held.index.remove(place);
            held.index.left(bytes);
            self.shared.not_written();
            return None;
        }
        held.index.pin(place);
        Some(Handle::new(&self.shared, place))
    }

    /// Whether there may be an object with this key. Does not wait.
    pub fn may_have(&self, key: &Key) -> bool {
        let held = self.shared.held();
        held.loading.is_none() && !held.index.find(held.index.hash(key)).is_empty()
    }

    /// The object on disk that answers a request with these fields: its head is read, its body is not.
    pub async fn recall(
        &self,
        key: &Key,
        fields: &HeaderMap,
        ignored: &Ignored,
    ) -> Option<Recalled> {
        let candidates: Vec<_> = {
            let mut held = self.shared.held();
            if held.loading.is_some() {
                return None;
            }
            let file = held.journal.clone()?;
            let hash = held.index.hash(key);
            let found = held.index.find(hash).into_iter();
            let found = found.filter_map(|place| {
                let (line, _) = held.index.head(place)?;
                let handle = held
                    .index
                    .pin(place)
                    .then(|| Handle::new(&self.shared, place))?;
                Some((handle, place, line, Arc::clone(&file)))
            });
            found.collect()
        };
        for (handle, place, line, file) in candidates {
            let (reply, head) = oneshot::channel();
            self.shared.read(Read::Head(file, line, reply));
            let Ok(read) = timeout(PATIENCE, head).await else {
                count(&self.shared.counters.slow_reads);
                return None;
            };
            let Ok(read) = read else {
                // Refused: too many reads wait, or the disk hangs.
                count(&self.shared.counters.not_read);
                return None;
            };
            let Some(mut head) = read else {
                // An older object must not answer instead.
                handle.remove();
                return None;
            };
            let held = self.shared.held();
            let verdict = judge(&held.purges, &head);
            let is_useful = held.index.is_useful(place);
            let length = held.index.length(place);
            drop(held);
            match verdict {
                Verdict::Gone => {
                    handle.remove();
                    continue;
                }
                Verdict::Stale(since) => head.freshness.expire(since),
                Verdict::Stays => {}
            }
            if head.key == *key && is_useful && head.variant.answers(fields, ignored) {
                return Some(Recalled {
                    head: *head,
                    length,
                    handle,
                });
            }
        }
        None
    }

    /// Removes all objects of a key, because a request invalidated them. Returns how many.
    pub fn remove(&self, key: &Key) -> usize {
        let mut held = self.shared.held();
        let hash = held.index.hash(key);
        held.replace(hash);
        let same = held.index.same(hash, None);
        let gone = same
            .into_iter()
            .filter(|&place| self.shared.doom(&mut held, place));
        gone.count()
    }

    /// Purges objects older than now, durably. They are not found any more from the call on.
    ///
    /// # Errors
    ///
    /// [`NotDurable`]: a restart may restore them.
    pub async fn purge(
        &self,
        what: What,
        soft: bool,
        now: SystemTime,
    ) -> Result<Purged, NotDurable> {
        let since = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let at = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let (reply, purged) = oneshot::channel();
        {
            let mut held = self.shared.held();
            if held.purges.len() >= PURGES {
                return Err(NotDurable::Busy);
            }
            let serial = match held.loading {
                Some(_) => 0,
                None => held.index.next_serial(),
            };
            let job = Job::Purge {
                what: what.clone(),
                soft,
                at,
                serial,
                gone: Purged::default(),
                reply,
            };
            self.shared
                .jobs
                .push(job, 0)
                .map_err(|_| NotDurable::Busy)?;
            held.purges.push(Purge {
                serial,
                what,
                soft,
                at,
            });
        }
        match timeout(PURGE_PATIENCE, purged).await {
            Ok(Ok(Some(purged))) => Ok(purged),
            _ => Err(NotDurable::Disk),
        }
    }

    /// Changes the limits. Excess objects are evicted within seconds.
    pub fn set_bounds(&self, disk: ByteSize, keep_free: KeepFree) {
        self.shared.limit.store(disk.as_u64(), Relaxed);
        self.shared.keep_free.store(Arc::new(keep_free));
    }

    /// Whether the journal is still being read.
    pub fn is_loading(&self) -> bool {
        self.shared.held().loading.is_some()
    }

    /// The directory.
    pub fn path(&self) -> PathBuf {
        self.shared.directory.load().path().to_owned()
    }

    /// Why writing is paused, if it is.
    pub fn trouble(&self) -> Option<Trouble> {
        let trouble = self.shared.trouble.load();
        trouble.as_deref().cloned()
    }

    /// A read of an object's block took longer than [`PATIENCE`].
    pub fn count_slow_read(&self) {
        count(&self.shared.counters.slow_reads);
    }

    /// State and counters.
    pub fn figures(&self) -> DiskFigures {
        let (objects, bytes, loading, purges) = {
            let held = self.shared.held();
            let index = &held.index;
            let loading = held.loading.is_some();
            (index.objects(), index.bytes(), loading, held.purges.len())
        };
        let counters = &self.shared.counters;
        DiskFigures {
            loading,
            trouble: self.trouble(),
            objects: objects as u64,
            bytes,
            journal_bytes: counters.journal.load(Relaxed),
            limit: self.shared.limit.load(Relaxed),
            memory: self.shared.cost(),
            blocks_written: counters.written.load(Relaxed),
            not_written: counters.not_written.load(Relaxed),
            blocks_read: counters.read.load(Relaxed),
            not_read: counters.not_read.load(Relaxed),
            checksum_failures: counters.checksum_failures.load(Relaxed),
            read_errors: counters.read_errors.load(Relaxed),
            write_errors: counters.write_errors.load(Relaxed),
            slow_reads: counters.slow_reads.load(Relaxed),
            evictions: counters.evictions.load(Relaxed),
            journal_damages: counters.journal_damages.load(Relaxed),
            orphans: counters.orphans.load(Relaxed),
            purges: purges as u64,
        }
    }

    /// Stops the threads after pending writes are durable, and releases the lock. Waits at most some seconds: a hanging disk must
    /// not block the process's end. Returns whether everything was done.
    pub fn close(&self) -> bool {
        self.shared.jobs.close();
        self.shared.reads.close();
        let end = Instant::now() + CLOSE;
        let mut threads = self.threads();
        while !threads.iter().all(JoinHandle::is_finished) {
            if Instant::now() >= end {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        for thread in threads.drain(..) {
            // A panic was reported by the thread itself.
            _ = thread.join();
        }
        true
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.shared.jobs.close();
        self.shared.reads.close();
    }
}

/// Closes the queue of a thread that ended, even by a panic, so that everything becomes a miss.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.jobs.close();
            self.0.reads.close();
            let error = std::io::Error::other("a thread of the store's disk ended by a panic");
            let trouble = Trouble::of(&error, SystemTime::now());
            self.0.trouble.store(Some(Arc::new(trouble)));
        }
    }
}

/// A random id; none if the system has no random numbers.
fn new_id() -> Option<Id> {
    let mut bytes = [0; 16];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).ok()?;
    Some(Id(u128::from_ne_bytes(bytes)))
}
