//! Sends a rendered response to one client.

use std::io::IoSlice;

use bytes::{Buf as _, Bytes};

use crate::{path::meter::Meter, store::Held};

/// The most slices written by one call.
const AT_ONCE: usize = 64;

/// The head and body that are not written yet. Dropped before its end, its client has left.
pub struct RenderedAnswer {
    head: Bytes,
    body: Vec<Bytes>,
    /// Index of the first body piece that is not written completely.
    next: usize,
    /// Accounts for the memory it holds; none for a small body.
    _held: Option<Held>,
    meter: Meter,
}

impl RenderedAnswer {
    /// A response of which nothing is written yet; `meter` measures its request.
    pub fn new(head: Vec<u8>, body: Vec<Bytes>, held: Option<Held>, meter: Meter) -> Self {
        RenderedAnswer {
            head: head.into(),
            body,
            next: 0,
            _held: held,
            meter,
        }
    }

    /// Whether it is written completely.
    pub fn is_written(&self) -> bool {
        self.head.is_empty() && self.next == self.body.len()
    }

    /// Writes some of it by `write`, which returns the number of bytes written.
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

    /// Advances by written bytes.
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

    /// Records that the whole response was written to the client's socket.
    pub fn complete(mut self) {
        self.meter.completed();
    }
}
