//! What is in every file: bytes that follow from the seed, the path and the offset, so that a client can check each
//! byte as it comes, from any offset, without having the file.

use fileproxy_testbed::random::{STEP, hash, mix};

/// The content of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content(u64);

impl Content {
    /// The content of this path under this seed.
    #[must_use]
    pub fn of(seed: u64, path: &str) -> Self {
        Self(hash(seed, path.as_bytes()))
    }

    /// The eight bytes that begin at `8 * word`.
    const fn word(self, word: u64) -> [u8; 8] {
        mix(self.0 ^ word.wrapping_mul(STEP)).to_le_bytes()
    }

    /// A strong entity tag (RFC 9110, section 8.8.3), quotes included.
    #[must_use]
    pub fn etag(self, length: u64) -> String {
        format!("\"{:016x}-{length:x}\"", self.0)
    }

    /// Fills a buffer with the bytes from this offset on.
    pub fn fill(self, offset: u64, buffer: &mut [u8]) {
        let mut word = offset / 8;
        let skip = (offset % 8) as usize;
        let mut rest = buffer;
        if skip > 0 {
            let bytes = self.word(word);
            let n = rest.len().min(8 - skip);
            let (head, tail) = rest.split_at_mut(n);
            head.copy_from_slice(&bytes[skip..skip + n]);
            rest = tail;
            word += 1;
        }
        let (whole, end) = rest.as_chunks_mut::<8>();
        for chunk in whole {
            *chunk = self.word(word);
            word += 1;
        }
        let bytes = self.word(word);
        let n = end.len();
        end.copy_from_slice(&bytes[..n]);
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
        let content = Content::of(1, "/file/1000/a");
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
        let content = Content::of(1, "/file/1000/a");
        let mut part = vec![0; 500];
        content.fill(100, &mut part);
        assert!(!content.is(101, &part));
        part[499] ^= 1;
        assert!(!content.is(100, &part));
    }

    #[test]
    fn paths_and_seeds_differ() {
        assert_ne!(Content::of(1, "/a"), Content::of(1, "/b"));
        assert_ne!(Content::of(1, "/a"), Content::of(2, "/a"));
    }
}
