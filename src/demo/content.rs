//! The content of a file: bytes that are computed from its path, at any offset.
//!
//! Nothing is stored. A file is a stream of little-endian 64-bit words, cut at its length: word `n` (from 0) is value number `n` of
//! SplitMix64, seeded with the FNV-1a hash of the path. In any language:
//!
//! ```text
//! seed = 0xcbf29ce484222325
//! for each byte of the path: seed = (seed ^ byte) * 0x100000001b3
//! z = seed + (n + 1) * 0x9e3779b97f4a7c15
//! z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
//! z = (z ^ (z >> 27)) * 0x94d049bb133111eb
//! word = z ^ (z >> 31)                          (all modulo 2^64)
//! ```

use std::ops::Range;

use bytes::{Bytes, BytesMut};

/// Bytes of one word.
const WORD: u64 = 8;

/// The bytes of one representation.
#[derive(Clone, Debug)]
pub enum Content {
    /// Computed when read.
    Random(Random),
    /// Held in memory.
    Bytes(Bytes),
}

impl Content {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Content::Random(random) => random.len,
            Content::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A tag that changes with the content: at most 32 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        match self {
            Content::Random(random) => format!("{:016x}-{:x}", random.seed, random.len),
            Content::Bytes(bytes) => format!("{:016x}-{:x}", fnv1a(bytes), bytes.len()),
        }
    }

    /// The bytes in `range`, cut to the length.
    pub fn read(&self, range: Range<u64>) -> Bytes {
        let end = range.end.min(self.len());
        let start = range.start.min(end);
        match self {
            Content::Random(random) => {
                let mut out = BytesMut::zeroed((end - start) as usize);
                random.fill(start, &mut out);
                out.freeze()
            }
            Content::Bytes(bytes) => bytes.slice(start as usize..end as usize),
        }
    }
}

/// A file of pseudo-random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Random {
    seed: u64,
    len: u64,
}

impl Random {
    /// The file at `path`, `len` bytes long.
    pub fn new(path: &str, len: u64) -> Self {
        Random {
            seed: fnv1a(path.as_bytes()),
            len,
        }
    }

    /// Fills `out` with the bytes from `offset` on.
    pub fn fill(&self, offset: u64, out: &mut [u8]) {
        let mut index = offset / WORD;
        let skip = (offset % WORD) as usize;
        let mut rest = out;
        if skip > 0 {
            let word = self.word(index).to_le_bytes();
            let take = rest.len().min(word.len() - skip);
            let (head, tail) = rest.split_at_mut(take);
            head.copy_from_slice(&word[skip..skip + take]);
            rest = tail;
            index += 1;
        }
        let mut words = rest.chunks_exact_mut(WORD as usize);
        for place in &mut words {
            place.copy_from_slice(&self.word(index).to_le_bytes());
            index += 1;
        }
        let last = words.into_remainder();
        let word = self.word(index).to_le_bytes();
        last.copy_from_slice(&word[..last.len()]);
    }

    fn word(&self, index: u64) -> u64 {
        splitmix64(self.seed, index)
    }
}

/// Value number `index` of SplitMix64 with `seed`.
pub(crate) fn splitmix64(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// FNV-1a, 64 bits.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_stream_is_the_published_splitmix64() {
        // first values of the reference implementation for the seed 1234567
        assert_eq!(splitmix64(1_234_567, 0), 6_457_827_717_110_365_317);
        assert_eq!(splitmix64(1_234_567, 1), 3_203_168_211_198_807_973);
    }

    #[test]
    fn the_hash_is_the_published_fnv1a() {
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    proptest! {
        #[test]
        fn a_part_read_alone_equals_that_part_of_the_whole(start in 0u64..5000, len in 0u64..5000) {
            let content = Content::Random(Random::new("/files/x.bin", 5000));
            let whole = content.read(0..5000);
            let end = (start + len).min(5000);
            let part = content.read(start..start + len);
            prop_assert_eq!(&part[..], &whole[start as usize..end as usize]);
        }
    }
}
