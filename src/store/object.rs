//! One stored response: its head, and the parts of its body that are present. All bytes are of one version.

use std::{
    ops::Range,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
    time::{Instant, SystemTime},
};

use actix_http::StatusCode;
use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::{Notify, futures::Notified};

use super::{
    backoff::Backoff,
    body::BLOCK,
    contents::{Contents, EXTENT, write},
    disk::{Handle, Recalled, StoredHead},
    freshness::Freshness,
    head::Head,
    key::Key,
    memory::Room,
    playlist::Playlist,
    variant::Variant,
    version::Version,
};

/// Memory of an object in addition to body, key and fields.
const OVERHEAD: u64 = 1024;

/// A stored response.
#[derive(Debug)]
pub struct Object {
    /// The key it is stored under.
    pub key: Key,
    /// Which requests it answers.
    pub variant: Variant,
    /// Its version; none without a strong validator: then only bytes of one response belong to it.
    pub version: Option<Version>,
    /// When it was first stored.
    pub stored: SystemTime,
    head: ArcSwap<Head>,
    contents: Mutex<Contents>,
    hits: AtomicU64,
    /// Fills that failed since the last byte arrived.
    pub(super) failed_fills: AtomicU64,
    /// Whether it was removed from the index: it is freed with its last reader.
    gone: AtomicBool,
    /// A reader advanced or left.
    read: Notify,
    /// A fill ended or was confirmed.
    filled: Notify,
    /// Whether the complete body was requested because the origin does not support ranges.
    asked_whole: AtomicBool,
    /// For a prefetched object: set when a client asks for it.
    ahead: OnceLock<Arc<AtomicBool>>,
}

impl Object {
    /// An object without body bytes, with this length if known. `room` is the memory for its head, at least [`Object::cost`].
    pub fn new(
        key: Key,
        variant: Variant,
        version: Option<Version>,
        head: Head,
        length: Option<u64>,
        room: Room,
    ) -> Arc<Self> {
        Arc::new(Object {
            key,
            variant,
            version,
            stored: head.validated,
            head: ArcSwap::from_pointee(head),
            contents: Mutex::new(Contents::new(length, room)),
            hits: AtomicU64::new(0),
            failed_fills: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            read: Notify::new(),
            filled: Notify::new(),
            asked_whole: AtomicBool::new(false),
            ahead: OnceLock::new(),
        })
    }

    /// An object found on disk, whose body is still there. `room` is as for [`Object::new`]. None if its status is invalid.
    pub fn recalled(recalled: Recalled, room: Room) -> Option<Arc<Self>> {
        let stored = recalled.head;
        let version = stored.validator.zip(recalled.length);
        let head = Head {
            status: StatusCode::from_u16(stored.status).ok()?,
            fields: stored.fields,
            freshness: stored.freshness,
            validated: stored.validated,
        };
        Some(Arc::new(Object {
            key: stored.key,
            variant: stored.variant,
            version: version.map(|(validator, length)| Version { validator, length }),
            stored: stored.stored,
            head: ArcSwap::from_pointee(head),
            contents: Mutex::new(Contents {
                disk: Some(Arc::new(recalled.handle)),
                ..Contents::new(recalled.length, room)
            }),
            hits: AtomicU64::new(0),
            failed_fills: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            read: Notify::new(),
            filled: Notify::new(),
            asked_whole: AtomicBool::new(false),
            ahead: OnceLock::new(),
        }))
    }

    /// Memory of an object found on disk, without its body, in bytes.
    pub fn recall_cost(head: &StoredHead) -> u64 {
        OVERHEAD + head.bytes() as u64
    }

    /// Whether the whole body is on disk, so that evicted parts can be loaded again.
    pub fn is_on_disk(&self) -> bool {
        self.disk().is_some_and(|handle| handle.is_whole())
    }

    /// Its head in the form for the disk.
    pub fn stored_head(&self) -> StoredHead {
        let head = self.head();
        StoredHead {
            // Set when it is stored.
            id: Default::default(),
            serial: 0,
            key: self.key.clone(),
            variant: self.variant.clone(),
            validator: (self.version.as_ref()).map(|version| version.validator.clone()),
            length: self.length(),
            status: head.status.as_u16(),
            fields: head.fields.clone(),
            freshness: head.freshness,
            validated: head.validated,
            stored: self.stored,
        }
    }

    /// Connects it to its entry on disk: complete blocks are written, now and later.
    pub fn attach(&self, handle: Handle) {
        let handle = Arc::new(handle);
        let blocks = {
            let mut contents = self.contents();
            contents.disk = Some(Arc::clone(&handle));
            contents.body.blocks()
        };
        // If it was removed from the index before, the entry on disk was not removed with it.
        if self.is_gone() {
            handle.remove();
            return;
        }
        for (number, pieces) in blocks {
            write(&handle, number, pieces);
        }
    }

    /// Its entry on disk, if there is one.
    pub fn disk(&self) -> Option<Arc<Handle>> {
        self.contents().disk.clone()
    }

    /// Memory of an object without its body, in bytes.
    pub fn cost(key: &Key, variant: &Variant, head: &Head) -> u64 {
        OVERHEAD + key.bytes() as u64 + variant.bytes() as u64 + head.bytes()
    }

    /// Its head.
    pub fn head(&self) -> Arc<Head> {
        self.head.load_full()
    }

    /// Replaces its head after a validation.
    pub fn set_head(&self, head: Head) {
        self.contents().retry = Backoff::default();
        self.head.store(Arc::new(head));
        if let Some(handle) = self.disk() {
            handle.set_head(self.stored_head());
        }
    }

    /// If it is a live playlist, limits its freshness by the segments' duration. Called when the body is complete. Returns the
    /// playlist.
    pub fn bound_by_playlist(&self) -> Option<Playlist> {
        let playlist = self.whole().and_then(|body| Playlist::parse(&body))?;
        if let (Some(lifetime), Some(stale)) = (playlist.lifetime(), playlist.stale_if_error()) {
            self.change(|freshness| freshness.bound(lifetime, stale));
        }
        Some(playlist)
    }

    /// Makes it stale.
    pub fn expire(&self, now: SystemTime) {
        self.change(|freshness| freshness.expire(now));
    }

    fn change(&self, change: impl Fn(&mut Freshness)) {
        let head = self.head();
        let mut freshness = head.freshness;
        change(&mut freshness);
        let head = Head::clone(&head);
        self.set_head(Head { freshness, ..head });
    }

    /// Complete length, once known.
    pub fn length(&self) -> Option<u64> {
        self.contents().body.length()
    }

    /// Body bytes in memory.
    pub fn held(&self) -> u64 {
        self.contents().body.held()
    }

    /// Whether the whole body is in memory, or the whole body is on disk.
    pub fn is_whole(&self) -> bool {
        let contents = self.contents();
        contents.body.is_whole()
            || contents
                .disk
                .as_ref()
                .is_some_and(|handle| handle.is_whole())
    }

    /// Whether a fill is under way.
    pub fn is_filling(&self) -> bool {
        self.contents().body.is_filling()
    }

    /// The whole body in one piece, if it is in memory.
    pub fn whole(&self) -> Option<Bytes> {
        self.contents().body.whole()
    }

    /// The bytes of `part` in order, if all are in memory; counts as a use.
    pub fn in_memory(&self, part: &Range<u64>) -> Option<Vec<Bytes>> {
        if part.is_empty() {
            return Some(Vec::new());
        }
        let mut contents = self.contents();
        let pieces = contents.body.part(part)?;
        for extent in part.start / EXTENT..=(part.end - 1) / EXTENT {
            contents.use_extent(extent);
        }
        Some(pieces)
    }

    /// Whether a broken fill can be resumed: only with a strong validator.
    pub fn can_be_resumed(&self) -> bool {
        self.version.is_some()
    }

    /// Counts a failed fill.
    pub fn fill_failed(&self) {
        self.failed_fills.fetch_add(1, Relaxed);
    }

    /// Fills that failed since the last byte arrived.
    pub fn failed_fills(&self) -> u64 {
        self.failed_fills.load(Relaxed)
    }

    /// Counts a request that it answered.
    pub fn hit(&self) {
        if let Some(used) = self.ahead.get() {
            used.store(true, Relaxed);
        }
        self.hits.fetch_add(1, Relaxed);
    }

    /// Marks it as prefetched.
    pub fn is_ahead(&self, used: Arc<AtomicBool>) {
        _ = self.ahead.set(used);
    }

    /// Number of requests it answered.
    pub fn hits(&self) -> u64 {
        self.hits.load(Relaxed)
    }

    /// Positions of the slowest and the fastest reader. None without readers.
    pub fn readers(&self) -> Option<Range<u64>> {
        let contents = self.contents();
        let places = || contents.readers.values().copied();
        Some(places().min()?..places().max()?)
    }

    /// Waits until a reader advances or leaves.
    pub async fn read_on(&self) {
        self.read.notified().await;
    }

    /// Waits until the fastest reader is at `at` or behind it, or no reader is left.
    pub async fn read_to(&self, at: u64) {
        loop {
            let mut read = pin!(self.read.notified());
            read.as_mut().enable();
            if self.readers().is_none_or(|readers| readers.end >= at) {
                return;
            }
            read.await;
        }
    }

    /// Whether the complete body may be requested from an origin without range support; true once.
    pub fn may_be_had_whole(&self) -> bool {
        !self.asked_whole.swap(true, Relaxed)
    }

    /// Waits until the body is complete, or no fill is under way.
    pub async fn settled(&self) {
        loop {
            let mut filled = pin!(self.filled.notified());
            filled.as_mut().enable();
            if self.is_whole() || !self.is_filling() {
                return;
            }
            filled.await;
        }
    }

    /// Drops bytes that all readers have passed; returns how many.
    pub fn trim(&self) -> u64 {
        let Some(readers) = self.readers() else {
            return 0;
        };
        let mut contents = self.contents();
        let bytes = contents.body.drop_pieces(0..readers.start);
        contents.room.shrink(bytes);
        bytes
    }

    /// Drops bytes that only the slowest of the readers of a fill at `at` still needs; returns how many. That reader then finds
    /// them missing; the fastest one loses nothing.
    pub fn leave_behind(&self, at: u64) -> u64 {
        let mut contents = self.contents();
        let mut places: Vec<u64> = contents.readers.values().copied().collect();
        places.retain(|&place| place <= at);
        places.sort_unstable();
        for place in places.into_iter().skip(1) {
            let bytes = contents.body.drop_pieces(0..place);
            if bytes > 0 {
                contents.room.shrink(bytes);
                return bytes;
            }
        }
        0
    }

    /// Whether the origin must not be asked for it now, because it recently failed.
    pub fn is_left_alone(&self, now: Instant) -> bool {
        self.contents().retry.holds(now)
    }

    /// Records a failure of the origin for this object.
    pub fn failed(&self, now: Instant) {
        self.contents().retry.failed(now);
    }

    /// Evicts an extent from memory. Returns the number of bytes.
    pub fn evict(&self, extent: u64) -> u64 {
        let mut contents = self.contents();
        let begin = extent * EXTENT;
        let disk = contents.disk.clone();
        let unwritten: Vec<_> = (disk.iter())
            .flat_map(|handle| handle.lacks(begin / BLOCK..(begin + EXTENT) / BLOCK))
            .filter_map(|number| Some((number, contents.body.block(number)?)))
            .collect();
        let bytes = contents.body.drop_pieces(begin..begin + EXTENT);
        contents.room.shrink(bytes);
        contents.uses.remove(&extent);
        drop(contents);
        // Blocks that could not be written when they arrived.
        if let Some(handle) = disk {
            for (number, pieces) in unwritten {
                write(&handle, number, pieces);
            }
        }
        bytes
    }

    /// Whether an extent was used since it was last checked; takes one use off.
    pub fn take_use(&self, extent: u64) -> bool {
        match self.contents().uses.get_mut(&extent) {
            Some(uses) if *uses > 0 => {
                *uses -= 1;
                true
            }
            _ => false,
        }
    }

    /// Removed from the index and from disk.
    pub fn leave(&self) {
        self.forget();
        if let Some(handle) = self.disk() {
            handle.remove();
        }
    }

    /// Added to the index.
    pub fn enter(&self) {
        self.gone.store(false, Relaxed);
    }

    /// Removed from the index in memory; it can still be found on disk.
    pub fn forget(&self) {
        self.gone.store(true, Relaxed);
    }

    /// Begins to load a block from disk; none if it is being loaded, is in memory, or is not on disk.
    pub fn begin_load(&self, block: u64) -> Option<Arc<Handle>> {
        let mut contents = self.contents();
        let handle = contents.disk.clone()?;
        let is_here = contents.body.block(block).is_some();
        let begins = !is_here && contents.is_stored(block) && contents.loading.insert(block);
        begins.then_some(handle)
    }

    /// Ends loading a block; waiting readers look again. `lost`: it counts as missing from now on.
    pub fn end_load(&self, block: u64, lost: bool) {
        let waiting = {
            let mut contents = self.contents();
            if lost {
                contents.lost.insert(block);
            }
            if !contents.loading.remove(&block) {
                return;
            }
            let begin = block * BLOCK;
            contents.body.wake(begin..begin + BLOCK)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Adds a block loaded from disk; `room` is the memory for all of it. Returns the extent that begins with it, if one does.
    pub fn put(&self, block: u64, bytes: &Bytes, mut room: Room) -> Option<u64> {
        let mut contents = self.contents();
        let taken = contents.body.put(block * BLOCK, bytes);
        room.shrink(bytes.len() as u64 - taken);
        contents.room.join(room);
        contents.lost.remove(&block);
        let extent = block * BLOCK / EXTENT;
        (taken > 0 && !contents.uses.contains_key(&extent)).then(|| {
            contents.uses.insert(extent, 0);
            extent
        })
    }

    /// Whether it was removed from the index.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    /// Marks missing bytes as unavailable for good: readers that need them end with an error.
    pub fn give_up(&self) {
        let waiting = self.contents().body.give_up();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// A reader advanced or left.
    pub(super) fn has_read(&self) {
        self.read.notify_waiters();
    }

    /// A fill ended or was confirmed.
    pub(super) fn has_filled(&self) {
        self.filled.notify_waiters();
    }

    /// Completes when a fill has ended or was confirmed.
    pub(super) fn when_filled(&self) -> Notified<'_> {
        self.filled.notified()
    }

    /// Locks the mutable state. A std mutex: held for a few instructions, never across an await.
    pub(super) fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
