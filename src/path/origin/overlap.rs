//! Bytes of a body that are received a second time: how many to skip, and whether they equal the first ones where those were
//! unverified. Pure.

use std::hash::{DefaultHasher, Hasher as _};

use bytes::Bytes;

/// The last delivered bytes, as far as their framing has not confirmed them: those of a chunk whose end was not seen (see
/// [`unproven`](crate::path::framing::Decoder::unproven)). Only their hash is kept.
#[derive(Clone, Debug, Default)]
pub struct Unproven {
    len: u64,
    hash: DefaultHasher,
}

impl Unproven {
    /// A piece was delivered; the last `unproven` bytes are now unconfirmed.
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

    /// The framing has confirmed all bytes so far.
    pub fn prove(&mut self) {
        self.len = 0;
    }

    /// Number of unconfirmed bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether all bytes are confirmed.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The bytes at the start of a response that were delivered before and are skipped.
#[derive(Debug)]
pub struct Overlap {
    /// Bytes that are still to be skipped.
    left: u64,
    /// The bytes that the end of the overlap must equal.
    owed: Unproven,
    hash: DefaultHasher,
}

/// The repeated bytes differ from the delivered ones: one of the two is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Differs;

impl Overlap {
    /// `len` bytes are repeated, and must end with the bytes `owed`; `None` if there is nothing to skip.
    ///
    /// # Errors
    /// [`Differs`] if the overlap is shorter than `owed`, so that it could not confirm them.
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

    /// Removes the repeated bytes from `piece`; returns how many.
    ///
    /// # Errors
    ///
    /// [`Differs`] if they are not equal to the unconfirmed ones.
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

    /// Whether the overlap has ended.
    pub fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Bytes that are still to be skipped.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The bytes that the end of the overlap must equal.
    pub fn owed(&self) -> &Unproven {
        &self.owed
    }

    /// The unconfirmed bytes, if the overlap is abandoned.
    pub fn into_owed(self) -> Unproven {
        self.owed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The unconfirmed bytes after these pieces of one chunk.
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
