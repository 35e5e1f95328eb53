//! One part of the index: its objects, pending requests, and keys that are known not to be shareable.

use std::{collections::HashMap, sync::Arc, time::Instant};

use tokio::sync::oneshot;

use super::{key::Key, object::Object};

/// The most objects of one key: a response that varies by a field with a different value for each client must not fill the store.
pub const VARIANTS: usize = 16;

/// The most keys of one shard that are remembered as not shareable.
const OWN: usize = 512;

/// The keys of one shard.
#[derive(Debug, Default)]
pub struct Shard {
    /// Objects and pending requests by key.
    pub entries: HashMap<Key, Entry>,
    /// Hashes of keys whose last response was not shareable, and until when that is assumed.
    pub own: HashMap<u64, Instant>,
}

/// Objects and pending requests of one key.
#[derive(Debug, Default)]
pub struct Entry {
    /// The stored objects.
    pub objects: Vec<Arc<Object>>,
    /// The pending requests.
    pub asking: Vec<Asking>,
}

/// A pending request, and the requests that wait for its response head.
#[derive(Debug)]
pub struct Asking {
    /// Number of the request.
    pub number: u64,
    /// What another request must have in common to share its response.
    pub with: Box<[u8]>,
    /// The requests that wait for its response.
    pub joined: Vec<oneshot::Sender<Option<Arc<Object>>>>,
}

impl Shard {
    /// Remembers the key with this hash as not shareable, until then.
    pub fn keep_to_itself(&mut self, hash: u64, until: Instant, now: Instant) {
        if self.own.len() >= OWN {
            self.own.retain(|_, until| now < *until);
            if self.own.len() >= OWN {
                self.own.clear();
            }
        }
        self.own.insert(hash, until);
    }

    /// Removes a finished request; returns those that joined it.
    pub fn take(&mut self, key: &Key, number: u64) -> Vec<oneshot::Sender<Option<Arc<Object>>>> {
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
    /// Adds an object, replacing those for the same requests.
    pub fn replace(&mut self, object: &Arc<Object>) {
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

    /// Removes a finished request; returns those that joined it, or none if it was cancelled meanwhile.
    pub fn take(&mut self, number: u64) -> Option<Vec<oneshot::Sender<Option<Arc<Object>>>>> {
        let mut asking = self.asking.iter();
        let at = asking.position(|asking| asking.number == number)?;
        Some(self.asking.swap_remove(at).joined)
    }
}
