//! Predicts the size of a response: the size of the last one for the same target.
//!
//! It only decides the order of requests, so it may be wrong: targets with the same hash slot overwrite each other.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// The most targets that are remembered; a power of two.
const PLACES: usize = 16 * 1024;
/// How far one response moves the typical size, in powers of two.
const STEP: f64 = 0.1;
/// The share of responses that do not count as large; more than half, so that the median one goes first.
const SHARE: f64 = 0.55;

/// Recent response sizes. Shared by all workers.
#[derive(Debug)]
pub struct Sizes {
    hasher: RandomState,
    /// The upper half of a target's hash, and the size as a power of two (`f32`). Zero: empty.
    places: Box<[AtomicU64]>,
    /// The size, as a power of two, that [`SHARE`] of the responses stay below: bits of an `f64`, zero before the first one.
    typical: AtomicU64,
}

impl Default for Sizes {
    fn default() -> Self {
        Sizes {
            hasher: RandomState::new(),
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            typical: AtomicU64::new(0),
        }
    }
}

impl Sizes {
    /// Records the size of a response to `target`, in bytes.
    pub fn learn(&self, target: impl Hash, bytes: u64) {
        let (place, tag) = self.place(target);
        place.store(tag | u64::from((power(bytes) as f32).to_bits()), Relaxed);
        self.add(bytes);
    }

    /// Records the size of a response without its target.
    pub fn add(&self, bytes: u64) {
        let power = power(bytes);
        let typical = f64::from_bits(self.typical.load(Relaxed));
        // A step towards each size: it converges to the quantile SHARE.
        let moved = if typical == 0.0 {
            power
        } else if power > typical {
            typical + STEP * SHARE * (power - typical).min(1.0)
        } else {
            typical - STEP * (1.0 - SHARE) * (typical - power).min(1.0)
        };
        self.typical.store(moved.to_bits(), Relaxed);
    }

    /// Size of the last response to `target` in bytes; none if unknown.
    pub fn expect(&self, target: impl Hash) -> Option<u64> {
        let (place, tag) = self.place(target);
        let kept = place.load(Relaxed);
        (kept != 0 && kept >> 32 << 32 == tag).then(|| {
            let power = f64::from(f32::from_bits(kept as u32));
            (power.exp2().round() as u64).saturating_sub(2)
        })
    }

    /// Whether a size is larger than typical.
    pub fn is_large(&self, bytes: u64) -> bool {
        let typical = f64::from_bits(self.typical.load(Relaxed));
        // One step of tolerance.
        typical > 0.0 && power(bytes) > typical + STEP
    }

    fn place(&self, target: impl Hash) -> (&AtomicU64, u64) {
        let hash = self.hasher.hash_one(target);
        (&self.places[hash as usize % PLACES], hash >> 32 << 32)
    }
}

/// The size as a power of two; plus one byte, so that the logarithm exists.
fn power(bytes: u64) -> f64 {
    (bytes as f64 + 2.0).log2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_remembered_to_a_millionth() {
        let sizes = Sizes::default();
        assert_eq!(sizes.expect("/a"), None);
        for bytes in [0, 1, 1001, 4_000_000, 5_000_000_000] {
            sizes.learn("/a", bytes);
            let expected = sizes.expect("/a").unwrap();
            assert!(
                expected.abs_diff(bytes) <= 2 + bytes / 100_000,
                "{bytes}: {expected}"
            );
        }
        assert_eq!(sizes.expect("/b"), None);
    }

    #[test]
    fn less_than_half_of_the_answers_are_large() {
        let sizes = Sizes::default();
        let mut state = 1_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (1024.0 * 2_f64.powf((state >> 40) as f64 / (1 << 24) as f64 * 7.0)) as u64
        };
        for _ in 0..2000 {
            let bytes = next();
            sizes.learn("/a", bytes);
        }
        let large = (0..2000).filter(|_| sizes.is_large(next())).count();
        assert!((550..1050).contains(&large), "{large}");
    }

    #[test]
    fn where_all_are_of_one_size_none_is_large() {
        let sizes = Sizes::default();
        assert!(!sizes.is_large(u64::MAX));
        for _ in 0..100 {
            sizes.learn("/a", 1_000_000);
        }
        assert!(!sizes.is_large(1_000_000));
        assert!(sizes.is_large(3_000_000));
    }

    #[test]
    fn more_targets_than_places_are_forgotten_and_never_taken_for_each_other() {
        let sizes = Sizes::default();
        for n in 0..100_000_u64 {
            sizes.learn(format!("/{n}"), n * 1000);
        }
        let mut known = 0;
        for n in 0..100_000_u64 {
            if let Some(bytes) = sizes.expect(format!("/{n}")) {
                known += 1;
                assert!(bytes.abs_diff(n * 1000) <= 2 + n / 10, "{n}: {bytes}");
            }
        }
        assert!(known > PLACES / 2 && known <= PLACES, "{known}");
    }
}
