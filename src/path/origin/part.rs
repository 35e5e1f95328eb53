//! One part of a body that comes over several connections.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
};

use bytes::Bytes;

use super::{memory::Room, reader::BodyError, source::Source};
use crate::traffic::tuning::Tuning;

/// One part.
pub(super) struct Part {
    pub(super) source: Option<Source>,
    /// The next byte of the source.
    pub(super) next: u64,
    /// The byte behind the part.
    pub(super) end: u64,
    pub(super) ahead: VecDeque<Bytes>,
    /// The source, if it goes on behind the part, and what was read of that.
    pub(super) behind: Option<(Source, Bytes)>,
    pub(super) room: Option<Room>,
}

impl Part {
    /// Reads what the source has, up to the part's end.
    pub(super) fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
        tuning: &Tuning,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        let Some(source) = &mut self.source else {
            return Poll::Ready(None);
        };
        match std::task::ready!(source.poll_piece(cx, tuning)) {
            Some(Ok(mut piece)) => {
                let left = usize::try_from(self.end - self.next).unwrap_or(usize::MAX);
                let over = piece.split_off(left.min(piece.len()));
                self.next += piece.len() as u64;
                // What its framing has not vouched for is not all of the part yet.
                let is_proven = source.unproven() <= over.len() as u64;
                if self.next == self.end && is_proven {
                    // What comes behind it belongs to the next part.
                    let source = self.source.take().filter(Source::runs_to_the_end);
                    self.behind = source.map(|source| (source, over));
                }
                Poll::Ready(Some(Ok(piece)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None if self.next == self.end => {
                self.source = None;
                Poll::Ready(None)
            }
            None => Poll::Ready(Some(Err(BodyError::Cut))),
        }
    }

    /// Whether the origin turned it away, and nobody has taken note of that yet.
    pub(super) fn is_refused(&self) -> bool {
        self.source.as_ref().is_some_and(Source::is_refused)
    }

    /// That was taken note of.
    pub(super) fn note_refusal(&mut self) {
        if let Some(source) = &mut self.source {
            source.note_refusal();
        }
    }

    /// What comes behind it, where its source goes on.
    pub(super) fn behind(self) -> Option<Part> {
        let (source, over) = self.behind?;
        Some(Part {
            source: Some(source),
            next: self.end + over.len() as u64,
            end: self.end,
            ahead: VecDeque::from([over]),
            behind: None,
            room: None,
        })
    }
}
