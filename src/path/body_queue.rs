//! Pieces of a body that were read ahead. Pure.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::origin::reader::READ;

/// Pieces smaller than this are copied behind each other: each would keep the whole buffer alive that it was read into.
const SMALL: usize = READ / 2;

/// What was read of a body and not handed on, in order.
#[derive(Debug, Default)]
pub(super) struct BodyQueue {
    pieces: VecDeque<Bytes>,
    /// Small pieces behind them, with room for more.
    small: BytesMut,
    bytes: usize,
}

impl BodyQueue {
    /// The number of bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is there.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Adds a piece at the end.
    pub fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        let fits = self.small.capacity() - self.small.len() >= piece.len();
        if !self.small.is_empty() && (piece.len() >= SMALL || !fits) {
            let small = std::mem::take(&mut self.small);
            self.pieces.push_back(small.freeze());
        }
        if piece.len() >= SMALL {
            self.pieces.push_back(piece);
        } else {
            if self.small.is_empty() {
                self.small = BytesMut::with_capacity(READ);
            }
            self.small.extend_from_slice(&piece);
        }
    }

    /// Puts back the rest of the first piece.
    pub fn put_back(&mut self, piece: Bytes) {
        self.bytes += piece.len();
        self.pieces.push_front(piece);
    }

    /// Takes the first piece.
    pub fn pop(&mut self) -> Option<Bytes> {
        let small = || std::mem::take(&mut self.small).freeze();
        let piece = self.pieces.pop_front().unwrap_or_else(small);
        self.bytes -= piece.len();
        (!piece.is_empty()).then_some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order_however_it_is_cut() {
        let body: Vec<u8> = (0..400_000_u32).map(|i| (i / 7) as u8).collect();
        let mut queue = BodyQueue::default();
        let (mut at, mut out) = (0, Vec::new());
        for len in [1, 40_000, 5_000, 5_000, 30_000, 3, 16_384, 16_383, 20_000].repeat(3) {
            let end = body.len().min(at + len);
            queue.push(Bytes::copy_from_slice(&body[at..end]));
            at = end;
            if at % 2 == 0
                && let Some(mut piece) = queue.pop()
            {
                let rest = piece.split_off(piece.len() / 2);
                out.extend_from_slice(&piece);
                if !rest.is_empty() {
                    queue.put_back(rest);
                }
            }
            assert_eq!(queue.len(), at - out.len());
        }
        while let Some(piece) = queue.pop() {
            out.extend_from_slice(&piece);
        }
        assert!(queue.is_empty());
        assert!(out == body[..at]);
    }

    #[test]
    fn small_pieces_keep_no_more_than_their_own_bytes() {
        let mut queue = BodyQueue::default();
        let buffer = Bytes::from(vec![7; READ]);
        for _ in 0..64 {
            queue.push(buffer.slice(..1024));
        }
        // The buffer that they were read into is free.
        assert!(buffer.is_unique());
        assert_eq!(queue.len(), 64 * 1024);
        let pieces = std::iter::from_fn(|| queue.pop());
        assert_eq!(
            pieces.map(|piece| piece.len()).collect::<Vec<_>>(),
            [READ; 2]
        );
    }
}
