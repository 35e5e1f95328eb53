//! The bytes of one response body, wherever they come from: one origin connection, several, or the store.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::{
    origin::{
        parallel::Parallel,
        reader::BodyError,
        source::{Source, Widened},
    },
    stored::reader::StoredReader,
};
use crate::traffic::tuning::Tuning;

/// Where a body comes from.
#[allow(
    clippy::large_enum_variant,
    reason = "each is in a transfer's own allocation, and most are one connection's"
)]
pub enum Flow {
    /// One origin connection.
    One(Source),
    /// Several of them.
    Many(Box<Parallel>),
    /// An object of the store.
    Stored(Box<StoredReader>),
    /// Between the first two.
    Turning,
}

impl Flow {
    /// From the origin. `widened`: over several connections from the start.
    pub fn fetched(source: Source, widened: Option<Widened>) -> Self {
        match widened {
            Some(widened) => Flow::Many(Box::new(Parallel::new(source, widened))),
            None => Flow::One(source),
        }
    }

    /// The next piece; `None` at the end.
    pub fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        tuning: &Tuning,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Flow::One(source) = self
            && let Some(widened) = source.widens(tuning)
            && let Flow::One(source) = std::mem::replace(self, Flow::Turning)
        {
            *self = Flow::Many(Box::new(Parallel::new(source, widened)));
        }
        loop {
            let piece = match self {
                Flow::One(source) => source.poll_piece(cx, tuning),
                Flow::Many(parallel) => parallel.poll_piece(cx, tuning),
                Flow::Stored(reader) => reader.poll_piece(cx),
                Flow::Turning => Poll::Ready(None),
            };
            // To actix-http an empty piece is the last chunk.
            if !matches!(&piece, Poll::Ready(Some(Ok(piece))) if piece.is_empty()) {
                return piece;
            }
        }
    }

    /// All of it, if all of it is here.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        match self {
            Flow::One(source) => source.take_whole(),
            Flow::Stored(reader) => reader.take_whole(),
            Flow::Many(_) | Flow::Turning => None,
        }
    }

    /// Whether its bytes are kept anyway: then nothing is gained by reading ahead of the client.
    pub fn is_kept(&self) -> bool {
        matches!(self, Flow::Stored(_))
    }

    /// The origin is not waited for just now.
    pub fn pause(&mut self) {
        match self {
            Flow::One(source) => source.pause(),
            Flow::Many(parallel) => parallel.pause(),
            Flow::Stored(_) | Flow::Turning => {}
        }
    }

    /// Whether no more is to come.
    pub fn is_done(&self) -> bool {
        match self {
            Flow::One(source) => source.is_done(),
            Flow::Many(parallel) => parallel.is_done(),
            Flow::Stored(reader) => reader.is_done(),
            Flow::Turning => true,
        }
    }
}
