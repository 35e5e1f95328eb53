//! How a cacheable request is answered: by a stored object, by the origin, or by another request's response.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use actix_http::header::HeaderMap;
use tokio::sync::oneshot;

use super::{
    disk,
    key::Key,
    object::Object,
    shard::{Asking, Shard},
    shelf::Shelf,
    variant::{Ignored, asked_with, coded_with},
};

/// How a request is answered.
#[derive(Debug)]
pub enum Place {
    /// By an object that is stored or being fetched.
    Here(Arc<Object>),
    /// By the origin; this request is made for all that want the same meanwhile.
    Ask(Ask),
    /// By the response to another request that is under way (collapsed requests).
    Join(Joined),
    /// By its own request: responses for it are known not to be shareable.
    Alone,
}

/// The object that the other request brought; `None` if its response is not shareable, so that each client must ask for itself. An
/// error: that request was given up, and the first one to look again takes its place.
pub type Joined = oneshot::Receiver<Option<Arc<Object>>>;

/// The right to ask the origin for all that want the same. If it is dropped, the request was given up, and the next one asks.
#[derive(Debug)]
pub struct Ask {
    shelf: Arc<Shelf>,
    key: Key,
    number: u64,
    purges: u64,
}

/// Source of request numbers.
static NEXT_ASK: AtomicU64 = AtomicU64::new(0);

impl Place {
    /// How a request for `key` with these fields is answered.
    pub fn of(
        shelf: &Arc<Shelf>,
        key: &Key,
        fields: &HeaderMap,
        ignored: &Ignored,
        now: Instant,
    ) -> Self {
        let hash = shelf.hash(key);
        let mut shard = shelf.shard(key);
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
        ask_in(shelf, &mut shard, key, fields, ignored)
    }

    /// Asks the origin again for a stored object (validation), or joins a request that does so already.
    pub fn again(shelf: &Arc<Shelf>, key: &Key, fields: &HeaderMap, ignored: &Ignored) -> Self {
        let mut shard = shelf.shard(key);
        ask_in(shelf, &mut shard, key, fields, ignored)
    }
}

/// The right to ask, or joining a request that has it.
fn ask_in(
    shelf: &Arc<Shelf>,
    shard: &mut Shard,
    key: &Key,
    fields: &HeaderMap,
    ignored: &Ignored,
) -> Place {
    let with = match shelf.shared_paths().holds(key) {
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
        shelf: Arc::clone(shelf),
        key: key.clone(),
        number,
        purges: shelf.purges(),
    })
}

impl Ask {
    /// The key that is asked for.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The origin's response is this object: it goes to all joined and later requests, and replaces older ones. It is also stored
    /// on disk, if there is a disk tier.
    pub fn answer(self, object: &Arc<Object>) {
        let is_for_all = object.head().freshness.is_for_all();
        self.shelf.shared_paths().learn(&self.key, is_for_all);
        let (joined, is_kept) = {
            let mut shard = self.shelf.shard(&self.key);
            let is_valid = self.purges == self.shelf.purges();
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

    /// The answer is this object found on disk, unless another one arrived meanwhile. Returns what joined and later requests get.
    pub fn recalled(self, object: Arc<Object>) -> Arc<Object> {
        let (joined, object) = {
            let mut shard = self.shelf.shard(&self.key);
            let is_valid = self.purges == self.shelf.purges()
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

    /// The origin's response is not shareable: joined requests ask for themselves, and later ones too for `lasting`.
    pub fn refuse(self, lasting: Duration, now: Instant) {
        if !lasting.is_zero() {
            self.shelf.shared_paths().learn(&self.key, false);
        }
        let hash = self.shelf.hash(&self.key);
        let joined = {
            let mut shard = self.shelf.shard(&self.key);
            if !lasting.is_zero() {
                shard.keep_to_itself(hash, now + lasting, now);
            }
            shard.take(&self.key, self.number)
        };
        for joined in joined {
            _ = joined.send(None);
        }
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        // After an answer there is nothing left to remove.
        drop(self.shelf.shard(&self.key).take(&self.key, self.number));
    }
}

/// Sends the object to joined requests.
fn tell(joined: Vec<oneshot::Sender<Option<Arc<Object>>>>, object: &Arc<Object>) {
    for joined in joined {
        // Fails for clients that have left.
        _ = joined.send(Some(Arc::clone(object)));
    }
}
