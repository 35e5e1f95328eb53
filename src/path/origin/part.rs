//! One part of a body that comes over several connections.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};

use super::{
    body_error::BodyError, crowd::PartUnderWay, memory::Room, slots::Slot, source::Source,
};
use crate::traffic::tuning::Tuning;

/// One part of a body: a range, and the bytes of it that came and wait for their turn.
pub(super) struct Part {
    /// Its request; none once all of it has come, and for a gap.
    pub(super) fetch: Option<Fetch>,
    /// The position of the next byte to come.
    pub(super) next: u64,
    /// The position behind its last byte.
    pub(super) end: u64,
    /// Bytes that came, in order, and were not handed out yet.
    pub(super) ahead: VecDeque<Bytes>,
    /// Bytes that came and that the framing has not vouched for yet, because their chunk has not ended. They are kept apart.
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
    /// A part without a request. The first response brings it when it gets there.
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

    /// Whether all of it has come.
    pub(super) fn is_here(&self) -> bool {
        self.next >= self.end
    }

    /// Whether bytes of it are missing and no request is under way for them.
    pub(super) fn is_gap(&self) -> bool {
        self.fetch.is_none() && !self.is_here()
    }

    /// Bytes to come.
    pub(super) fn left(&self) -> u64 {
        self.end.saturating_sub(self.next)
    }

    /// Bytes that came and wait.
    pub(super) fn held(&self) -> u64 {
        self.ahead.iter().map(|piece| piece.len() as u64).sum()
    }

    /// Its source, where there is one.
    pub(super) fn source(&self) -> Option<&Source> {
        self.fetch.as_ref().map(|fetch| &fetch.source)
    }

    /// As [`Part::source`], to change it.
    pub(super) fn source_mut(&mut self) -> Option<&mut Source> {
        self.fetch.as_mut().map(|fetch| &mut fetch.source)
    }

    /// Moves its end forward: less is wanted of it.
    pub(super) fn limit(&mut self, end: u64) {
        self.end = end;
        if let Some(source) = self.source_mut() {
            source.limit(end);
        }
    }

    /// Reads what the source has, up to the part's end. `None` where it brings no more.
    pub(super) fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
        tuning: &Tuning,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        let Some(fetch) = &mut self.fetch else {
            return Poll::Ready(None);
        };
        loop {
            let mut piece = match std::task::ready!(fetch.source.poll_piece(cx, tuning)) {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                // A coding's end vouches for all that came before.
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
            // What comes behind it belongs to the next part.
            piece.truncate(left);
            self.next += piece.len() as u64;
            return Poll::Ready(Some(Ok(piece)));
        }
    }
}
