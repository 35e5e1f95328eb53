//! The first response of a body that comes in parts. It is kept until all of the body is here: whatever becomes of the
//! parts, it brings what a plain GET would.
//!
//! While parts bring more, it is hardly read, so that the origin sends next to nothing on it: what its receive window
//! holds, and a small share of what the parts bring, for servers close a connection that takes nothing for a minute.
//! Where a part cannot be had, it is read past what is here already, and goes on from there.

use std::{
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{body_error::BodyError, reader::READ, source::Source};
use crate::traffic::tuning::Tuning;

/// For each byte that parts bring, so many are read of the first response and thrown away: one of 32.
const SHARE: u64 = 32;
/// It is read at least so often, for half of what servers lately wait for.
const OFTEN: Duration = Duration::from_secs(20);

/// The first response of a body in parts: the fallback, kept open until the body is complete.
pub(super) struct First {
    source: Source,
    /// The position of the next byte of it.
    next: u64,
    /// Bytes that were read and lie behind the end of the part that they were read for.
    over: Bytes,
    /// Bytes that may be read and thrown away, to keep the connection alive while nobody needs it.
    budget: u64,
    read: Instant,
    /// Bytes that were read and thrown away.
    pub(super) wasted: u64,
}

impl First {
    /// The first response, with `next` to come.
    pub(super) fn new(source: Source, next: u64) -> Self {
        First {
            source,
            next,
            over: Bytes::new(),
            budget: 0,
            read: Instant::now(),
            wasted: 0,
        }
    }

    /// The position of the next byte that it brings.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Notes that parts brought so many bytes: a share of them may be read here.
    pub(super) fn came(&mut self, bytes: usize) {
        // No more at once than a few reads: it is to trickle.
        self.budget = (self.budget + bytes as u64).min(4 * SHARE * READ as u64);
    }

    /// Whether a little of it is to be read now, though nobody needs it, so that the origin does not close its connection.
    pub(super) fn may_trickle(&mut self) -> bool {
        let now = Instant::now();
        let due = self.budget >= SHARE * READ as u64;
        if !due && now.saturating_duration_since(self.read) < OFTEN {
            return false;
        }
        self.budget = self.budget.saturating_sub(SHARE * READ as u64);
        self.read = now;
        true
    }

    /// Reads once, and throws away what lies before `to`. Ready where something came, or nothing lies before it.
    pub(super) fn poll_past(
        &mut self,
        cx: &mut Context<'_>,
        idle: Duration,
        to: u64,
    ) -> Poll<Result<(), BodyError>> {
        if self.next >= to {
            return Poll::Ready(Ok(()));
        }
        if self.over.is_empty() {
            match ready!(self.source.poll_alone(cx, idle)) {
                Some(Ok(piece)) => self.over = piece,
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Err(BodyError::Cut)),
            }
        }
        let before = usize::try_from(to - self.next).unwrap_or(usize::MAX);
        let past = self.over.split_to(before.min(self.over.len()));
        self.next += past.len() as u64;
        self.wasted += past.len() as u64;
        Poll::Ready(Ok(()))
    }

    /// The next piece, up to `end`. A break is mended as for any body.
    pub(super) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        tuning: &Tuning,
        end: u64,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.over.is_empty() {
            match ready!(self.source.poll_piece(cx, tuning)) {
                Some(Ok(piece)) => self.over = piece,
                other => return Poll::Ready(other),
            }
        }
        let left = usize::try_from(end - self.next).unwrap_or(usize::MAX);
        let piece = self.over.split_to(left.min(self.over.len()));
        self.next += piece.len() as u64;
        Poll::Ready(Some(Ok(piece)))
    }

    /// Stops the clocks for stalls and idle reads, because nobody waits for this response just now.
    pub(super) fn pause(&mut self) {
        self.source.pause();
    }

    /// Shortens the stall window, because the caller has nothing else to read. See [`Source::hurry`].
    pub(super) fn hurry(&mut self, window: Duration) {
        self.source.hurry(window);
    }
}
