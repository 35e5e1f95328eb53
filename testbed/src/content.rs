//! What a file is made of: bytes that follow from its path and can be made at any offset, so that nothing is stored and
//! a client can check each byte as it comes, without having the file.
//!
//! A file is a stream of 64-bit words, little-endian, cut at its length: word `n` (from 0) is the value number `n` of
//! SplitMix64 seeded with the FNV-1a hash of the path. In any language:
//!
//! ```text
//! seed = 0xcbf29ce484222325
//! for each byte of the path: seed = (seed ^ byte) * 0x100000001b3
//! z = seed + (n + 1) * 0x9e3779b97f4a7c15
//! z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
//! z = (z ^ (z >> 27)) * 0x94d049bb133111eb
//! word = z ^ (z >> 31)                          (all modulo 2^64)
//! ```

use crate::random::{fnv1a, hash, value};

/// Bytes of one word.
const WORD: usize = 8;

/// The content of one file, without an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content(u64);

impl Content {
    /// The content of the file at this path.
    #[must_use]
    pub fn of(path: &str) -> Self {
        Self(fnv1a(path.as_bytes()))
    }

    /// The content of the file at this path in a world of its own: another seed, other bytes.
    #[must_use]
    pub fn seeded(seed: u64, path: &str) -> Self {
        Self(hash(seed, path.as_bytes()))
    }

    /// What tells it from the content of other paths and seeds.
    #[must_use]
    pub const fn seed(self) -> u64 {
        self.0
    }

    fn word(self, index: u64) -> [u8; WORD] {
        value(self.0, index).to_le_bytes()
    }

    /// Writes the bytes from this offset on over the whole buffer.
    pub fn fill(self, offset: u64, buffer: &mut [u8]) {
        let mut index = offset / WORD as u64;
        let skip = (offset % WORD as u64) as usize;
        let mut rest = buffer;
        if skip > 0 {
            let take = rest.len().min(WORD - skip);
            let (head, tail) = rest.split_at_mut(take);
            head.copy_from_slice(&self.word(index)[skip..skip + take]);
            rest = tail;
            index += 1;
        }
        let (words, last) = rest.as_chunks_mut::<WORD>();
        for place in words {
            *place = self.word(index);
            index += 1;
        }
        let len = last.len();
        last.copy_from_slice(&self.word(index)[..len]);
    }

    /// Whether these are the bytes from this offset on.
    #[must_use]
    pub fn is(self, offset: u64, bytes: &[u8]) -> bool {
        let mut expected = [0; 4096];
        let mut at = offset;
        bytes.chunks(expected.len()).all(|part| {
            let expected = &mut expected[..part.len()];
            self.fill(at, expected);
            at += part.len() as u64;
            *expected == *part
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_the_same_however_it_is_cut() {
        let content = Content::seeded(1, "/file/1000/a");
        let mut whole = [0; 1000];
        content.fill(0, &mut whole);
        for (from, to) in [(0, 1000), (3, 5), (7, 900), (8, 16), (999, 1000), (13, 13)] {
            let mut part = vec![0; to - from];
            content.fill(from as u64, &mut part);
            assert_eq!(part, whole[from..to]);
            assert!(content.is(from as u64, &part));
        }
    }

    #[test]
    fn one_wrong_byte_or_a_shift_is_seen() {
        let content = Content::of("/files/1KB.bin");
        let mut part = vec![0; 500];
        content.fill(100, &mut part);
        assert!(!content.is(101, &part));
        part[499] ^= 1;
        assert!(!content.is(100, &part));
    }

    #[test]
    fn paths_and_seeds_differ() {
        let (a, other) = (Content::seeded(1, "/a"), Content::of("/a"));
        assert_ne!(a, other);
        assert_ne!(a, Content::seeded(1, "/b"));
        assert_ne!(a, Content::seeded(2, "/a"));
        assert_ne!(other, Content::of("/b"));
    }
}
