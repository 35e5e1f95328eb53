//! The index: which objects there are, who asks for one that is not here yet, and what is known not to be for all.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use actix_http::header::HeaderMap;
use bytes::Bytes;
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{
    body::BLOCK,
    disk::{self, Disk, OpenError},
    key::Key,
    memory::{Memory, Room},
    object::{Fill, Object},
    s3fifo::{Found, Queues},
    shared_paths::SharedPaths,
    variant::{Ignored, asked_with, coded_with},
};

/// The index is divided so that worker threads seldom meet.
const SHARDS: usize = 64;

/// Objects of one key at most: a response that varies by what every client has another value of must not fill the store.
const VARIANTS: usize = 16;

/// Keys in one shard that are remembered as not for all, at most.
const OWN: usize = 512;

/// So often a block is read from disk that can be had from nowhere else.
const ATTEMPTS: u32 = 10;

/// The time from one such attempt to the next.
const PAUSE: Duration = Duration::from_millis(200);

/// All objects of the process.
#[derive(Debug)]
pub struct Shelf {
    /// Std mutexes: held for some instructions, never across an await.
    shards: Box<[Mutex<Shard>]>,
    /// Seeded at random, so that nobody can choose keys that fall together.
    hasher: RandomState,
    memory: Arc<Memory>,
    queues: Mutex<Queues<(Weak<Object>, u64)>>,
    /// Grows with each purge: what was asked for before one is not kept after it.
    purges: AtomicU64,
    evictions: AtomicU64,
    shared_paths: SharedPaths,
    disk: OnceLock<Disk>,
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashMap<Key, Entry>,
    /// Keys whose responses lately were not for all, until when that is believed.
    own: HashMap<u64, Instant>,
}

#[derive(Debug, Default)]
struct Entry {
    objects: Vec<Arc<Object>>,
    asking: Vec<Asking>,
}

/// A request that is under way, and who waits for its head.
#[derive(Debug)]
struct Asking {
    number: u64,
    with: Box<[u8]>,
    joined: Vec<oneshot::Sender<Option<Arc<Object>>>>,
}

/// Who answers a request.
#[derive(Debug)]
pub enum Place {
    /// An object that is here, or on its way.
    Here(Arc<Object>),
    /// Nobody asks for it yet: this request goes to the origin, for all who come meanwhile.
    Ask(Ask),
    /// Another request for the same is under way.
    Join(Joined),
    /// It is known not to be for all: the request goes by itself.
    Alone,
}

/// The object that another request brought; `None`: there is none that is for all, and each goes by itself. An error: that
/// request was given up, and whoever looks again first goes in its place.
pub type Joined = oneshot::Receiver<Option<Arc<Object>>>;

/// Leave to ask the origin for all who want the same. Dropped, the request was given up, and the next one goes.
#[derive(Debug)]
pub struct Ask {
    shelf: Arc<Shelf>,
    key: Key,
    number: u64,
    purges: u64,
}

/// Numbers requests over the process.
static NEXT_ASK: AtomicU64 = AtomicU64::new(0);

impl Shelf {
    /// An empty one, whose objects take so many bytes of memory at most.
    pub fn new(memory: Arc<Memory>) -> Arc<Self> {
        Arc::new(Shelf {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            memory,
            queues: Mutex::default(),
            purges: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
            shared_paths: SharedPaths::default(),
            disk: OnceLock::new(),
        })
    }

    /// Opens the disk tier: what is answered from now on is kept there, too. Once.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: the service must not start.
    pub fn open_disk(self: &Arc<Self>, settings: &disk::Settings) -> Result<(), OpenError> {
        let shelf = Arc::downgrade(self);
        let rooms = move |bytes| shelf.upgrade()?.room(bytes);
        let disk = Disk::open(settings, self.memory.limit(), Box::new(rooms))?;
        // A second one is closed again, by being dropped.
        _ = self.disk.set(disk);
        Ok(())
    }

    /// The disk tier, if there is one.
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.get()
    }

    /// The object on disk that answers a request with these fields, if there is one: in memory from now on, but for its body. It
    /// is in no index until it is the answer of an [`Ask`].
    pub async fn recall(
        &self,
        key: &Key,
        fields: &HeaderMap,
        ignored: &Ignored,
    ) -> Option<Arc<Object>> {
        let recalled = self.disk()?.recall(key, fields, ignored).await?;
        let room = self.room(Object::recall_cost(&recalled.head))?;
        Object::recalled(recalled, room)
    }

    /// Reads what [`Found::Stored`](super::body::Found::Stored) told of, into memory: the bytes from `at` to the end of its block. None: look again; what
    /// could not be read is missing then, and what another reader is loading is waited for.
    pub fn load(
        self: &Arc<Self>,
        object: &Arc<Object>,
        at: u64,
    ) -> impl Future<Output = Option<Bytes>> + Send + use<> {
        let (shelf, object) = (Arc::clone(self), Arc::clone(object));
        async move {
            let block = at / BLOCK;
            let handle = object.begin_load(block)?;
            // Whoever waits for this reader goes on if it leaves.
            let mut loading = Loading {
                object: Arc::clone(&object),
                block,
                lost: false,
            };
            // What can be had from nowhere else is waited for: a disk that is slow is better than a body that breaks.
            let attempts = if object.can_be_resumed() { 1 } else { ATTEMPTS };
            let number = u32::try_from(block).ok()?;
            let mut bytes = None;
            for attempt in 0..attempts {
                if attempt > 0 {
                    if !handle.has(number) {
                        break;
                    }
                    sleep(PAUSE).await;
                }
                bytes = shelf.load_once(&object, &handle, number).await;
                if bytes.is_some() {
                    break;
                }
            }
            loading.lost = bytes.is_none();
            let skip = usize::try_from(at % BLOCK).ok()?;
            bytes
                .filter(|bytes| skip < bytes.len())
                .map(|bytes| bytes.slice(skip..))
        }
    }

    async fn load_once(
        self: &Arc<Self>,
        object: &Arc<Object>,
        handle: &disk::Handle,
        number: u32,
    ) -> Option<Bytes> {
        let (reply, loaded) = oneshot::channel();
        let (shelf, object) = (Arc::clone(self), Arc::clone(object));
        handle.read(number, move |bytes| {
            if let Some(bytes) = &bytes {
                shelf.put(&object, number.into(), bytes);
            }
            // Who left needs none.
            _ = reply.send(bytes);
        });
        match timeout(disk::PATIENCE, loaded).await {
            Ok(bytes) => bytes.ok().flatten(),
            Err(_) => {
                self.disk()?.count_slow_read();
                None
            }
        }
    }

    /// Keeps a block that was read from disk in memory, if there is room to be had.
    fn put(&self, object: &Arc<Object>, block: u64, bytes: &Bytes) {
        let len = bytes.len() as u64;
        let Some(room) = self.room(len) else {
            return;
        };
        if let Some(extent) = object.put(block, bytes, room) {
            self.enqueue(object, extent, len);
        }
    }

    fn enqueue(&self, object: &Arc<Object>, extent: u64, bytes: u64) {
        let hash = self.hasher.hash_one((&object.key, extent));
        let mut queues = lock(&self.queues);
        queues.insert((Arc::downgrade(object), extent), hash, bytes);
        queues.tidy(|(object, _)| object.strong_count() > 0);
    }

    /// The account of its memory.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// How many objects there are.
    pub fn objects(&self) -> usize {
        let count = |shard: &Mutex<Shard>| -> usize {
            let shard = lock(shard);
            shard
                .entries
                .values()
                .map(|entry| entry.objects.len())
                .sum()
        };
        self.shards.iter().map(count).sum()
    }

    /// How many extents were pushed out.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Relaxed)
    }

    /// The object that answers a request with these fields, if it is here.
    pub fn get(&self, key: &Key, fields: &HeaderMap, ignored: &Ignored) -> Option<Arc<Object>> {
        let shard = self.shard(key);
        let objects = &shard.entries.get(key)?.objects;
        let found = objects
            .iter()
            .find(|object| object.variant.answers(fields, ignored));
        found.cloned()
    }

    /// Who answers a request for `key` with these fields.
    pub fn place(
        self: &Arc<Self>,
        key: &Key,
        fields: &HeaderMap,
        ignored: &Ignored,
        now: Instant,
    ) -> Place {
        let hash = self.hash(key);
        let mut shard = self.shard(key);
        if let Some(entry) = shard.entries.get(key)
            && let Some(object) =
                (entry.objects.iter()).find(|object| object.variant.answers(fields, ignored))
        {
            return Place::Here(Arc::clone(object));
        }
        match shard.own.get(&hash) {
            Some(&until) if now < until => return Place::Alone,
            Some(_) => {
                shard.own.remove(&hash);
            }
            None => {}
        }
        self.ask_in(&mut shard, key, fields, ignored)
    }

    /// Leave to ask the origin once more for an object that is here, or the answer of whoever does so already.
    pub fn ask_again(self: &Arc<Self>, key: &Key, fields: &HeaderMap, ignored: &Ignored) -> Place {
        let mut shard = self.shard(key);
        self.ask_in(&mut shard, key, fields, ignored)
    }

    fn ask_in(
        self: &Arc<Self>,
        shard: &mut Shard,
        key: &Key,
        fields: &HeaderMap,
        ignored: &Ignored,
    ) -> Place {
        let with = match self.shared_paths.holds(key) {
            true => coded_with(fields),
            false => asked_with(fields, ignored),
        };
        let entry = shard.entries.entry(key.clone()).or_default();
        if let Some(asking) = entry.asking.iter_mut().find(|asking| asking.with == with) {
            let (sender, joined) = oneshot::channel();
            asking.joined.push(sender);
            return Place::Join(joined);
        }
        let number = NEXT_ASK.fetch_add(1, Relaxed);
        entry.asking.push(Asking {
            number,
            with,
            joined: Vec::new(),
        });
        Place::Ask(Ask {
            shelf: Arc::clone(self),
            key: key.clone(),
            number,
            purges: self.purges.load(Relaxed),
        })
    }

    /// So much room for an object's head, after something else has gone, if need be. None: there is none to be had.
    pub fn room(&self, bytes: u64) -> Option<Room> {
        loop {
            if let Some(room) = self.memory.take(bytes) {
                return Some(room);
            }
            if !self.evict() {
                return None;
            }
        }
    }

    /// Takes a piece of a fill, after something else has gone, if need be. False: there is no room to be had.
    pub fn write(&self, fill: &Fill, piece: bytes::Bytes) -> bool {
        while !fill.take_room(piece.len()) {
            if !self.evict() {
                return false;
            }
        }
        let bytes = piece.len() as u64;
        if let Some(extent) = fill.write(piece) {
            self.enqueue(fill.object(), extent, bytes);
        }
        true
    }

    /// One extent goes. Whether one did.
    fn evict(&self) -> bool {
        loop {
            let gone = lock(&self.queues).evict(|(object, extent)| match object.upgrade() {
                None => Found::Gone,
                Some(object) if object.is_gone() => Found::Unused,
                Some(object) if object.take_use(*extent) => Found::Used,
                Some(_) => Found::Unused,
            });
            let Some((object, extent)) = gone else {
                return false;
            };
            let Some(object) = object.upgrade() else {
                return true;
            };
            self.demote(&object);
            if !object.can_be_resumed() && !object.is_on_disk() {
                // Its readers could get these bytes from nowhere else: they go with the last of them.
                self.remove(&object);
                self.evictions.fetch_add(1, Relaxed);
                if Arc::into_inner(object).is_some() {
                    return true;
                }
                continue;
            }
            let bytes = object.evict(extent);
            self.evictions.fetch_add(1, Relaxed);
            if object.held() == 0 && !object.is_filling() {
                self.forget(&object);
            }
            if bytes > 0 {
                return true;
            }
        }
    }

    /// An object that is in use, and is not on disk or not any more, is kept there before it goes from memory.
    fn demote(&self, object: &Arc<Object>) {
        let Some(disk) = self
            .disk()
            .filter(|_| object.hits() > 0 && !object.is_gone())
        else {
            return;
        };
        let is_kept = object.disk().is_some_and(|handle| handle.is_alive());
        if !is_kept && let Some(handle) = disk.keep(object.stored_head(), disk::Room::Charged) {
            object.attach(handle);
        }
    }

    /// Takes an object out of the index, and out of what is found on disk. Who reads it goes on.
    pub fn remove(&self, object: &Arc<Object>) {
        self.forget(object);
        object.leave();
    }

    /// Takes an object out of memory's index.
    fn forget(&self, object: &Arc<Object>) {
        let mut shard = self.shard(&object.key);
        if let Some(entry) = shard.entries.get_mut(&object.key) {
            entry.objects.retain(|other| !Arc::ptr_eq(other, object));
            if entry.objects.is_empty() && entry.asking.is_empty() {
                shard.entries.remove(&object.key);
            }
        }
        object.forget();
    }

    /// Takes out, or with `soft` makes stale, every object that `is_meant`; how many, and how many bytes they held. What is
    /// being asked for is not kept.
    pub fn purge(
        &self,
        soft: bool,
        now: SystemTime,
        is_meant: impl Fn(&Object) -> bool,
    ) -> (u64, u64) {
        self.purges.fetch_add(1, Relaxed);
        let (mut objects, mut bytes) = (0, 0);
        for shard in &self.shards {
            let mut shard = lock(shard);
            for entry in shard.entries.values_mut() {
                entry.objects.retain(|object| {
                    if !is_meant(object) {
                        return true;
                    }
                    objects += 1;
                    bytes += object.held();
                    if soft {
                        object.expire(now);
                    } else {
                        object.leave();
                    }
                    soft
                });
            }
            shard
                .entries
                .retain(|_, entry| !entry.objects.is_empty() || !entry.asking.is_empty());
        }
        (objects, bytes)
    }

    /// Whether the last response in the same directory was for all.
    pub fn is_shared(&self, key: &Key) -> bool {
        self.shared_paths.holds(key)
    }

    /// Whether requests for a key go by themselves for a while: its last answer was not for all.
    pub fn is_own(&self, key: &Key) -> bool {
        let (hash, now) = (self.hash(key), Instant::now());
        self.shard(key)
            .own
            .get(&hash)
            .is_some_and(|&until| now < until)
    }

    /// What is kept for a key goes, in memory and on disk: a request changed what it was made of (RFC 9111 §4.4). What was asked
    /// for before is not kept, and who waits for it asks anew.
    pub fn invalidate(&self, key: &Key) {
        let entry = self.shard(key).entries.remove(key);
        for object in entry.iter().flat_map(|entry| &entry.objects) {
            object.leave();
        }
        if let Some(disk) = self.disk() {
            disk.remove(key);
        }
    }

    /// All objects of a key.
    pub fn variants(&self, key: &Key) -> Vec<Arc<Object>> {
        let shard = self.shard(key);
        let entry = shard.entries.get(key);
        entry.map(|entry| entry.objects.clone()).unwrap_or_default()
    }

    fn hash(&self, key: &Key) -> u64 {
        self.hasher.hash_one(key)
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.hash(key) as usize % SHARDS])
    }
}

impl Ask {
    /// What is asked for.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The origin's answer is this object: whoever joined gets it, and so does whoever comes, in place of what answered the same
    /// requests before. It is kept on disk, too, if there is one.
    pub fn answer(self, object: &Arc<Object>) {
        let is_for_all = object.head().freshness.is_for_all();
        self.shelf.shared_paths.learn(&self.key, is_for_all);
        let (joined, is_kept) = {
            let mut shard = self.shelf.shard(&self.key);
            let is_valid = self.purges == self.shelf.purges.load(Relaxed);
            match shard.entries.get_mut(&self.key) {
                None => (Vec::new(), false),
                Some(entry) => {
                    let joined = entry.take(self.number);
                    let is_here = entry.objects.iter().any(|other| Arc::ptr_eq(other, object));
                    let is_kept = is_valid && joined.is_some() && !is_here;
                    if is_kept {
                        entry.replace(object);
                    }
                    (joined.unwrap_or_default(), is_kept)
                }
            }
        };
        if is_kept
            && let Some(disk) = self.shelf.disk()
            && object.disk().is_none()
            && let Some(handle) = disk.keep(object.stored_head(), disk::Room::Any)
        {
            object.attach(handle);
        }
        tell(joined, object);
    }

    /// The answer is this object, which was found on disk, unless another one came meanwhile. What whoever joined gets, and so does
    /// whoever comes.
    pub fn recalled(self, object: Arc<Object>) -> Arc<Object> {
        let (joined, object) = {
            let mut shard = self.shelf.shard(&self.key);
            let is_valid = self.purges == self.shelf.purges.load(Relaxed)
                && object.disk().is_some_and(|handle| handle.is_alive());
            match shard.entries.get_mut(&self.key) {
                None => (Vec::new(), object),
                Some(entry) => {
                    let joined = entry.take(self.number);
                    let same = |other: &&Arc<Object>| other.variant == object.variant;
                    let newer = entry.objects.iter().find(same).cloned();
                    if newer.is_none() && is_valid && joined.is_some() {
                        entry.replace(&object);
                    }
                    (joined.unwrap_or_default(), newer.unwrap_or(object))
                }
            }
        };
        tell(joined, &object);
        object
    }

    /// The origin's answer is not for all: whoever joined goes by itself, and so does whoever comes for so long.
    pub fn refuse(self, lasting: Duration, now: Instant) {
        if !lasting.is_zero() {
            self.shelf.shared_paths.learn(&self.key, false);
        }
        let hash = self.shelf.hash(&self.key);
        let joined = {
            let mut shard = self.shelf.shard(&self.key);
            if shard.own.len() >= OWN {
                shard.own.retain(|_, until| now < *until);
                if shard.own.len() >= OWN {
                    shard.own.clear();
                }
            }
            if !lasting.is_zero() {
                shard.own.insert(hash, now + lasting);
            }
            shard.take(&self.key, self.number)
        };
        for joined in joined {
            _ = joined.send(None);
        }
    }
}

/// A block that is being read from disk for a reader.
struct Loading {
    object: Arc<Object>,
    block: u64,
    lost: bool,
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.object.end_load(self.block, self.lost);
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        // Answered, there is nothing left to take.
        drop(self.shelf.shard(&self.key).take(&self.key, self.number));
    }
}

impl Shard {
    fn take(&mut self, key: &Key, number: u64) -> Vec<oneshot::Sender<Option<Arc<Object>>>> {
        let Some(entry) = self.entries.get_mut(key) else {
            return Vec::new();
        };
        let joined = entry.take(number);
        if entry.objects.is_empty() && entry.asking.is_empty() {
            self.entries.remove(key);
        }
        joined.unwrap_or_default()
    }
}

impl Entry {
    /// Puts an object in the place of what answered the same requests before.
    fn replace(&mut self, object: &Arc<Object>) {
        self.objects.retain(|other| {
            let stays = other.variant != object.variant;
            if !stays {
                other.leave();
            }
            stays
        });
        if self.objects.len() >= VARIANTS {
            self.objects.remove(0).leave();
        }
        object.enter();
        self.objects.push(Arc::clone(object));
    }

    /// Who joined a request that is over; none where it was called off meanwhile.
    fn take(&mut self, number: u64) -> Option<Vec<oneshot::Sender<Option<Arc<Object>>>>> {
        let mut asking = self.asking.iter();
        let at = asking.position(|asking| asking.number == number)?;
        Some(self.asking.swap_remove(at).joined)
    }
}

/// Who joined gets the object.
fn tell(joined: Vec<oneshot::Sender<Option<Arc<Object>>>>, object: &Arc<Object>) {
    for joined in joined {
        // Who left needs none.
        _ = joined.send(Some(Arc::clone(object)));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use actix_http::{Method, StatusCode};
    use bytes::Bytes;

    use super::*;
    use crate::store::{
        body,
        directives::RequestDirectives,
        freshness::{Asked, Exchanged, Freshness, Rules},
        object::{EXTENT, Head, Version},
        variant::Variant,
    };

    fn shelf(limit: u64) -> Arc<Shelf> {
        Shelf::new(Memory::new(limit))
    }

    fn key(target: &str) -> Key {
        Key::new(&"default".into(), false, "h", target)
    }

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(name.parse().unwrap(), value.parse().unwrap());
        }
        fields
    }

    fn head(lines: &[(&'static str, &'static str)]) -> Head {
        let fields = fields(lines);
        let now = SystemTime::now();
        let asked = Asked {
            method: &Method::GET,
            credentials: false,
            directives: &RequestDirectives::default(),
        };
        let exchanged = Exchanged {
            asked: now,
            answered: now,
        };
        let rules = Rules {
            targeted: Vec::new(),
            heuristic_max: Duration::ZERO,
            error_max: Duration::ZERO,
            stale_if_error: Duration::ZERO,
        };
        Head {
            status: StatusCode::OK,
            freshness: Freshness::of(asked, StatusCode::OK, &fields, exchanged, &rules).unwrap(),
            fields,
            validated: now,
        }
    }

    fn object(shelf: &Shelf, target: &str, length: u64) -> Arc<Object> {
        let key = key(target);
        let head = head(&[("etag", "\"a\""), ("cache-control", "max-age=60")]);
        let variant = Variant::of(&HeaderMap::new(), &head.fields, true, &[]);
        let version = Version::of(&head.fields, length);
        let room = shelf.room(Object::cost(&key, &variant, &head)).unwrap();
        Object::new(key, variant, version, head, Some(length), room)
    }

    fn place(shelf: &Arc<Shelf>, target: &str) -> Place {
        shelf.place(&key(target), &HeaderMap::new(), &[], Instant::now())
    }

    fn ask(shelf: &Arc<Shelf>, target: &str) -> Ask {
        match place(shelf, target) {
            Place::Ask(ask) => ask,
            other => panic!("{other:?}"),
        }
    }

    fn join(shelf: &Arc<Shelf>, target: &str) -> Joined {
        match place(shelf, target) {
            Place::Join(joined) => joined,
            other => panic!("{other:?}"),
        }
    }

    fn is_here(shelf: &Arc<Shelf>, target: &str) -> bool {
        matches!(place(shelf, target), Place::Here(_))
    }

    /// Puts a whole object in.
    fn put(shelf: &Arc<Shelf>, target: &str, length: u64) -> Arc<Object> {
        let ask = ask(shelf, target);
        let object = object(shelf, target, length);
        ask.answer(&object);
        let fill = object.fill(0..length).unwrap();
        while let Some(left) = fill.left() {
            let piece = (left.end - left.start).min(body::BLOCK) as usize;
            if !shelf.write(&fill, Bytes::from(vec![7; piece])) {
                break;
            }
        }
        object
    }

    #[test]
    fn who_asks_for_the_same_meanwhile_gets_what_one_request_brings() {
        let shelf = shelf(1 << 20);
        let first = ask(&shelf, "/a");
        let mut joined = [join(&shelf, "/a"), join(&shelf, "/a")];
        let other = ask(&shelf, "/b");
        first.answer(&object(&shelf, "/a", 5));
        for joined in &mut joined {
            assert!(joined.try_recv().unwrap().is_some());
        }
        assert!(is_here(&shelf, "/a"));
        drop(other);
        drop(ask(&shelf, "/b"));
        assert_eq!(shelf.objects(), 1);
    }

    #[test]
    fn who_asks_with_another_key_of_its_own_does_not_wait() {
        let shelf = shelf(1 << 20);
        let _first = ask(&shelf, "/a");
        let own = fields(&[("x-api-key", "1")]);
        let place = shelf.place(&key("/a"), &own, &[], Instant::now());
        assert!(matches!(place, Place::Ask(_)));
    }

    #[test]
    fn what_is_not_for_all_sends_each_on_its_own_way_for_a_while() {
        let shelf = shelf(1 << 20);
        let first = ask(&shelf, "/a");
        let mut joined = join(&shelf, "/a");
        let now = Instant::now();
        first.refuse(Duration::from_secs(5), now);
        assert!(joined.try_recv().unwrap().is_none());
        assert!(matches!(place(&shelf, "/a"), Place::Alone));
        let later = now + Duration::from_secs(6);
        let place = shelf.place(&key("/a"), &HeaderMap::new(), &[], later);
        assert!(matches!(place, Place::Ask(_)));
    }

    #[test]
    fn who_joined_a_request_that_was_given_up_looks_again() {
        let shelf = shelf(1 << 20);
        let first = ask(&shelf, "/a");
        let mut joined = join(&shelf, "/a");
        drop(first);
        assert!(joined.try_recv().is_err());
        drop(ask(&shelf, "/a"));
        assert_eq!(shelf.objects(), 0);
    }

    #[test]
    fn a_flood_of_keys_stays_within_the_bound() {
        let limit = 4 << 20;
        let shelf = shelf(limit);
        for n in 0..2000 {
            put(&shelf, &format!("/{n}"), 10_000);
            assert!(shelf.memory().used() <= limit);
        }
        assert!(shelf.objects() < 500 && shelf.evictions() > 1000);
    }

    #[test]
    fn a_large_body_goes_piece_by_piece_and_what_went_is_missing() {
        let shelf = shelf(4 << 20);
        let large = put(&shelf, "/large", 3 * EXTENT);
        assert!(large.is_whole());
        put(&shelf, "/small", 2 << 20);
        assert!(shelf.memory().used() <= 4 << 20);
        assert!(large.held() < 3 * EXTENT);
        let mut cx = std::task::Context::from_waker(Waker::noop());
        let missing = (0..3).filter(|extent| {
            let mut reader = large.reader(extent * EXTENT);
            matches!(reader.look(&mut cx), body::Found::Missing(_))
        });
        assert!(missing.count() > 0);
    }

    #[test]
    fn who_reads_what_cannot_be_had_again_keeps_it() {
        let shelf = shelf(1 << 20);
        let asked = ask(&shelf, "/a");
        let head = head(&[("cache-control", "max-age=60")]);
        let variant = Variant::of(&HeaderMap::new(), &head.fields, true, &[]);
        let room = shelf.room(1000).unwrap();
        let reader = Object::new(key("/a"), variant, None, head, None, room);
        asked.answer(&reader);
        let fill = reader.fill(0..u64::MAX).unwrap();
        assert!(shelf.write(&fill, Bytes::from_static(b"abc")));
        fill.complete();
        (0..50).for_each(|n| drop(put(&shelf, &format!("/{n}"), 100_000)));
        assert!(!is_here(&shelf, "/a"));
        assert!(reader.is_whole());
        drop(reader);
        assert!(shelf.memory().used() <= 1 << 20);
    }

    #[test]
    fn a_purge_takes_what_is_here_and_what_is_on_its_way() {
        let shelf = shelf(1 << 20);
        put(&shelf, "/a", 10);
        put(&shelf, "/b", 20);
        let under_way = ask(&shelf, "/c");
        let purged = shelf.purge(false, SystemTime::now(), |object| object.key == key("/b"));
        assert_eq!(purged, (1, 20));
        assert!(is_here(&shelf, "/a") && !is_here(&shelf, "/b"));
        under_way.answer(&object(&shelf, "/c", 5));
        assert!(!is_here(&shelf, "/c"));
    }

    #[test]
    fn a_response_that_varies_by_everything_has_a_bound() {
        let shelf = shelf(1 << 20);
        for n in 0..50_u8 {
            let mut asked = HeaderMap::new();
            asked.insert(
                "user-agent".parse().unwrap(),
                n.to_string().parse().unwrap(),
            );
            let Place::Ask(ask) = shelf.ask_again(&key("/a"), &asked, &[]) else {
                panic!("somebody asks already");
            };
            let head = head(&[("vary", "user-agent"), ("cache-control", "max-age=60")]);
            let variant = Variant::of(&asked, &head.fields, true, &[]);
            let room = shelf.room(100).unwrap();
            ask.answer(&Object::new(key("/a"), variant, None, head, Some(1), room));
        }
        assert_eq!(shelf.objects(), VARIANTS);
    }
}
