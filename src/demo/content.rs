//! What a file is made of: bytes that follow from its path and can be made at any offset.
//!
//! Nothing is stored. A file is a stream of 64-bit words, little-endian, cut at its length: word `n` (from 0) is the
//! value number `n` of SplitMix64 seeded with the FNV-1a hash of the path. In any language:
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
use fileproxy_testbed::random::{fnv1a, value};

/// Bytes of one word.
const WORD: u64 = 8;

/// The bytes of one representation.
#[derive(Clone, Debug)]
pub enum Content {
    /// Made when read.
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

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A tag that changes with the content: 32 hexadecimal digits at most.
    pub fn fingerprint(&self) -> String {
        match self {
            Content::Random(random) => format!("{:016x}-{:x}", random.seed, random.len),
            Content::Bytes(bytes) => format!("{:016x}-{:x}", fnv1a(bytes), bytes.len()),
        }
    }

    /// The bytes in `range`, cut to what there is.
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

    /// Writes the bytes from `offset` on over all of `out`.
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
        value(self.seed, index)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
