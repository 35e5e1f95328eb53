//! Chooses which extents to evict: S3-FIFO by bytes (Yang et al., SOSP 2023).
//!
//! New entries wait in a small queue of a tenth of the size. An entry that is not used again before the end of that queue is
//! evicted, and only its hash is remembered; a used one moves to the main queue, where each further use gives one more round. So a
//! scan of entries that are used once does not displace those in regular use.

use std::collections::{HashSet, VecDeque};

/// Share of the small queue, as a divisor.
const SMALL: u64 = 10;

/// The most extra rounds of an extent: uses are counted up to 3, and one more for those that are expensive to fetch.
const MOST_ROUNDS: usize = 5;

/// Up to this many removed entries are left in the queues.
const TIDY: usize = 1024;

/// The two queues, over extents of type `T`.
#[derive(Debug)]
pub struct Queues<T> {
    small: Queue<T>,
    main: Queue<T>,
    ghosts: Ghosts,
    /// Number of entries after the last tidy.
    tidied: usize,
}

#[derive(Debug)]
struct Queue<T> {
    entries: VecDeque<Entry<T>>,
    bytes: u64,
}

#[derive(Debug)]
struct Entry<T> {
    extent: T,
    hash: u64,
    bytes: u64,
}

/// Hashes of entries that recently left the small queue: if they return, they go straight to the main queue.
#[derive(Debug, Default)]
struct Ghosts {
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

/// State of an extent at the end of its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Used since it was last checked.
    Used,
    /// Not used.
    Unused,
    /// Removed already.
    Gone,
}

impl<T> Default for Queues<T> {
    fn default() -> Self {
        let queue = || Queue {
            entries: VecDeque::new(),
            bytes: 0,
        };
        Queues {
            small: queue(),
            main: queue(),
            ghosts: Ghosts::default(),
            tidied: 0,
        }
    }
}

impl<T> Queues<T> {
    /// Adds an extent; `hash` identifies it after it was evicted.
    pub fn insert(&mut self, extent: T, hash: u64, bytes: u64) {
        let entry = Entry {
            extent,
            hash,
            bytes,
        };
        if self.ghosts.take(hash) {
            self.main.push(entry);
        } else {
            self.small.push(entry);
        }
    }

    /// Number of extents in both queues.
    pub fn len(&self) -> usize {
        self.small.entries.len() + self.main.entries.len()
    }

    /// Whether both queues are empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in both queues.
    pub fn bytes(&self) -> u64 {
        self.small.bytes + self.main.bytes
    }

    /// Removes extents that were removed otherwise, when they may be as many as the others.
    pub fn tidy(&mut self, mut is_here: impl FnMut(&T) -> bool) {
        if self.len() <= 2 * self.tidied + TIDY {
            return;
        }
        for queue in [&mut self.small, &mut self.main] {
            queue.entries.retain(|entry| is_here(&entry.extent));
            queue.bytes = queue.entries.iter().map(|entry| entry.bytes).sum();
        }
        self.tidied = self.len();
    }

    /// Memory of the queues, in bytes.
    pub fn memory(&self) -> usize {
        let entries = self.small.entries.capacity() + self.main.entries.capacity();
        // A hash set needs one byte more per slot, and is filled to at most seven eighths.
        let ghosts = self.ghosts.order.capacity() * 8 + self.ghosts.known.capacity() * 9 * 8 / 7;
        entries * size_of::<Entry<T>>() + ghosts
    }

    /// Removes and returns the extent to evict next; none if the queues are empty. `look` says whether an extent was used since it
    /// was last checked, and takes one use off; for extents that are expensive to fetch it may do so once more.
    pub fn evict(&mut self, mut look: impl FnMut(&T) -> Found) -> Option<T> {
        // Bounded, whatever `look` returns.
        let mut rounds = (self.len() + 1) * MOST_ROUNDS;
        loop {
            let total = self.bytes();
            let from_small = self.small.bytes * SMALL >= total || self.main.entries.is_empty();
            let queue = if from_small && !self.small.entries.is_empty() {
                &mut self.small
            } else {
                &mut self.main
            };
            let entry = queue.pop()?;
            rounds = rounds.saturating_sub(1);
            match look(&entry.extent) {
                Found::Gone => {}
                Found::Used if rounds > 0 => self.main.push(entry),
                Found::Used | Found::Unused => {
                    if from_small {
                        let room = self.len().max(16);
                        self.ghosts.add(entry.hash, room);
                    }
                    return Some(entry.extent);
                }
            }
        }
    }
}

impl<T> Queue<T> {
    fn push(&mut self, entry: Entry<T>) {
        self.bytes += entry.bytes;
        self.entries.push_back(entry);
    }

    fn pop(&mut self) -> Option<Entry<T>> {
        let entry = self.entries.pop_front()?;
        self.bytes -= entry.bytes;
        Some(entry)
    }
}

impl Ghosts {
    /// Remembers a hash, and forgets the oldest beyond `room`.
    fn add(&mut self, hash: u64, room: usize) {
        if self.known.insert(hash) {
            self.order.push_back(hash);
        }
        while self.order.len() > room {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    fn take(&mut self, hash: u64) -> bool {
        // Its entry in `order` is removed when it is the oldest.
        self.known.remove(&hash)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// A cache of numbers that take one byte each.
    #[derive(Default)]
    struct Cache {
        queues: Queues<u64>,
        uses: HashMap<u64, u8>,
        room: usize,
        misses: usize,
    }

    impl Cache {
        fn get(&mut self, number: u64) {
            if let Some(uses) = self.uses.get_mut(&number) {
                *uses = (*uses + 1).min(3);
                return;
            }
            self.misses += 1;
            while self.uses.len() >= self.room {
                let uses = &mut self.uses;
                let gone = self.queues.evict(|number| match uses.get_mut(number) {
                    None => Found::Gone,
                    Some(0) => Found::Unused,
                    Some(uses) => {
                        *uses -= 1;
                        Found::Used
                    }
                });
                self.uses.remove(&gone.unwrap());
            }
            self.uses.insert(number, 0);
            self.queues.insert(number, number, 1);
        }
    }

    #[test]
    fn what_is_asked_for_once_does_not_push_out_what_is_in_use() {
        let mut cache = Cache {
            room: 100,
            ..Cache::default()
        };
        for _ in 0..3 {
            (0..50).for_each(|number| cache.get(number));
        }
        for once in 1000..20_000 {
            cache.get(once);
            cache.get(once % 50);
        }
        let before = cache.misses;
        (0..50).for_each(|number| cache.get(number));
        assert_eq!(
            cache.misses, before,
            "some of what is in use was pushed out"
        );
    }

    #[test]
    fn what_comes_again_soon_after_it_went_stays_longer() {
        let mut cache = Cache {
            room: 20,
            ..Cache::default()
        };
        (0..20).for_each(|number| cache.get(number));
        (0..20).for_each(|number| cache.get(number));
        cache.get(77);
        // Displaced from the small queue by entries that are used once.
        (100..105).for_each(|number| cache.get(number));
        assert!(!cache.uses.contains_key(&77));
        cache.get(77);
        (200..220).for_each(|number| cache.get(number));
        assert!(cache.uses.contains_key(&77));
    }

    #[test]
    fn what_went_in_another_way_does_not_pile_up() {
        let mut queues = Queues::default();
        for number in 0..100_000 {
            queues.insert(number, number, 1);
            // Only the last ten exist.
            queues.tidy(|&other| other + 10 > number);
            assert!(queues.len() <= TIDY + 20);
        }
        assert_eq!(queues.bytes(), queues.len() as u64);
    }

    #[test]
    fn it_ends_though_everything_says_that_it_is_in_use() {
        let mut queues = Queues::default();
        (0..10).for_each(|number| queues.insert(number, number, 10));
        assert!(queues.evict(|_| Found::Used).is_some());
        assert_eq!((queues.len(), queues.bytes()), (9, 90));
        assert_eq!(queues.evict(|_| Found::Gone), None);
        assert!(queues.is_empty() && queues.bytes() == 0);
    }
}
