//! The original response of a body that is fetched in parts. It is kept open until the body is complete: whatever happens to the
//! parts, it delivers what a plain GET would.
//!
//! While parts deliver, it is hardly read, so that the origin sends almost nothing on it: what fits its receive window, and a small
//! share of what the parts bring, because servers close a connection that accepts nothing for a minute. If a part fails, it is read
//! up to that position and delivers from there.

use std::{
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{body_error::BodyError, reader::READ, source::Source};
use crate::traffic::tuning::Tuning;

/// One byte in this many that parts bring is read from the original response and discarded.
const SHARE: u64 = 32;
/// The longest time between two reads; half the write timeout of common servers.
const OFTEN: Duration = Duration::from_secs(20);

/// Fallback: the original response, kept open until the body is complete.
pub(super) struct First {
    source: Source,
    /// Position of its next byte.
    next: u64,
    /// Bytes already read that lie behind the end of the part they were read for.
    over: Bytes,
    /// Bytes that may be read and discarded to keep the connection alive.
    budget: u64,
    read: Instant,
    /// Bytes that were read and discarded.
    pub(super) wasted: u64,
}

impl First {
    /// The original response; its next byte is at `next`.
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

    /// Position of its next byte.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Adds bytes that parts brought to the budget for keeping it alive.
    pub(super) fn came(&mut self, bytes: usize) {
        // At most a few reads at once: it must only trickle.
        self.budget = (self.budget + bytes as u64).min(4 * SHARE * READ as u64);
    }

    /// Whether to read a little now, only to keep the origin from closing its connection.
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

    /// Reads once and discards bytes before `to`. Ready when bytes were read, or none are left before `to`.
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

    /// The next piece, up to `end`. Breaks are resumed as for any body.
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
