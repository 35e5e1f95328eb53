//! Which extents go when room is needed: S3-FIFO by bytes (Yang et al., SOSP 2023).
//!
//! What is new waits in a small queue of a tenth of the room. What nobody asked for again by the time it reaches the queue's
//! end goes, and only its hash is remembered; what was asked for again moves to the main queue, where each further use buys
//! one more round. So a flood of things that are asked for once never pushes out what is in use.

use std::collections::{HashSet, VecDeque};

/// The small queue's share of the room, as a divisor.
const SMALL: u64 = 10;

/// How many more rounds an extent gets at most: uses are counted up to 3, and one more is for what costs much to fetch.
const MOST_ROUNDS: usize = 5;

/// So few that are gone are left alone.
const TIDY: usize = 1024;

/// The two queues, over extents that `T` names.
#[derive(Debug)]
pub struct Queues<T> {
    small: Queue<T>,
    main: Queue<T>,
    ghosts: Ghosts,
    /// How many there were when they were last rid of those that are gone.
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

/// Hashes of what lately left the small queue: what comes again goes straight to the main one.
#[derive(Debug, Default)]
struct Ghosts {
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

/// What becomes of an extent at the end of its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It was used since it was last looked at.
    Used,
    /// It was not.
    Unused,
    /// It is gone already.
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
    /// Takes an extent in; `hash` is what it is remembered by once it is gone.
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

    /// How many extents are in both queues.
    pub fn len(&self) -> usize {
        self.small.entries.len() + self.main.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in both queues, as they were told.
    pub fn bytes(&self) -> u64 {
        self.small.bytes + self.main.bytes
    }

    /// Takes out the extents that are not here any more, for they went in another way, once they could be as many as the others.
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

    /// Bytes of memory that the queues take.
    pub fn memory(&self) -> usize {
        let entries = self.small.entries.capacity() + self.main.entries.capacity();
        // Of a set, a slot is as large as its value and one byte, and at most seven of eight are taken.
        let ghosts = self.ghosts.order.capacity() * 8 + self.ghosts.known.capacity() * 9 * 8 / 7;
        entries * size_of::<Entry<T>>() + ghosts
    }

    /// Takes out the extent that should go next; none if there is none. `look` says whether one was used since it was last
    /// looked at, and takes one use off; what costs more to fetch again may say so once more than it was used.
    pub fn evict(&mut self, mut look: impl FnMut(&T) -> Found) -> Option<T> {
        // So that it ends, whatever `look` says.
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
    /// Remembers one, and forgets the oldest where there are more than `room`.
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
        // Its place in the order goes by itself, once it is the oldest.
        self.known.remove(&hash)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// A cache of numbers, each of one byte.
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
        // Pushed out of the small queue by what comes once.
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
            // Only the last ten are here.
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
