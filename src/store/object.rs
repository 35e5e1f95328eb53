//! One stored response: its head, and its body as far as it is here. All bytes of an object are of one version.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Waker},
    time::{Duration, Instant, SystemTime},
};

use actix_http::{StatusCode, header::HeaderMap};
use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::Notify;

use super::{
    body::{BLOCK, Body, Found},
    disk::{Handle, Recalled, StoredHead},
    freshness::Freshness,
    key::Key,
    memory::Room,
    playlist::Playlist,
    validator::{Validator, is_coded},
    variant::Variant,
};

/// What goes at once where room is needed: a part of a large body, or the whole of a small one.
pub const EXTENT: u64 = 1024 * 1024;

/// Uses of an extent are counted up to this.
const MOST_USES: u8 = 3;

/// What an object takes beside its body, its key and its fields.
const OVERHEAD: u64 = 1024;

/// A version of a response, told apart strongly: the same validator means the same bytes (RFC 9110 §8.8.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// What tells it apart.
    pub validator: Validator,
    /// The complete length.
    pub length: u64,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.validator.value().as_bytes()))
    }
}

impl Version {
    /// The version of a response with these fields and this complete length; none without a strong validator, or where it is coded:
    /// many servers code on the fly, give the same validator to what is not coded, and parts of that alone.
    pub fn of(fields: &HeaderMap, length: u64) -> Option<Self> {
        if is_coded(fields) {
            return None;
        }
        let validator = Validator::of(fields)?;
        Some(Version { validator, length })
    }

    /// Whether a response with these fields and this complete length is of the same version.
    pub fn names(&self, fields: &HeaderMap, length: u64) -> bool {
        self.length == length && self.validator.names(fields) && !is_coded(fields)
    }
}

/// Status, fields and freshness. A 304 puts another one in its place.
#[derive(Debug)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// The fields, without those of one hop.
    pub fields: HeaderMap,
    /// How long it may be used.
    pub freshness: Freshness,
    /// When it was stored or last validated.
    pub validated: SystemTime,
}

impl Head {
    fn bytes(&self) -> u64 {
        let lines = self.fields.iter();
        lines
            .map(|(name, value)| name.as_str().len() + value.len() + 64)
            .sum::<usize>() as u64
    }
}

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
    inside: Mutex<Inside>,
    hits: AtomicU64,
    /// Fills that failed since the last byte came.
    failed_fills: AtomicU64,
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

/// What is changed together. A std mutex: held for some instructions, never across an await.
#[derive(Debug)]
struct Inside {
    body: Body,
    room: Room,
    /// How often each extent was used since it was last looked at.
    uses: HashMap<u64, u8>,
    disk: Option<Arc<Handle>>,
    /// Blocks that are being read from disk.
    loading: HashSet<u64>,
    /// Blocks that are said to be on disk and could not be read: they are missing.
    lost: HashSet<u64>,
    /// Where each reader is.
    readers: HashMap<u64, u64>,
    next_reader: u64,
    /// Until when the origin is not asked for it again, and how long it is left alone then.
    retry: Option<(Instant, Duration)>,
}

/// Where the origin failed, an object is asked for again after so long; doubled each time, up to [`MOST_RETRY`].
const RETRY: Duration = Duration::from_secs(1);

/// The longest that an object is left alone where the origin fails.
const MOST_RETRY: Duration = Duration::from_secs(30);

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
            inside: Mutex::new(Inside {
                body: Body::new(length),
                room,
                uses: HashMap::new(),
                disk: None,
                loading: HashSet::new(),
                lost: HashSet::new(),
                readers: HashMap::new(),
                next_reader: 0,
                retry: None,
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
            inside: Mutex::new(Inside {
                body: Body::new(recalled.length),
                room,
                uses: HashMap::new(),
                disk: Some(Arc::new(recalled.handle)),
                loading: HashSet::new(),
                lost: HashSet::new(),
                readers: HashMap::new(),
                next_reader: 0,
                retry: None,
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
            let mut inside = self.inside();
            inside.disk = Some(Arc::clone(&handle));
            inside.body.blocks()
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
        self.inside().disk.clone()
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
        self.inside().retry = None;
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
        self.set_head(Head {
            status: head.status,
            fields: head.fields.clone(),
            freshness,
            validated: head.validated,
        });
    }

    /// The complete length, once it is known.
    pub fn length(&self) -> Option<u64> {
        self.inside().body.length()
    }

    /// How many bytes of the body are here.
    pub fn held(&self) -> u64 {
        self.inside().body.held()
    }

    /// Whether all of the body is here, or all of it is on disk.
    pub fn is_whole(&self) -> bool {
        let inside = self.inside();
        inside.body.is_whole() || inside.disk.as_ref().is_some_and(|handle| handle.is_whole())
    }

    /// Whether some of it is being fetched.
    pub fn is_filling(&self) -> bool {
        self.inside().body.is_filling()
    }

    /// All of the body in one piece, if it is here as one.
    pub fn whole(&self) -> Option<Bytes> {
        self.inside().body.whole()
    }

    /// The bytes of `part`, in order, where all of them are in memory: they count as used.
    pub fn in_memory(&self, part: &Range<u64>) -> Option<Vec<Bytes>> {
        if part.is_empty() {
            return Some(Vec::new());
        }
        let mut inside = self.inside();
        let pieces = inside.body.part(part)?;
        for extent in part.start / EXTENT..=(part.end - 1) / EXTENT {
            let uses = inside.uses.entry(extent).or_default();
            *uses = (*uses + 1).min(MOST_USES);
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

    /// A reader that begins at `at`.
    pub fn reader(self: &Arc<Self>, at: u64) -> Reader {
        let mut inside = self.inside();
        let number = inside.next_reader;
        inside.next_reader += 1;
        inside.readers.insert(number, at);
        Reader {
            object: Arc::clone(self),
            number,
            at,
            touched: None,
            left: false,
        }
    }

    /// Where the readers are: the one that is furthest behind, and the one that is furthest on. None without readers.
    pub fn readers(&self) -> Option<Range<u64>> {
        let inside = self.inside();
        let places = || inside.readers.values().copied();
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
        let mut inside = self.inside();
        let bytes = inside.body.drop_pieces(0..readers.start);
        inside.room.shrink(bytes);
        bytes
    }

    /// Lets go of what only the reader that is furthest behind still needs, of those that a fill which is at `at` serves; the bytes
    /// that came free. That reader then finds them missing. The one that is furthest on loses nothing.
    pub fn leave_behind(&self, at: u64) -> u64 {
        let mut inside = self.inside();
        let mut places: Vec<u64> = inside.readers.values().copied().collect();
        places.retain(|&place| place <= at);
        places.sort_unstable();
        for place in places.into_iter().skip(1) {
            let bytes = inside.body.drop_pieces(0..place);
            if bytes > 0 {
                inside.room.shrink(bytes);
                return bytes;
            }
        }
        0
    }

    /// Whether the origin is to be left alone: it lately failed when it was asked for this.
    pub fn is_left_alone(&self, now: Instant) -> bool {
        self.inside().retry.is_some_and(|(until, _)| now < until)
    }

    /// The origin failed when it was asked for this.
    pub fn failed(&self, now: Instant) {
        let mut inside = self.inside();
        let wait = inside
            .retry
            .map_or(RETRY, |(_, wait)| (wait * 2).min(MOST_RETRY));
        inside.retry = Some((now + wait, wait));
    }

    /// Begins to fetch `part`; none where its first byte is here, on disk or on its way. See [`Body::begin`].
    pub fn fill(self: &Arc<Self>, part: Range<u64>) -> Option<Fill> {
        let number = {
            let mut inside = self.inside();
            let end = inside
                .stored_from(part.start)
                .map_or(part.end, |stored| stored.min(part.end));
            if end <= part.start {
                return None;
            }
            inside.body.begin(part.start..end)?
        };
        Some(Fill {
            object: Arc::clone(self),
            number,
            complete: false,
        })
    }

    /// The first part of `part` that is neither here nor sure to come, for the caller to fetch. Waits while somebody else asks the
    /// origin for it; where that was in vain it is not tried again: who waits must not be held up by one after the other.
    pub async fn claim(self: &Arc<Self>, part: Range<u64>) -> Claim {
        let mut waited = None;
        loop {
            let mut filled = pin!(self.filled.notified());
            filled.as_mut().enable();
            let Some(at) = self.inside().unsure(&part) else {
                return Claim::Sure;
            };
            if waited == Some(at) && !self.is_filling_at(at) {
                return Claim::Failed;
            }
            if let Some(fill) = self.fill(at..part.end) {
                return Claim::Fetch(fill);
            }
            waited = Some(at);
            filled.await;
        }
    }

    fn is_filling_at(&self, at: u64) -> bool {
        self.inside().body.is_filling_at(at)
    }

    /// What lies in this extent goes. The bytes that came free.
    pub fn evict(&self, extent: u64) -> u64 {
        let mut inside = self.inside();
        let begin = extent * EXTENT;
        let disk = inside.disk.clone();
        let unwritten: Vec<_> = (disk.iter())
            .flat_map(|handle| handle.lacks(begin / BLOCK..(begin + EXTENT) / BLOCK))
            .filter_map(|number| Some((number, inside.body.block(number)?)))
            .collect();
        let bytes = inside.body.drop_pieces(begin..begin + EXTENT);
        inside.room.shrink(bytes);
        inside.uses.remove(&extent);
        drop(inside);
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
        match self.inside().uses.get_mut(&extent) {
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
        let mut inside = self.inside();
        let handle = inside.disk.clone()?;
        let is_here = inside.body.block(block).is_some();
        let begins = !is_here && inside.is_stored(block) && inside.loading.insert(block);
        begins.then_some(handle)
    }

    /// A block was read from disk, or was not: whoever waits for it looks again. `lost`: it counts as missing from now on.
    pub fn end_load(&self, block: u64, lost: bool) {
        let waiting = {
            let mut inside = self.inside();
            if lost {
                inside.lost.insert(block);
            }
            if !inside.loading.remove(&block) {
                return;
            }
            let begin = block * BLOCK;
            inside.body.wake(begin..begin + BLOCK)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Takes a block that was read from disk; `room` is for all of it. The extent that begins with it, if one does.
    pub fn put(&self, block: u64, bytes: &Bytes, mut room: Room) -> Option<u64> {
        let mut inside = self.inside();
        let taken = inside.body.put(block * BLOCK, bytes);
        room.shrink(bytes.len() as u64 - taken);
        inside.room.join(room);
        inside.lost.remove(&block);
        let extent = block * BLOCK / EXTENT;
        (taken > 0 && !inside.uses.contains_key(&extent)).then(|| {
            inside.uses.insert(extent, 0);
            extent
        })
    }

    /// Whether it is in no index any more.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Relaxed)
    }

    /// What is missing can come no more: readers that need it end visibly.
    pub fn give_up(&self) {
        let waiting = self.inside().body.give_up();
        waiting.into_iter().for_each(Waker::wake);
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inside {
    /// What there is at `at`, where memory has not got it.
    fn read_disk(&mut self, at: u64, found: Found, cx: &mut Context<'_>) -> Found {
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
    fn unsure(&self, part: &Range<u64>) -> Option<u64> {
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
    fn stored_from(&self, at: u64) -> Option<u64> {
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

    fn is_stored(&self, block: u64) -> bool {
        self.stored_from(block * BLOCK) == Some(block * BLOCK)
    }

    /// The blocks that are whole since a fill went from `from` on: they are to be written.
    fn completed(&mut self, from: u64, fill: u64) -> Vec<(u64, Vec<Bytes>)> {
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
fn write(handle: &Handle, number: u64, pieces: Vec<Bytes>) {
    if let Ok(number) = u32::try_from(number) {
        handle.write(number, pieces);
    }
}

/// One that reads an object from some byte on.
#[derive(Debug)]
pub struct Reader {
    object: Arc<Object>,
    number: u64,
    at: u64,
    /// The extent that it was last seen to use.
    touched: Option<u64>,
    /// It reads on from elsewhere: nothing is kept for it.
    left: bool,
}

impl Reader {
    /// The object that it reads.
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// The byte that it reads next.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// What there is at its place; see [`Body::read`]. What is missing in memory and is on disk is [`Found::Stored`].
    pub fn look(&mut self, cx: &mut Context<'_>) -> Found {
        let mut inside = self.object.inside();
        let found = inside.body.read(self.at, cx);
        match found {
            Found::Piece(_) => {
                let extent = self.at / EXTENT;
                if self.touched != Some(extent) {
                    self.touched = Some(extent);
                    let uses = inside.uses.entry(extent).or_default();
                    *uses = (*uses + 1).min(MOST_USES);
                }
                found
            }
            Found::Missing(_) | Found::Broken => inside.read_disk(self.at, found, cx),
            _ => found,
        }
    }

    /// It took so many bytes.
    pub fn take(&mut self, bytes: u64) {
        self.at += bytes;
        if !self.left {
            self.object.inside().readers.insert(self.number, self.at);
            self.object.read.notify_waiters();
        }
    }

    /// From now on it reads from elsewhere: nothing is kept for it, and no fill goes on for it.
    pub fn leave(&mut self) {
        self.left = true;
        self.object.inside().readers.remove(&self.number);
        self.object.read.notify_waiters();
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.object.inside().readers.remove(&self.number);
        self.object.read.notify_waiters();
    }
}

/// What is to be done before a part of an object is handed out.
#[derive(Debug)]
pub enum Claim {
    /// Nothing: all of it is here, or sure to come.
    Sure,
    /// This is to be fetched, by whoever claimed it.
    Fetch(Fill),
    /// Somebody else asked for it in vain.
    Failed,
}

/// A part of an object that is being fetched. Dropped, what it has not brought is missing, and whoever waits for it is woken.
#[derive(Debug)]
pub struct Fill {
    object: Arc<Object>,
    number: u64,
    complete: bool,
}

impl Fill {
    /// The object that it is a part of.
    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    /// What is still to be fetched; none once all of it came.
    pub fn left(&self) -> Option<Range<u64>> {
        self.object.inside().body.left(self.number)
    }

    /// The origin has said that it gives what this is for.
    pub fn confirm(&self) {
        self.object.inside().body.confirm(self.number);
        self.object.filled.notify_waiters();
    }

    /// Takes room for a piece of so many bytes. False: there is none, and something must go first.
    pub fn take_room(&self, bytes: usize) -> bool {
        self.object.inside().room.grow(bytes as u64)
    }

    /// Puts a piece where the one before ended; room for it was taken. The extent that begins with it, if one does.
    pub fn write(&self, piece: Bytes) -> Option<u64> {
        self.object.failed_fills.store(0, Relaxed);
        let len = piece.len() as u64;
        let (waiting, begun, blocks, disk) = {
            let mut inside = self.object.inside();
            let at = inside.body.left(self.number).map(|left| left.start);
            let before = inside.body.held();
            let waiting = inside.body.write(self.number, piece);
            // What went over the end was not taken.
            let over = len - (inside.body.held() - before);
            inside.room.shrink(over);
            let begun = at.and_then(|at| {
                let extent = at / EXTENT;
                let is_new = !inside.uses.contains_key(&extent);
                is_new.then(|| {
                    inside.uses.insert(extent, 0);
                    extent
                })
            });
            let disk = inside.disk.clone();
            let blocks = match (at, &disk) {
                (Some(at), Some(_)) => inside.completed(at, self.number),
                _ => Vec::new(),
            };
            (waiting, begun, blocks, disk)
        };
        waiting.into_iter().for_each(Waker::wake);
        if let Some(handle) = disk {
            for (number, pieces) in blocks {
                write(&handle, number, pieces);
            }
        }
        begun
    }

    /// The response ended by its own framing: this is the end of the body.
    pub fn complete(mut self) {
        self.complete = true;
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        let (waiting, disk, length, last) = {
            let mut inside = self.object.inside();
            let was_known = inside.body.length().is_some();
            let waiting = inside.body.end(self.number, self.complete);
            let length = inside.body.length().filter(|_| !was_known);
            // The last block of a body whose length was not known till now.
            let last = length.and_then(|length| {
                let number = length / BLOCK;
                Some((number, inside.body.block(number)?))
            });
            (waiting, inside.disk.clone(), length, last)
        };
        waiting.into_iter().for_each(Waker::wake);
        self.object.filled.notify_waiters();
        if let (Some(handle), Some(length)) = (disk, length) {
            handle.set_length(length);
            if let Some((number, pieces)) = last {
                write(&handle, number, pieces);
            }
        }
    }
}
