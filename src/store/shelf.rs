//! The index of all objects, and their memory account: evicts objects when memory is needed.

use std::{
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
    object::Object,
    object_fill::Fill,
    s3fifo::{Found, Queues},
    shard::Shard,
    shared_paths::SharedPaths,
    variant::Ignored,
};

/// Number of shards, so that worker threads rarely contend for a lock.
const SHARDS: usize = 64;

/// How often a block is read from disk if it cannot be fetched otherwise.
const ATTEMPTS: u32 = 10;

/// Delay between two such attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// All objects of the process.
#[derive(Debug)]
pub struct Shelf {
    /// Std mutexes: held for a few instructions, never across an await.
    shards: Box<[Mutex<Shard>]>,
    /// Randomly seeded, so that nobody can construct collisions.
    hasher: RandomState,
    memory: Arc<Memory>,
    queues: Mutex<Queues<(Weak<Object>, u64)>>,
    /// Incremented by each purge: responses requested before one are not stored after it.
    purges: AtomicU64,
    evictions: AtomicU64,
    shared_paths: SharedPaths,
    disk: OnceLock<Disk>,
}

impl Shelf {
    /// Number of purges: responses requested before one are not stored after it.
    pub(super) fn purges(&self) -> u64 {
        self.purges.load(Relaxed)
    }

    /// Directories in which requests may wait for one response.
    pub(super) fn shared_paths(&self) -> &SharedPaths {
        &self.shared_paths
    }

    /// An empty index with this memory account.
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

    /// Opens the disk tier: responses from now on are stored there, too. Call it once.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: the service must not start.
    pub fn open_disk(self: &Arc<Self>, settings: &disk::Settings) -> Result<(), OpenError> {
        let shelf = Arc::downgrade(self);
        let rooms = move |bytes| shelf.upgrade()?.room(bytes);
        let disk = Disk::open(settings, self.memory.limit(), Box::new(rooms))?;
        // A second one is closed by being dropped.
        _ = self.disk.set(disk);
        Ok(())
    }

    /// The disk tier, if there is one.
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.get()
    }

    /// The object on disk that answers a request with these fields: loaded into memory without its body. It is not in the index
    /// until it is the answer of an `Ask`.
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

    /// Loads what [`Found::Stored`](super::body::Found::Stored) reported: the bytes from `at` to the end of its block. None: look
    /// again; unreadable blocks are missing then, and a block that another reader loads is awaited.
    pub fn load(
        self: &Arc<Self>,
        object: &Arc<Object>,
        at: u64,
    ) -> impl Future<Output = Option<Bytes>> + Send + use<> {
        let (shelf, object) = (Arc::clone(self), Arc::clone(object));
        async move {
            let block = at / BLOCK;
            let handle = object.begin_load(block)?;
            // If this reader leaves, the ones that wait for it continue.
            let mut loading = Loading {
                object: Arc::clone(&object),
                block,
                lost: false,
            };
            // If it cannot be fetched otherwise, a slow disk is better than a broken body.
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
            // Fails if the reader has left.
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

    /// Keeps a loaded block in memory, if there is space.
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

    /// The memory account.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Number of objects.
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

    /// Number of extents evicted.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Relaxed)
    }

    /// The object in memory that answers a request with these fields.
    pub fn get(&self, key: &Key, fields: &HeaderMap, ignored: &Ignored) -> Option<Arc<Object>> {
        let shard = self.shard(key);
        let objects = &shard.entries.get(key)?.objects;
        let found = objects
            .iter()
            .find(|object| object.variant.answers(fields, ignored));
        found.cloned()
    }

    /// Reserves memory for an object's head, evicting others if needed. None if that is impossible.
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

    /// Writes bytes of a fill at `at`, evicting others if needed. False if there is no memory.
    pub fn write(&self, fill: &Fill, at: u64, bytes: &Bytes) -> bool {
        while !fill.take_room(bytes.len()) {
            if !self.evict() {
                return false;
            }
        }
        for extent in fill.write(at, bytes) {
            self.enqueue(fill.object(), extent, bytes.len() as u64);
        }
        true
    }

    /// Evicts one extent. Returns whether there was one.
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
                // Its readers cannot get these bytes otherwise: they are freed with the last of them.
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

    /// Writes an object in use to disk before it is evicted from memory, if it is not there (any more).
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

    /// Removes an object from the index and from disk. Readers continue.
    pub fn remove(&self, object: &Arc<Object>) {
        self.forget(object);
        object.leave();
    }

    /// Removes an object from the index in memory.
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

    /// Removes, or with `soft` expires, all objects for which `is_meant` holds; returns their number and bytes. Responses to
    /// pending requests are not stored.
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

    /// Whether the last response in the same directory was shareable.
    pub fn is_shared(&self, key: &Key) -> bool {
        self.shared_paths.holds(key)
    }

    /// Whether requests for a key are not shared for now, because its last response was not shareable.
    pub fn is_own(&self, key: &Key) -> bool {
        let (hash, now) = (self.hash(key), Instant::now());
        self.shard(key)
            .own
            .get(&hash)
            .is_some_and(|&until| now < until)
    }

    /// Removes everything stored for a key, in memory and on disk, because a request changed it (RFC 9111 §4.4). Responses to
    /// earlier requests are not stored, and waiting requests ask again.
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

    pub(super) fn hash(&self, key: &Key) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(super) fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.hash(key) as usize % SHARDS])
    }
}

/// A block that is being loaded from disk for a reader.
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
        contents::EXTENT,
        directives::RequestDirectives,
        freshness::{Asked, Exchanged, Freshness, Rules},
        head::Head,
        object_reader::Reader,
        place::{Ask, Joined, Place},
        shard::VARIANTS,
        variant::Variant,
        version::Version,
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
        Place::of(shelf, &key(target), &HeaderMap::new(), &[], Instant::now())
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

    /// Adds a complete object.
    fn put(shelf: &Arc<Shelf>, target: &str, length: u64) -> Arc<Object> {
        let ask = ask(shelf, target);
        let object = object(shelf, target, length);
        ask.answer(&object);
        let fill = Fill::of(&object, 0..length).unwrap();
        while let Some(left) = fill.left() {
            let piece = (left.end - left.start).min(body::BLOCK) as usize;
            if !shelf.write(&fill, left.start, &Bytes::from(vec![7; piece])) {
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
        let place = Place::of(&shelf, &key("/a"), &own, &[], Instant::now());
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
        let place = Place::of(&shelf, &key("/a"), &HeaderMap::new(), &[], later);
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
            let mut reader = Reader::of(&large, extent * EXTENT);
            matches!(reader.look(&mut cx), body::Found::Missing(_))
        });
        assert!(missing.count() > 0);
    }

    #[test]
    fn what_comes_in_any_order_stays_within_the_bound_and_all_of_it_can_be_let_go() {
        let limit = 4 << 20;
        let shelf = shelf(limit);
        let asked = ask(&shelf, "/large");
        let large = object(&shelf, "/large", 6 * EXTENT);
        asked.answer(&large);
        let fill = Fill::of(&large, 0..u64::MAX).unwrap();
        let (size, count) = (30_000, 6 * EXTENT / 30_000);
        let write = |numbers: std::ops::Range<u64>| {
            for n in numbers {
                let at = n * 97 % count * size;
                let piece = Bytes::from(vec![7; size as usize - 1]);
                assert!(shelf.write(&fill, at, &piece));
                assert!(shelf.memory().used() <= limit);
            }
        };
        write(0..count / 2);
        // Neither the pieces nor what is being joined stands in the way of others.
        drop(shelf.room(limit - 10_000).unwrap());
        assert_eq!(large.held(), 0);
        write(count / 2..count);
        let mut cx = std::task::Context::from_waker(Waker::noop());
        let mut found = |at| Reader::of(&large, at).look(&mut cx);
        assert!(matches!(found(0), body::Found::Missing(_)));
        assert!(matches!(found(size - 1), body::Found::Wait(_)));
        let last = (count - 1) * 97 % count * size;
        assert!(matches!(found(last), body::Found::Piece(_)));
        drop(fill);
        assert!(matches!(found(size - 1), body::Found::Missing(_)));
        drop(shelf.room(limit - 10_000).unwrap());
        assert_eq!(large.held(), 0);
        drop(large);
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
        let fill = Fill::of(&reader, 0..u64::MAX).unwrap();
        assert!(shelf.write(&fill, 0, &Bytes::from_static(b"abc")));
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
            let Place::Ask(ask) = Place::again(&shelf, &key("/a"), &asked, &[]) else {
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
