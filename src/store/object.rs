//! One stored response: its head, and its body as far as it is here. All bytes of an object are of one version.

use std::{
    collections::{HashMap, HashSet},
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
    body::{BLOCK, Body},
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

/// What an object takes beside its body, its key and its fields.
const OVERHEAD: u64 = 1024;

/// A stored response.
#[derive(Debug)]
pub struct Object {
    /// What it is kept by.
    pub key: Key,
    /// For which requests it is the answer.
    pub variant: Variant,
    /// Its version; none without a strong validator: then it is one response's bytes and no other's.
    pub version: Option<Version>,
    /// When it was first stored.
    pub stored: SystemTime,
    head: ArcSwap<Head>,
    contents: Mutex<Contents>,
    hits: AtomicU64,
    /// Fills that failed since the last byte came.
    pub(super) failed_fills: AtomicU64,
    /// It is in no index any more: what it holds goes with its last reader.
    gone: AtomicBool,
    /// A reader went on, or left.
    read: Notify,
    /// A fill ended, or is sure to come.
    filled: Notify,
    /// Whether the origin was asked for all of it because it gives no parts.
    asked_whole: AtomicBool,
    /// Where it was fetched before anybody asked for it: whether somebody has.
    ahead: OnceLock<Arc<AtomicBool>>,
}

impl Object {
    /// An object whose body is still to come, of this length if it is known. `room` is what its head takes, at least
    /// [`Object::cost`].
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
            contents: Mutex::new(Contents {
                body: Body::new(length),
                room,
                uses: HashMap::new(),
                disk: None,
                loading: HashSet::new(),
                lost: HashSet::new(),
                readers: HashMap::new(),
                next_reader: 0,
                retry: Backoff::default(),
            }),
            hits: AtomicU64::new(0),
            failed_fills: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            read: Notify::new(),
            filled: Notify::new(),
            asked_whole: AtomicBool::new(false),
            ahead: OnceLock::new(),
        })
    }

    /// The object that was found on disk, with its body still there. `room` is as for [`Object::new`]. None: its status is none.
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
                body: Body::new(recalled.length),
                room,
                uses: HashMap::new(),
                disk: Some(Arc::new(recalled.handle)),
                loading: HashSet::new(),
                lost: HashSet::new(),
                readers: HashMap::new(),
                next_reader: 0,
                retry: Backoff::default(),
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

    /// What an object that is found on disk takes in memory without its body, in bytes.
    pub fn recall_cost(head: &StoredHead) -> u64 {
        OVERHEAD + head.bytes() as u64
    }

    /// Whether all of its body is on disk: what of it goes from memory can be read again.
    pub fn is_on_disk(&self) -> bool {
        self.disk().is_some_and(|handle| handle.is_whole())
    }

    /// Its head as the disk has it.
    pub fn stored_head(&self) -> StoredHead {
        let head = self.head();
        StoredHead {
            // Set by who keeps it.
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

    /// It is kept on disk, too, from now on: what is here of it is written, and what comes.
    pub fn attach(&self, handle: Handle) {
        let handle = Arc::new(handle);
        let blocks = {
            let mut contents = self.contents();
            contents.disk = Some(Arc::clone(&handle));
            contents.body.blocks()
        };
        // Whoever took it out of the index before that did not know of the disk.
        if self.is_gone() {
            handle.remove();
            return;
        }
        for (number, pieces) in blocks {
            write(&handle, number, pieces);
        }
    }

    /// By which it is kept on disk, if it is.
    pub fn disk(&self) -> Option<Arc<Handle>> {
        self.contents().disk.clone()
    }

    /// What an object takes in memory without its body, in bytes.
    pub fn cost(key: &Key, variant: &Variant, head: &Head) -> u64 {
        OVERHEAD + key.bytes() as u64 + variant.bytes() as u64 + head.bytes()
    }

    /// Its head.
    pub fn head(&self) -> Arc<Head> {
        self.head.load_full()
    }

    /// Its head from now on: the same body was validated.
    pub fn set_head(&self, head: Head) {
        self.contents().retry = Backoff::default();
        self.head.store(Arc::new(head));
        if let Some(handle) = self.disk() {
            handle.set_head(self.stored_head());
        }
    }

    /// Where it is a live playlist, its segments say how soon it is old. Called once all of it is here. The playlist that it is.
    pub fn bound_by_playlist(&self) -> Option<Playlist> {
        let playlist = self.whole().and_then(|body| Playlist::parse(&body))?;
        if let (Some(lifetime), Some(stale)) = (playlist.lifetime(), playlist.stale_if_error()) {
            self.change(|freshness| freshness.bound(lifetime, stale));
        }
        Some(playlist)
    }

    /// It is stale from now on.
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

    /// The complete length, once it is known.
    pub fn length(&self) -> Option<u64> {
        self.contents().body.length()
    }

    /// How many bytes of the body are here.
    pub fn held(&self) -> u64 {
        self.contents().body.held()
    }

    /// Whether all of the body is here, or all of it is on disk.
    pub fn is_whole(&self) -> bool {
        let contents = self.contents();
        contents.body.is_whole()
            || contents
                .disk
                .as_ref()
                .is_some_and(|handle| handle.is_whole())
    }

    /// Whether some of it is being fetched.
    pub fn is_filling(&self) -> bool {
        self.contents().body.is_filling()
    }

    /// All of the body in one piece, if it is here as one.
    pub fn whole(&self) -> Option<Bytes> {
        self.contents().body.whole()
    }

    /// The bytes of `part`, in order, where all of them are in memory: they count as used.
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

    /// Whether it can be gone on with where a fill broke: only what has a strong validator can.
    pub fn can_be_resumed(&self) -> bool {
        self.version.is_some()
    }

    /// A fill failed.
    pub fn fill_failed(&self) {
        self.failed_fills.fetch_add(1, Relaxed);
    }

    /// How many fills failed since the last byte came.
    pub fn failed_fills(&self) -> u64 {
        self.failed_fills.load(Relaxed)
    }

    /// It answered one more request.
    pub fn hit(&self) {
        if let Some(used) = self.ahead.get() {
            used.store(true, Relaxed);
        }
        self.hits.fetch_add(1, Relaxed);
    }

    /// It was fetched before anybody asked for it.
    pub fn is_ahead(&self, used: Arc<AtomicBool>) {
        _ = self.ahead.set(used);
    }

    /// How many requests it answered.
    pub fn hits(&self) -> u64 {
        self.hits.load(Relaxed)
    }

    /// Where the readers are: the one that is furthest behind, and the one that is furthest on. None without readers.
    pub fn readers(&self) -> Option<Range<u64>> {
        let contents = self.contents();
        let places = || contents.readers.values().copied();
        Some(places().min()?..places().max()?)
    }

    /// Waits until a reader goes on or leaves.
    pub async fn read_on(&self) {
        self.read.notified().await;
    }

    /// Whether the origin may be asked for all of it where it gives no part: once.
    pub fn may_be_had_whole(&self) -> bool {
        !self.asked_whole.swap(true, Relaxed)
    }

    /// Waits until all of it is here, or nobody fetches it any more.
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

    /// Lets go of what all readers have behind them; the bytes that came free.
    pub fn trim(&self) -> u64 {
        let Some(readers) = self.readers() else {
            return 0;
        };
        let mut contents = self.contents();
        let bytes = contents.body.drop_pieces(0..readers.start);
        contents.room.shrink(bytes);
        bytes
    }

    /// Lets go of what only the reader that is furthest behind still needs, of those that a fill which is at `at` serves; the bytes
    /// that came free. That reader then finds them missing. The one that is furthest on loses nothing.
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

    /// Whether the origin is to be left alone: it lately failed when it was asked for this.
    pub fn is_left_alone(&self, now: Instant) -> bool {
        self.contents().retry.holds(now)
    }

    /// The origin failed when it was asked for this.
    pub fn failed(&self, now: Instant) {
        self.contents().retry.failed(now);
    }

    /// What lies in this extent goes. The bytes that came free.
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
        // What the disk had no time for when it came.
        if let Some(handle) = disk {
            for (number, pieces) in unwritten {
                write(&handle, number, pieces);
            }
        }
        bytes
    }

    /// Whether this extent was used since it was last looked at; takes one use off.
    pub fn take_use(&self, extent: u64) -> bool {
        match self.contents().uses.get_mut(&extent) {
            Some(uses) if *uses > 0 => {
                *uses -= 1;
                true
            }
            _ => false,
        }
    }

    /// It is in no index any more, and not found on disk, either.
    pub fn leave(&self) {
        self.forget();
        if let Some(handle) = self.disk() {
            handle.remove();
        }
    }

    /// It is in memory's index from now on.
    pub fn enter(&self) {
        self.gone.store(false, Relaxed);
    }

    /// It is in memory's index no more; on disk it is still found.
    pub fn forget(&self) {
        self.gone.store(true, Relaxed);
    }

    /// Begins to read a block from disk; none where somebody does or did so already, or it is not there.
    pub fn begin_load(&self, block: u64) -> Option<Arc<Handle>> {
        let mut contents = self.contents();
        let handle = contents.disk.clone()?;
        let is_here = contents.body.block(block).is_some();
        let begins = !is_here && contents.is_stored(block) && contents.loading.insert(block);
        begins.then_some(handle)
    }

    /// A block was read from disk, or was not: whoever waits for it looks again. `lost`: it counts as missing from now on.
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

    /// Takes a block that was read from disk; `room` is for all of it. The extent that begins with it, if one does.
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

    /// Whether it is in no index any more.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    /// What is missing can come no more: readers that need it end visibly.
    pub fn give_up(&self) {
        let waiting = self.contents().body.give_up();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// A reader went on, or left.
    pub(super) fn has_read(&self) {
        self.read.notify_waiters();
    }

    /// A fill ended, or is sure to come.
    pub(super) fn has_filled(&self) {
        self.filled.notify_waiters();
    }

    /// Ready when a fill has ended, or is sure to come.
    pub(super) fn when_filled(&self) -> Notified<'_> {
        self.filled.notified()
    }

    /// What is changed together. A std mutex: held for some instructions, never across an await.
    pub(super) fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
