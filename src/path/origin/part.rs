//! One part of a body that is fetched over several connections.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};

use super::{
    body_error::BodyError, memory::Room, parts_under_way::PartUnderWay, slots::Slot, source::Source,
};
use crate::traffic::tuning::Tuning;

/// One part of a body: a range, and the bytes of it that wait to be delivered.
pub(super) struct Part {
    /// Its request; none once it is complete, and for a gap.
    pub(super) fetch: Option<Fetch>,
    /// Position of the next byte to arrive.
    pub(super) next: u64,
    /// Position behind its last byte.
    pub(super) end: u64,
    /// Bytes that arrived and were not delivered yet, in order, with their positions.
    pub(super) ahead: VecDeque<(u64, Bytes)>,
    /// Bytes of a chunk whose end was not seen, which the framing has not confirmed. Kept apart until then.
    pub(super) unproven: BytesMut,
    /// The memory reserved for it.
    pub(super) room: Option<Room>,
}

/// The request for a part.
pub(super) struct Fetch {
    pub(super) source: Source,
    pub(super) slot: Option<Slot>,
    pub(super) under_way: PartUnderWay,
}

impl Part {
    /// A part without a request. The original response delivers it when it gets there.
    pub(super) fn gap(next: u64, end: u64) -> Self {
        Part {
            fetch: None,
            next,
            end,
            ahead: VecDeque::new(),
            unproven: BytesMut::new(),
            room: None,
        }
    }

    /// Whether it is complete.
    pub(super) fn is_here(&self) -> bool {
        self.next >= self.end
    }

    /// Whether bytes are missing and no request fetches them.
    pub(super) fn is_gap(&self) -> bool {
        self.fetch.is_none() && !self.is_here()
    }

    /// Bytes that are missing.
    pub(super) fn left(&self) -> u64 {
        self.end.saturating_sub(self.next)
    }

    /// Bytes that wait to be delivered.
    pub(super) fn held(&self) -> u64 {
        self.ahead.iter().map(|(_, piece)| piece.len() as u64).sum()
    }

    /// The source of its request, if it has one.
    pub(super) fn source(&self) -> Option<&Source> {
        self.fetch.as_ref().map(|fetch| &fetch.source)
    }

    /// As [`Part::source`], mutable.
    pub(super) fn source_mut(&mut self) -> Option<&mut Source> {
        self.fetch.as_mut().map(|fetch| &mut fetch.source)
    }

    /// Moves its end forward: it becomes smaller.
    pub(super) fn limit(&mut self, end: u64) {
        self.end = end;
        if let Some(source) = self.source_mut() {
            source.limit(end);
        }
    }

    /// Reads from the source, up to the part's end; returns how many bytes wait to be delivered because of that. `None` if the
    /// source ended.
    pub(super) fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
        tuning: &Tuning,
    ) -> Poll<Option<Result<usize, BodyError>>> {
        let Some(fetch) = &mut self.fetch else {
            return Poll::Ready(None);
        };
        loop {
            let mut piece = match std::task::ready!(fetch.source.poll_piece(cx, tuning)) {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                // The end of the coding confirms all bytes before it.
                None if self.unproven.is_empty() || fetch.source.unproven() > 0 => {
                    return Poll::Ready(Some(Err(BodyError::Cut)));
                }
                None => Bytes::new(),
            };
            let doubtful = usize::try_from(fetch.source.unproven()).unwrap_or(usize::MAX);
            if doubtful > 0 || !self.unproven.is_empty() {
                self.unproven.extend_from_slice(&piece);
                let proven = self.unproven.len().saturating_sub(doubtful);
                piece = self.unproven.split_to(proven).freeze();
                if piece.is_empty() {
                    continue;
                }
            }
            let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
            // Bytes behind its end belong to the next part.
            piece.truncate(left);
            let bytes = piece.len();
            self.ahead.push_back((self.next, piece));
            self.next += bytes as u64;
            return Poll::Ready(Some(Ok(bytes)));
        }
    }
}
