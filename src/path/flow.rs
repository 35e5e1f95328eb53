//! The bytes of one response body, wherever they come from: the origin, or the store.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::{
    origin::{body::OriginBody, body_error::BodyError},
    stored::reader::StoredReader,
};
use crate::traffic::tuning::Tuning;

/// Where a body comes from.
#[allow(
    clippy::large_enum_variant,
    reason = "each is in a transfer's own allocation, and most are the origin's"
)]
pub enum Flow {
    /// The origin.
    Origin(OriginBody),
    /// An object of the store.
    Stored(Box<StoredReader>),
}

impl Flow {
    /// The next piece, never an empty one; `None` at the end.
    pub fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        tuning: &Tuning,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let piece = match self {
                Flow::Origin(body) => body.poll_piece(cx, tuning),
                Flow::Stored(reader) => reader.poll_piece(cx),
            };
            // An empty piece would end a chunked body in actix-http.
            if !matches!(&piece, Poll::Ready(Some(Ok(piece))) if piece.is_empty()) {
                return piece;
            }
        }
    }

    /// The whole rest of the body, if it is already here.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        match self {
            Flow::Origin(body) => body.take_whole(),
            Flow::Stored(reader) => reader.take_whole(),
        }
    }

    /// The body that is read from the origin; none if its bytes come from the store.
    pub fn origin_body(&mut self) -> Option<&mut OriginBody> {
        match self {
            Flow::Origin(body) => Some(body),
            Flow::Stored(reader) => reader.own(),
        }
    }

    /// Whether the end was reached.
    pub fn is_done(&self) -> bool {
        match self {
            Flow::Origin(body) => body.is_done(),
            Flow::Stored(reader) => reader.is_done(),
        }
    }
}
