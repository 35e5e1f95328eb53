//! Seeded random numbers: SplitMix64, so that the same seed gives the same files, faults and requests anywhere.

/// The odd constant that SplitMix64 steps by.
pub const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes 64 bits well: the finalizer of SplitMix64 (Steele, Lea and Flood 2014).
#[must_use]
pub const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Value number `index`, from 0, of SplitMix64 with this seed.
#[must_use]
pub const fn value(seed: u64, index: u64) -> u64 {
    mix(seed.wrapping_add(index.wrapping_add(1).wrapping_mul(STEP)))
}

/// FNV-1a, 64 bits.
#[must_use]
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// A number from a seed and a text.
#[must_use]
pub fn hash(seed: u64, text: &[u8]) -> u64 {
    mix(fnv1a(text) ^ value(seed, 0))
}

/// 64 random bits as a number in 0 (included) to 1 (excluded).
#[must_use]
pub const fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

/// A seeded sequence.
#[derive(Clone, Debug)]
pub struct Random {
    seed: u64,
    index: u64,
}

impl Random {
    /// The sequence of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed: value(seed, 0),
            index: 0,
        }
    }

    /// The next 64 bits.
    pub const fn next(&mut self) -> u64 {
        let next = value(self.seed, self.index);
        self.index = self.index.wrapping_add(1);
        next
    }

    /// Uniform in 0 (included) to 1 (excluded).
    pub const fn unit(&mut self) -> f64 {
        unit(self.next())
    }

    /// Exponentially distributed with this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_splitmix64() {
        // The reference implementation's first values for the seed 1234567.
        assert_eq!(value(1_234_567, 0), 6_457_827_717_110_365_317);
        assert_eq!(value(1_234_567, 1), 3_203_168_211_198_807_973);
    }

    #[test]
    fn the_hash_is_the_published_fnv1a() {
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn the_same_seed_gives_the_same_sequence_and_another_seed_another() {
        let take = |seed| {
            let mut random = Random::new(seed);
            (0..4).map(|_| random.next()).collect::<Vec<_>>()
        };
        assert_eq!(take(1), take(1));
        assert_ne!(take(1), take(2));
    }

    #[test]
    fn the_mean_of_unit_and_exponential_is_right() {
        let mut random = Random::new(7);
        let n = 100_000;
        let unit: f64 = (0..n).map(|_| random.unit()).sum::<f64>() / f64::from(n);
        let wait: f64 = (0..n).map(|_| random.exponential(3.0)).sum::<f64>() / f64::from(n);
        assert!((unit - 0.5).abs() < 0.01, "{unit}");
        assert!((wait - 3.0).abs() < 0.05, "{wait}");
    }
}
