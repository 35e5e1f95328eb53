//! One body from the origin, independent of single connections: breaks are resumed, a stalled connection gets a second one, and
//! whichever delivers is used (`recovery`).

use std::{
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    body_error::BodyError,
    connection::Connection,
    parallel_plan::ParallelPlan,
    pool::Pool,
    reader::Reader,
    recovery::Recovery,
    replay::Replay,
    rest_error::RestRefusal,
    slots::{Slot, Yields},
};
use crate::{
    path::{
        continuation::{Ask, Continuation},
        framing::Head,
    },
    traffic::{tolerance::Allowance, tuning::Tuning},
};

/// One body, from its first byte to its last.
pub struct Source {
    /// Bytes that were received before the source was read: delivered first.
    here: Option<Bytes>,
    /// The current response.
    reader: Reader,
    /// Bytes that must still come before the end, if a header declares it besides the framing (a chunked 206).
    expected: Option<u64>,
    /// The exchange slot, until no connection is needed; none for a part of a body, whose slot is kept elsewhere.
    slot: Option<Slot>,
    /// Continues the body after a break or stall; none if the body must not be requested again.
    recovery: Option<Recovery>,
    /// When the line was last measured for a [`ParallelPlan`].
    looked: Option<Instant>,
}

/// How often the line is measured while a body arrives: TCP_INFO costs a system call.
const LOOK: Duration = Duration::from_millis(250);

impl Source {
    /// The body behind `head`: read from `connection`; `slot` is held until it is no longer needed.
    pub fn new(connection: Connection, head: Head, slot: Slot, pool: Rc<Pool>) -> Self {
        slot.yields(Yields::ByEnding);
        let mut source = Source {
            here: None,
            reader: Reader::new(connection, head, pool),
            expected: None,
            slot: Some(slot),
            recovery: None,
            looked: None,
        };
        source.settle();
        source
    }

    /// A body that is completely here. It needs no connection.
    pub fn here(body: Bytes, pool: Rc<Pool>) -> Self {
        Source {
            here: Some(body),
            reader: Reader::nothing(pool),
            expected: None,
            slot: None,
            recovery: None,
            looked: None,
        }
    }

    /// Puts back bytes that the caller has read: they are delivered first again.
    pub fn put_back(&mut self, read: Bytes) {
        self.here = Some(read);
    }

    /// Sets the body's length, if a header declares it besides the framing: an earlier end is a break.
    pub fn expect(&mut self, bytes: Option<u64>) {
        self.expected = bytes;
    }

    /// Enables recovery from breaks and stalls by `replay`'s requests, from `continuation` on.
    pub fn resume_by(&mut self, replay: Rc<Replay>, continuation: Continuation) {
        self.recovery = Some(Recovery::new(replay, continuation));
    }

    /// Requests a part of a body.
    pub fn part(replay: Rc<Replay>, part: Continuation) -> Self {
        let reader = Reader::nothing(Rc::clone(replay.origin().pool()));
        let mut recovery = Recovery::new(replay, part);
        recovery.is_part = true;
        recovery.ask_for_the_rest(Ask::Part);
        Source {
            here: None,
            reader,
            expected: None,
            slot: None,
            recovery: Some(recovery),
            looked: None,
        }
    }

    /// How many of the last delivered bytes the framing has not confirmed yet: if it is malformed, they may not belong to the body.
    pub fn unproven(&self) -> u64 {
        self.reader.unproven()
    }

    /// Hands its slot over to the caller.
    pub fn take_slot(&mut self) -> Option<Slot> {
        self.slot.take().inspect(|slot| slot.yields(Yields::Never))
    }

    /// Allows others to ask for its connection while its client reads nothing, if the origin supports ranges and the rest can be
    /// requested later.
    pub fn may_go_on_later(&mut self, offers_ranges: bool) {
        let knows_its_end = |recovery: &Recovery| recovery.continuation.end().is_some();
        if let Some(slot) = &self.slot
            && offers_ranges
            && self.recovery.as_ref().is_some_and(knows_its_end)
        {
            slot.yields(Yields::ByRange);
        }
    }

    /// Called while the client reads nothing: the slot may go to others.
    pub fn park(&mut self, cx: &Context<'_>) {
        self.pause();
        self.reader.release();
        if let Some(slot) = &mut self.slot {
            slot.parks(cx);
        }
    }

    /// Whether its connection is needed. A URL that may be valid only once keeps it: another exchange is asked then.
    pub fn is_asked_for(&mut self) -> bool {
        let Some(slot) = self.slot.as_mut().filter(|slot| slot.is_asked()) else {
            return false;
        };
        let is_good_once =
            |recovery: &Recovery| recovery.replay.allowance(Instant::now()) == Allowance::Nothing;
        !(self.recovery.as_ref().is_some_and(is_good_once) && slot.declines())
    }

    /// Gives the connection up; the rest is requested with the next read. Returns whether that is possible.
    pub fn give_up(&mut self) -> bool {
        let (Some(slot), Some(recovery)) = (&mut self.slot, &mut self.recovery) else {
            return false;
        };
        if recovery.continuation.end().is_none() {
            return false;
        }
        self.reader = Reader::nothing(Rc::clone(recovery.replay.origin().pool()));
        (recovery.rest, recovery.second, recovery.standby) = (None, None, None);
        recovery.given_up = true;
        slot.give_up();
        let origin = recovery.replay.origin();
        origin.state().counters.given_up.increment();
        true
    }

    /// How the origin refused to continue the body, until [`Source::note_refusal`].
    pub fn refusal(&self) -> Option<RestRefusal> {
        self.recovery.as_ref().and_then(|recovery| recovery.refused)
    }

    /// Clears [`Source::refusal`], so that one refusal counts once.
    pub fn note_refusal(&mut self) {
        if let Some(recovery) = &mut self.recovery {
            recovery.refused = None;
        }
    }

    /// Whether the origin refused or was late at least once, and is being asked again.
    pub fn is_asked_again(&self) -> bool {
        let recovery = self.recovery.as_ref();
        recovery.is_some_and(Recovery::is_asked_again)
    }

    /// Shortens the stall window, because the caller has nothing else to read.
    pub fn hurry(&mut self, window: Duration) {
        if let Some(recovery) = &mut self.recovery {
            recovery.pace.hurry(window);
        }
    }

    /// Sets the end of what is wanted: the position behind the last byte.
    pub fn limit(&mut self, end: u64) {
        if let Some(recovery) = &mut self.recovery {
            recovery.continuation.limit(end);
        }
    }

    /// Plans to fetch the rest over several connections, if the line and the length of the rest make that worth it. The line is
    /// measured a few times a second at most; in between there is no plan.
    pub fn plan_parallel(&mut self, tuning: &Tuning) -> Option<ParallelPlan> {
        let recovery = self.recovery.as_ref().filter(|_| tuning.parallel)?;
        if !recovery.continuation.may_be_divided() {
            return None;
        }
        if self.here.is_some() {
            return None;
        }
        let now = Instant::now();
        let settings = recovery.replay.origin().transfers();
        if self.looked.is_some_and(|looked| now < looked + LOOK)
            || recovery.broken.is_some()
            || recovery.rest.is_some()
            || recovery.given_up
        {
            return None;
        }
        self.looked = Some(now);
        if let Some(connection) = self.reader.connection() {
            recovery.replay.origin().look(connection);
        }
        let left = recovery
            .continuation
            .end()?
            .checked_sub(recovery.continuation.next())?;
        let worth_it = recovery.replay.origin().wants_several()
            && left >= settings.parallel_least.as_u64()
            && recovery.replay.allowance(now) != Allowance::Nothing;
        let end = left + recovery.continuation.next();
        worth_it.then(|| ParallelPlan {
            replay: Rc::clone(&recovery.replay),
            whole: recovery.continuation.clone(),
            end,
        })
    }

    /// Whether all of the body has arrived.
    pub fn is_here(&self) -> bool {
        self.reader.is_here()
    }

    /// The whole body, if it has arrived.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        if self.here.is_some() {
            // What was read may be only a part; the rest, or the resumed rest, is then still to come.
            let is_whole = !self.needs_connection();
            return self.here.take_if(|_| is_whole);
        }
        let whole = self.reader.take_whole();
        self.settle();
        whole
    }

    /// Stops the clocks for stalls and idle reads, because nobody waits for the origin just now.
    pub fn pause(&mut self) {
        self.reader.pause();
        if let Some(recovery) = &mut self.recovery {
            recovery.pace.pause();
        }
    }

    /// Whether the end was reached.
    pub fn is_done(&self) -> bool {
        self.here.is_none() && !self.needs_connection()
    }

    fn needs_connection(&self) -> bool {
        let rest_to_come = self.recovery.as_ref().is_some_and(|recovery| {
            recovery.rest.is_some()
                || recovery.given_up
                || recovery.continuation.falls_short()
                || recovery.continuation.is_assumed()
        });
        !self.reader.is_done() || rest_to_come
    }

    /// Frees the slot once no connection is needed any more.
    fn settle(&mut self) {
        if !self.needs_connection() {
            self.slot = None;
            if let Some(recovery) = &mut self.recovery {
                recovery.standby = None;
            }
        }
    }

    /// The next piece; `None` at the end.
    pub fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        tuning: &Tuning,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(here) = self.here.take() {
            return Poll::Ready(Some(Ok(here)));
        }
        let piece = self.poll_through_breaks(cx, tuning);
        if let Some(slot) = &mut self.slot {
            match piece {
                Poll::Ready(_) => slot.moves(),
                Poll::Pending => slot.waits_for_origin(),
            }
        }
        self.settle();
        match (&piece, &mut self.expected) {
            (Poll::Ready(Some(Ok(piece))), Some(expected)) => {
                *expected = expected.saturating_sub(piece.len() as u64)
            }
            (Poll::Ready(None), Some(1..)) => return Poll::Ready(Some(Err(BodyError::Cut))),
            _ => {}
        }
        piece
    }

    /// The next piece of the current response alone, for bytes that are discarded: without recovery or stall detection.
    pub fn poll_alone(
        &mut self,
        cx: &mut Context<'_>,
        idle: Duration,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        let is_broken = |recovery: &Recovery| recovery.broken.is_some();
        if self.here.is_some() || self.recovery.as_ref().is_some_and(is_broken) {
            return Poll::Ready(None);
        }
        let piece = self.reader.poll_piece(cx, idle);
        if let (Poll::Ready(Some(Ok(piece))), Some(recovery)) = (&piece, &mut self.recovery) {
            recovery.continuation.advance(piece.len() as u64);
        }
        piece
    }

    fn poll_through_breaks(
        &mut self,
        cx: &mut Context<'_>,
        tuning: &Tuning,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let Some(recovery) = &mut self.recovery else {
                return self.reader.poll_piece(cx, tuning.idle_limit);
            };
            if std::mem::take(&mut recovery.given_up) {
                // It continues without a slot if none is free: its client has waited already.
                if let Some(slot) = &mut self.slot {
                    slot.moves();
                }
                recovery.ask_for_the_rest(Ask::Rest);
            }
            if recovery.broken.is_none() {
                let polled = self.reader.poll_piece(cx, tuning.idle_limit);
                if self.reader.unproven() == 0 {
                    recovery.unproven.prove();
                }
                let ended = match polled {
                    Poll::Ready(Some(Ok(piece))) => {
                        match recovery.took(piece, self.reader.unproven()) {
                            // All of it was delivered before.
                            Ok(piece) if piece.is_empty() => continue,
                            Ok(piece) => return Poll::Ready(Some(Ok(piece))),
                            Err(error) => Some(error),
                        }
                    }
                    Poll::Ready(None) => match recovery.lacks() {
                        None => {
                            recovery.ended();
                            return Poll::Ready(None);
                        }
                        lacks => lacks,
                    },
                    // The body is complete; only the end of the coding is missing.
                    Poll::Ready(Some(Err(error)))
                        if !error.violates_protocol() && recovery.is_proven() =>
                    {
                        return Poll::Ready(None);
                    }
                    Poll::Ready(Some(Err(error))) => Some(error),
                    Poll::Pending => {
                        recovery.watch(cx, self.reader.waiting(), tuning.idle_read);
                        None
                    }
                };
                if let Some(error) = ended
                    && let Err(error) = recovery.begin(error)
                {
                    match recovery.fall_back(&error) {
                        Some(reader) => self.reader = reader,
                        None => return Poll::Ready(Some(Err(error))),
                    }
                    continue;
                }
            }
            let Some(rest) = &mut recovery.rest else {
                return Poll::Pending;
            };
            let rest = std::task::ready!(rest.as_mut().poll(cx));
            recovery.rest = None;
            let slot = recovery.second.take();
            let mended = rest.and_then(|rest| recovery.mended(rest, &mut self.reader, slot));
            if let Err(error) = mended
                && let Err(error) = recovery.failed(&error)
            {
                match recovery.fall_back(&error) {
                    Some(reader) => self.reader = reader,
                    None => return Poll::Ready(Some(Err(error))),
                }
            }
        }
    }
}
