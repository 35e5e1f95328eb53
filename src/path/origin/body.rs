//! One response body from the origin, over one connection or over several.

use std::task::{Context, Poll};

use bytes::Bytes;

use super::{body_error::BodyError, parallel::Parallel, source::Source};
use crate::traffic::tuning::Tuning;

/// A response body from the origin. It starts on one connection, and switches to several if that is faster.
#[allow(
    clippy::large_enum_variant,
    reason = "each is in a transfer's own allocation, and most are one connection's"
)]
pub enum OriginBody {
    /// Over one connection.
    One(Source),
    /// Over several.
    Many(Box<Parallel>),
    /// No more bytes follow: the connection was given up.
    Closed,
}

impl OriginBody {
    /// The next piece, which may be empty; `None` at the end.
    pub fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        tuning: &Tuning,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        let piece = self.poll_placed(cx, tuning, 0, None);
        piece.map_ok(|(_, piece)| piece)
    }

    /// The next piece and its position, which is `next` while the body comes over one connection. With a `limit` pieces come as they
    /// arrive, and nothing is requested from that position on over other connections.
    pub fn poll_placed(
        &mut self,
        cx: &mut Context<'_>,
        tuning: &Tuning,
        next: u64,
        limit: Option<u64>,
    ) -> Poll<Option<Result<(u64, Bytes), BodyError>>> {
        if let OriginBody::One(source) = self
            && let Some(plan) = source.plan_parallel(tuning)
            && let OriginBody::One(source) = std::mem::replace(self, OriginBody::Closed)
        {
            *self = OriginBody::Many(Box::new(Parallel::new(source, plan)));
        }
        match self {
            OriginBody::One(source) => source.poll_piece(cx, tuning).map_ok(|piece| (next, piece)),
            OriginBody::Many(parallel) => parallel.poll_piece(cx, tuning, limit),
            OriginBody::Closed => Poll::Ready(None),
        }
    }

    /// The whole rest of the body, if it has arrived.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        match self {
            OriginBody::One(source) => source.take_whole(),
            OriginBody::Many(_) | OriginBody::Closed => None,
        }
    }

    /// Gives up the parts' connections if other requests need them.
    pub fn make_room(&mut self, cx: &mut Context<'_>) {
        if let OriginBody::Many(parallel) = self {
            parallel.make_room(cx);
        }
    }

    /// Called while the body only waits for the client: its slots may go to others.
    pub fn park(&mut self, cx: &Context<'_>) {
        match self {
            OriginBody::One(source) => source.park(cx),
            OriginBody::Many(parallel) => parallel.park(cx),
            OriginBody::Closed => {}
        }
    }

    /// Gives up its connection, because others need it while the client reads nothing. Returns whether the body can be continued
    /// later over another one.
    pub fn give_up(&mut self) -> bool {
        match self {
            OriginBody::One(source) => source.give_up(),
            OriginBody::Many(_) | OriginBody::Closed => false,
        }
    }

    /// Whether another request needs its connection.
    pub fn is_asked_for(&mut self) -> bool {
        match self {
            OriginBody::One(source) => source.is_asked_for(),
            OriginBody::Many(_) | OriginBody::Closed => false,
        }
    }

    /// Whether the end was reached.
    pub fn is_done(&self) -> bool {
        match self {
            OriginBody::One(source) => source.is_done(),
            OriginBody::Many(parallel) => parallel.is_done(),
            OriginBody::Closed => true,
        }
    }
}
