//! What of a body is read a second time: what was sent already, and of that what nothing has vouched for yet. Pure.

use std::hash::{DefaultHasher, Hasher as _};

use bytes::Bytes;

/// The bytes that came out last, as far as their framing has not vouched for them: those of a chunk whose end was not
/// seen (see [`unproven`](crate::path::framing::Decoder::unproven)). Only their hash is kept.
#[derive(Clone, Debug, Default)]
pub struct Unproven {
    len: u64,
    hash: DefaultHasher,
}

impl Unproven {
    /// A piece came, and with it so many bytes in a row are not proven.
    pub fn came(&mut self, piece: &[u8], unproven: u64) {
        let begins_here = unproven <= piece.len() as u64;
        if begins_here {
            self.hash = DefaultHasher::new();
        }
        let from = if begins_here {
            piece.len() - unproven as usize
        } else {
            0
        };
        self.len = unproven;
        self.hash.write(&piece[from..]);
    }

    /// The framing vouches for all that came.
    pub fn prove(&mut self) {
        self.len = 0;
    }

    /// How many bytes they are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether all that came is proven.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// What comes of a body for the second time, and is not passed on.
#[derive(Debug)]
pub struct Overlap {
    /// How many bytes of it are still to come.
    left: u64,
    /// What its end must be equal to.
    owed: Unproven,
    hash: DefaultHasher,
}

/// What came for the second time differs from what was sent: one of the two is not the file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Differs;

impl Overlap {
    /// `len` bytes come once more, and end with those that are `owed`; `None` where there is nothing to read past. If not
    /// all that is owed comes once more, nothing can prove it.
    ///
    /// # Errors
    ///
    /// [`Differs`], then.
    pub fn new(len: u64, owed: Unproven) -> Result<Option<Self>, Differs> {
        if owed.len > len {
            return Err(Differs);
        }
        Ok((len > 0).then(|| Overlap {
            left: len,
            owed,
            hash: DefaultHasher::new(),
        }))
    }

    /// Takes off `piece` what came for the second time; how much that was.
    ///
    /// # Errors
    ///
    /// [`Differs`], where what was owed did not come.
    pub fn take(&mut self, piece: &mut Bytes) -> Result<u64, Differs> {
        let taken = piece
            .split_to(usize::try_from(self.left).map_or(piece.len(), |left| left.min(piece.len())));
        let passed = self.left.saturating_sub(self.owed.len);
        let compared = usize::try_from(passed).map_or(taken.len(), |n| n.min(taken.len()));
        self.hash.write(&taken[compared..]);
        self.left -= taken.len() as u64;
        if self.left == 0 && !self.owed.is_empty() && self.hash.finish() != self.owed.hash.finish()
        {
            return Err(Differs);
        }
        Ok(taken.len() as u64)
    }

    /// Whether all of it came.
    pub fn is_over(&self) -> bool {
        self.left == 0
    }

    /// What is still owed, where it is given up.
    pub fn into_owed(self) -> Unproven {
        self.owed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is owed after these pieces of one chunk.
    fn owed(pieces: &[&[u8]]) -> Unproven {
        let mut owed = Unproven::default();
        let mut len = 0;
        for piece in pieces {
            len += piece.len() as u64;
            owed.came(piece, len);
        }
        owed
    }

    #[test]
    fn what_comes_once_more_is_read_past_however_it_is_cut() {
        for cut in 0..=8 {
            let mut overlap = Overlap::new(6, owed(&[b"c", b"def"])).unwrap().unwrap();
            let (mut first, mut second) = (
                Bytes::from_static(&b"abcdefgh"[..cut]),
                Bytes::from_static(&b"abcdefgh"[cut..]),
            );
            let read = overlap.take(&mut first).unwrap() + overlap.take(&mut second).unwrap();
            assert!(overlap.is_over() && read == 6);
            assert_eq!([first, second].concat(), b"gh", "cut at {cut}");
        }
    }

    #[test]
    fn a_byte_that_was_no_byte_of_the_file_shows() {
        let mut overlap = Overlap::new(6, owed(&[b"cde", b"\r"])).unwrap().unwrap();
        let mut piece = Bytes::from_static(b"abcdefgh");
        assert_eq!(overlap.take(&mut piece), Err(Differs));
    }

    #[test]
    fn what_the_framing_vouched_for_is_owed_no_more() {
        let mut owed = owed(&[b"abc"]);
        owed.came(b"xyz", 3);
        assert_eq!(owed.len(), 3);
        let mut overlap = Overlap::new(3, owed.clone()).unwrap().unwrap();
        assert_eq!(overlap.take(&mut Bytes::from_static(b"xyz!")), Ok(3));
        owed.came(b"end", 0);
        assert!(owed.is_empty());
        assert!(Overlap::new(0, owed).unwrap().is_none());
    }

    #[test]
    fn what_does_not_come_once_more_cannot_be_proven() {
        assert!(Overlap::new(2, owed(&[b"abc"])).is_err());
    }
}
