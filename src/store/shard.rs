//! A part of the index: which objects there are, who asks for one that is not here yet, and what is known not to be for all.

use std::{collections::HashMap, sync::Arc, time::Instant};

use tokio::sync::oneshot;

use super::{key::Key, object::Object};

/// Objects of one key at most: a response that varies by what every client has another value of must not fill the store.
pub const VARIANTS: usize = 16;

/// Keys in one shard that are remembered as not for all, at most.
const OWN: usize = 512;

/// Keys that fall together, with what is known of each.
#[derive(Debug, Default)]
pub struct Shard {
    /// What there is of each key.
    pub entries: HashMap<Key, Entry>,
    /// Keys whose responses lately were not for all, until when that is believed.
    pub own: HashMap<u64, Instant>,
}

/// What is known of one key.
#[derive(Debug, Default)]
pub struct Entry {
    /// Those that are here.
    pub objects: Vec<Arc<Object>>,
    /// Requests for it that are under way.
    pub asking: Vec<Asking>,
}

/// A request that is under way, and who waits for its head.
#[derive(Debug)]
pub struct Asking {
    /// Its number.
    pub number: u64,
    /// What a request must have in common with it, to get its answer.
    pub with: Box<[u8]>,
    /// Who waits for its answer.
    pub joined: Vec<oneshot::Sender<Option<Arc<Object>>>>,
}

impl Shard {
    /// Responses for the key with this hash are not for all: whoever asks goes by itself until then.
    pub fn keep_to_itself(&mut self, hash: u64, until: Instant, now: Instant) {
        if self.own.len() >= OWN {
            self.own.retain(|_, until| now < *until);
            if self.own.len() >= OWN {
                self.own.clear();
            }
        }
        self.own.insert(hash, until);
    }

    /// Who joined a request that is over.
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
    /// Puts an object in the place of what answered the same requests before.
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

    /// Who joined a request that is over; none where it was called off meanwhile.
    pub fn take(&mut self, number: u64) -> Option<Vec<oneshot::Sender<Option<Arc<Object>>>>> {
        let mut asking = self.asking.iter();
        let at = asking.position(|asking| asking.number == number)?;
        Some(self.asking.swap_remove(at).joined)
    }
}
