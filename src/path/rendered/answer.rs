//! A rendered response on its way to one client.

use std::io::IoSlice;

use bytes::{Buf as _, Bytes};

use crate::{path::meter::Meter, store::Held};

/// Pieces that are written by one call at most.
const AT_ONCE: usize = 64;

/// Head and body, as far as they are not written yet. Dropped before its end, its client has left.
pub struct RenderedAnswer {
    head: Bytes,
    body: Vec<Bytes>,
    /// The first piece of the body that is not written.
    next: usize,
    /// What it keeps in memory; none for a body that is small.
    _held: Option<Held>,
    meter: Meter,
}

impl RenderedAnswer {
    /// A response of which nothing is written. Its request is measured by `meter`.
    pub fn new(head: Vec<u8>, body: Vec<Bytes>, held: Option<Held>, meter: Meter) -> Self {
        RenderedAnswer {
            head: head.into(),
            body,
            next: 0,
            _held: held,
            meter,
        }
    }

    /// Whether all of it is written.
    pub fn is_written(&self) -> bool {
        self.head.is_empty() && self.next == self.body.len()
    }

    /// Writes some of it by `write`, which says how many bytes it took.
    pub fn write<T>(&self, write: impl FnOnce(&[IoSlice<'_>]) -> T) -> T {
        let mut slices = [IoSlice::new(&[]); AT_ONCE];
        let mut used = 0;
        let body = self.body[self.next..].iter();
        let pieces = std::iter::once(&self.head).chain(body);
        for piece in pieces.filter(|piece| !piece.is_empty()).take(AT_ONCE) {
            slices[used] = IoSlice::new(piece);
            used += 1;
        }
        write(&slices[..used])
    }

    /// So many bytes are written.
    pub fn advance(&mut self, written: usize) {
        let of_head = written.min(self.head.len());
        self.head.advance(of_head);
        let mut left = written - of_head;
        self.meter.passed(left);
        while let Some(piece) = self.body.get_mut(self.next) {
            if left < piece.len() {
                piece.advance(left);
                return;
            }
            left -= piece.len();
            *piece = Bytes::new();
            self.next += 1;
        }
    }

    /// All of it is with the client's socket.
    pub fn complete(mut self) {
        self.meter.completed();
    }
}
