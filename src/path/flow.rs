//! The bytes of one response body, wherever they come from: one origin connection, several, or the store.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::{
    origin::{parallel::Parallel, reader::BodyError, source::Source},
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
    pub fn is_kept(&mut self) -> bool {
        match self {
            Flow::Stored(reader) => reader.own().is_none(),
            _ => false,
        }
    }

    /// Gives up what others need more.
    pub fn make_room(&mut self, cx: &mut Context<'_>) {
        match self {
            Flow::Many(parallel) => parallel.make_room(cx),
            Flow::Stored(reader) => {
                if let Some(own) = reader.own() {
                    own.make_room(cx);
                }
            }
            Flow::One(_) | Flow::Turning => {}
        }
    }

    /// Nothing but the client is waited for.
    pub fn park(&mut self, cx: &Context<'_>) {
        match self {
            Flow::One(source) => source.park(cx),
            Flow::Many(parallel) => parallel.park(cx),
            Flow::Stored(reader) => {
                if let Some(own) = reader.own() {
                    own.park(cx);
                }
            }
            Flow::Turning => {}
        }
    }

    /// Others need the connection, while the client takes nothing: it is given up. Whether the body can go on later.
    pub fn give_up(&mut self) -> bool {
        match self {
            Flow::One(source) => source.give_up(),
            Flow::Stored(reader) => reader.own().is_some_and(Flow::give_up),
            Flow::Many(_) | Flow::Turning => false,
        }
    }

    /// Whether others ask for its connection.
    pub fn is_asked_for(&mut self) -> bool {
        match self {
            Flow::One(source) => source.is_asked_for(),
            Flow::Stored(reader) => reader.own().is_some_and(Flow::is_asked_for),
            Flow::Many(_) | Flow::Turning => false,
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
