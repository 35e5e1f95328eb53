//! Accounting of the store's memory: a hard limit on everything it holds.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// The limit and the current use, in bytes.
#[derive(Debug)]
pub struct Memory {
    limit: AtomicU64,
    used: AtomicU64,
}

/// Reserved bytes; released on drop.
#[derive(Debug)]
pub struct Room {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Memory {
    /// An account with this limit.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Memory {
            limit: limit.into(),
            used: AtomicU64::new(0),
        })
    }

    /// The limit.
    pub fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    /// Changes the limit. Excess is evicted as memory is requested.
    pub fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Relaxed);
    }

    /// Bytes in use.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    /// Reserves bytes, if available.
    pub fn take(self: &Arc<Self>, bytes: u64) -> Option<Room> {
        self.add(bytes).then(|| Room {
            memory: Arc::clone(self),
            bytes,
        })
    }

    fn add(&self, bytes: u64) -> bool {
        let limit = self.limit();
        let taken = self.used.fetch_update(Relaxed, Relaxed, |used| {
            used.checked_add(bytes).filter(|&sum| sum <= limit)
        });
        taken.is_ok()
    }
}

impl Room {
    /// Reserved bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reserves more bytes, if available.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let grown = self.memory.add(bytes);
        if grown {
            self.bytes += bytes;
        }
        grown
    }

    /// Takes over another reservation of the same account.
    pub fn join(&mut self, mut other: Room) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Releases bytes, at most all.
    pub fn shrink(&mut self, bytes: u64) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.memory.used.fetch_sub(bytes, Relaxed);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is_and_all_of_it_comes_back() {
        let memory = Memory::new(100);
        let mut room = memory.take(60).unwrap();
        assert!(memory.take(41).is_none());
        assert!(room.grow(40) && !room.grow(1));
        room.shrink(30);
        assert_eq!((memory.used(), room.bytes()), (70, 70));
        room.shrink(1000);
        assert_eq!(memory.used(), 0);
        drop(room);
        drop(memory.take(100).unwrap());
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_smaller_bound_takes_nothing_more_until_enough_has_gone() {
        let memory = Memory::new(100);
        let room = memory.take(80).unwrap();
        memory.set_limit(50);
        assert!(memory.take(1).is_none());
        drop(room);
        assert!(memory.take(50).is_some());
    }
}
