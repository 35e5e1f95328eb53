//! How one body goes on: what breaks is resumed, what stands still gets a second connection, and whichever delivers goes on.
//!
//! What may look whole: a body whose response tells its end by itself (a length, a last chunk), or whose length was told
//! before any of it came. Where the first response told no length, a part or a 416 tells only what there is by now, for the
//! file may still be in the making: its bytes are used, but the end must come from a response with all of it.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::Context,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    attempts::Attempts,
    body_error::BodyError,
    overlap::{Differs, Overlap, Unproven},
    pace::{Pace, Verdict},
    reader::Reader,
    replay::{Replay, Rest},
    rest_error::{RestError, RestRefusal},
    slots::Slot,
};
use crate::path::continuation::{Ask, Continuation, Mismatch};

/// What goes on with one body where its response breaks or stalls: it asks for the rest, and joins that to what came.
pub(super) struct Recovery {
    /// Makes the requests for the rest.
    pub(super) replay: Rc<Replay>,
    /// Where the body stands, and which version it is.
    pub(super) continuation: Continuation,
    /// The rest, on its way: after a break, or beside a connection that stands still.
    pub(super) rest: Option<RestFuture>,
    /// What the last request asked for.
    asked: Ask,
    /// The position of the body's next byte as that went out.
    asked_at: u64,
    /// Bytes that were handed out and that the framing has not vouched for yet, because their chunk has not ended.
    pub(super) unproven: Unproven,
    /// Bytes of the response at hand that were handed out before: they are compared, and left out.
    overlap: Option<Overlap>,
    /// Bytes that may still be read once more, of `transfers.resume_reread`.
    reread: u64,
    /// The first response, which stalled: the fallback where no other goes on.
    pub(super) standby: Option<Standby>,
    /// The break that the rest mends; none while the connection only stands still.
    pub(super) broken: Option<BodyError>,
    /// The second connection's slot.
    pub(super) second: Option<Slot>,
    attempts: Attempts,
    /// How fast the response at hand comes.
    pub(super) pace: Pace,
    /// Whether this is a part of a body that comes over several connections: only a 206 will do for it.
    pub(super) is_part: bool,
    /// How the origin refused the last request, until whoever plans the parts has taken note of it.
    pub(super) refused: Option<RestRefusal>,
    /// Whether the connection was given up for others, and the rest is not asked for yet.
    pub(super) given_up: bool,
}

/// A response that stood still when a second one took over. It is not read as long as that goes on.
pub(super) struct Standby {
    reader: Reader,
    /// The position of its next byte.
    at: u64,
    /// Bytes of it that its framing has not vouched for.
    unproven: Unproven,
    /// The exchange slot of its connection.
    _slot: Option<Slot>,
}

/// The rest, on its way.
type RestFuture = Pin<Box<dyn Future<Output = Result<Rest, RestError>>>>;

impl Recovery {
    /// The recovery of a body from `continuation` on, which `replay` asks for.
    pub(super) fn new(replay: Rc<Replay>, continuation: Continuation) -> Self {
        let settings = replay.origin().transfers();
        let pace = Pace::new(settings.stall_window);
        let reread = settings.resume_reread.as_u64();
        let from = continuation.next();
        Recovery {
            replay,
            continuation,
            rest: None,
            asked: Ask::Rest,
            asked_at: from,
            unproven: Unproven::default(),
            overlap: None,
            reread,
            standby: None,
            broken: None,
            second: None,
            attempts: Attempts::new(from),
            pace,
            is_part: false,
            refused: None,
            given_up: false,
        }
    }

    /// Takes a piece of the response at hand, after which the last `unproven` bytes are not vouched for by the framing. Returns
    /// what of it was not handed out before.
    ///
    /// # Errors
    ///
    /// [`BodyError::Differs`], where bytes that were handed out before come otherwise.
    pub(super) fn took(&mut self, mut piece: Bytes, unproven: u64) -> Result<Bytes, BodyError> {
        self.unproven.came(&piece, unproven);
        let floor = self.replay.origin().stall_floor(self.pace.before());
        let verdict = self.pace.moved(piece.len(), Instant::now(), floor);
        if let Some(overlap) = &mut self.overlap {
            let read = overlap
                .take(&mut piece)
                .map_err(|Differs| BodyError::Differs)?;
            if overlap.is_over() {
                self.overlap = None;
            }
            let counters = &self.replay.origin().state().counters;
            counters.reread_bytes.add(read);
        }
        self.continuation.advance(piece.len() as u64);
        if !piece.is_empty() {
            self.attempts.moved();
        }
        let settings = self.replay.origin().transfers();
        let (next, is_whole) = (self.continuation.next(), self.continuation.is_whole());
        if self.rest.is_some() && next - self.asked_at >= settings.resume_progress.as_u64() {
            // The connection that stood still moves again, and does not only trickle: the second one is not needed.
            self.rest = None;
            self.second = None;
        }
        if self.attempts.progressed(next, is_whole, settings) {
            self.replay.origin().refund(1.0);
        }
        if is_whole {
            self.ended();
        } else {
            self.heed(verdict, false);
        }
        Ok(piece)
    }

    /// Called at the end of the response: no second connection is needed, and its pace counts for others.
    pub(super) fn ended(&mut self) {
        self.rest = None;
        self.second = None;
        if let Some(pace) = self.pace.ended().filter(|_| self.continuation.is_told()) {
            self.replay.origin().gave(pace);
        }
    }

    /// Whether all that is wanted came, and nothing of it is in doubt.
    pub(super) fn is_proven(&self) -> bool {
        self.continuation.is_whole() && self.lacks().is_none() && self.unproven.is_empty()
    }

    /// Why the body is not whole at the end of the response at hand.
    pub(super) fn lacks(&self) -> Option<BodyError> {
        if self.overlap.is_some() || self.continuation.falls_short() {
            // A framing that ends too early, by its own rules, is a break as well.
            return Some(BodyError::Cut);
        }
        self.continuation.is_assumed().then_some(BodyError::NoEnd)
    }

    /// What of the bytes that were sent nothing vouches for: another response must bring them once more.
    fn owed(&self) -> &Unproven {
        match &self.overlap {
            Some(overlap) => overlap.owed(),
            None => &self.unproven,
        }
    }

    /// What is to be asked for after a break; `None` where too much would come for the second time, or more came already
    /// than there is.
    fn ask(&self) -> Option<Ask> {
        let next = self.continuation.next();
        let (ask, again) = if self.is_part {
            (Ask::Part, self.unproven.len())
        } else if self.continuation.is_whole() && self.continuation.is_assumed() {
            (Ask::Whole, next)
        } else {
            (Ask::Rest, self.unproven.len())
        };
        let too_much = self.continuation.end().is_some_and(|end| end < next);
        (again <= self.reread && !too_much).then_some(ask)
    }

    /// The body broke: asks for the rest, if that may be.
    pub(super) fn begin(&mut self, error: BodyError) -> Result<(), BodyError> {
        if let Some(overlap) = self.overlap.take() {
            // What it was to prove is still owed.
            self.unproven = overlap.into_owed();
        }
        if error.is_a_lie() {
            // What came of it was passed on and may be wrong: nothing is put behind it.
            return Err(error);
        }
        if self.rest.is_some() {
            // It is on its way already, for the connection stood still before it broke.
            self.broken = Some(error);
            return Ok(());
        }
        let settings = self.replay.origin().transfers();
        let counters = &self.replay.origin().state().counters;
        let ask = self.ask().filter(|_| self.attempts.may_resume(settings));
        let Some(ask) = ask else {
            counters.resumes_given_up.increment();
            return Err(error);
        };
        let next = self.continuation.next();
        let worth = self.attempts.worth(next, settings);
        self.replay.origin().refund(worth);
        if !self.replay.origin().spend() {
            counters.resumes_denied.increment();
            tracing::warn!(id = self.replay.id(), trace_id = self.replay.trace_id().map(display), cause = %error, "a body is not resumed: too many were already");
            return Err(error);
        }
        let wait = self.attempts.resume(next, settings);
        counters.resumes.increment();
        tracing::info!(id = self.replay.id(), trace_id = self.replay.trace_id().map(display), at_byte = next, attempt = self.attempts.in_a_row(), cause = %error, "a body broke, asking for the rest");
        self.fetch(wait, ask);
        self.broken = Some(error);
        Ok(())
    }

    /// Asks for what is still to come, where no connection brings it.
    pub(super) fn ask_for_the_rest(&mut self, ask: Ask) {
        self.broken = Some(BodyError::NoRest);
        self.fetch(Duration::ZERO, ask);
    }

    /// Sends the request, from the first byte on that nothing vouches for.
    fn fetch(&mut self, wait: Duration, ask: Ask) {
        (self.asked, self.asked_at) = (ask, self.continuation.next());
        let from = self.continuation.next() - self.owed().len();
        let (replay, continuation) = (Rc::clone(&self.replay), self.continuation.at(from));
        let settings = self.replay.origin().transfers();
        let patience = self.attempts.patience(self.replay.usual_ttfb(), settings);
        self.rest = Some(Box::pin(async move {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            let rest = async {
                let mut rest = replay.fetch_rest(continuation, ask).await?;
                if let (Ask::Beside, Some(reader)) = (ask, &mut rest.reader) {
                    // A head alone is no better than a response that stands still.
                    reader.begin(patience).await?;
                }
                Ok(rest)
            };
            tokio::time::timeout(patience, rest)
                .await
                .unwrap_or(Err(RestError::Late(patience)))
        }));
    }

    /// The rest is here, and takes the place of `reader`, unless that only stood still and is further by now. It is kept
    /// if it is the first response, and only stood still; `slot` is for the connection that is kept.
    pub(super) fn mended(
        &mut self,
        rest: Rest,
        reader: &mut Reader,
        slot: Option<Slot>,
    ) -> Result<(), RestError> {
        let next = self.continuation.next();
        let again = next.saturating_sub(rest.continuation.next());
        if again > self.reread {
            return Err(Mismatch::TooFar.into());
        }
        if rest.reader.is_none() && again > 0 || again < self.owed().len() {
            return Err(Mismatch::Range.into());
        }
        let ahead = rest.reader.as_ref().map_or(0, Reader::ahead);
        if self.broken.is_none() && next > self.asked_at && ahead <= again {
            tracing::debug!(
                at_byte = next,
                "a body that stood still goes on before its second connection does"
            );
            return Ok(());
        }
        let unproven = std::mem::take(&mut self.unproven);
        let (at, owed) = match self.overlap.take() {
            Some(overlap) => (next - overlap.left(), overlap.into_owed()),
            None => (next, unproven.clone()),
        };
        self.overlap = Overlap::new(again, owed).map_err(|Differs| Mismatch::Range)?;
        self.reread -= again;
        self.continuation = rest.continuation.at(next);
        let pool = self.replay.origin().pool();
        let other = rest
            .reader
            .unwrap_or_else(|| Reader::nothing(Rc::clone(pool)));
        let first = std::mem::replace(reader, other);
        let counters = &self.replay.origin().state().counters;
        match self.broken.take() {
            Some(BodyError::NoRest) => {}
            Some(_) => counters.resumed.increment(),
            None => {
                counters.stalls_mended.increment();
                if !self.is_part && self.standby.is_none() {
                    self.standby = Some(Standby {
                        reader: first,
                        at,
                        unproven,
                        _slot: slot,
                    });
                }
            }
        }
        tracing::debug!(at_byte = next, again, "the rest of a body is coming");
        self.pace.restart();
        Ok(())
    }

    /// Nothing else goes on with the body: the first response, which only stood still, if it is there and `error` leaves
    /// what came in the meantime beyond doubt.
    pub(super) fn fall_back(&mut self, error: &BodyError) -> Option<Reader> {
        let standby = self.standby.take().filter(|_| !error.is_a_lie())?;
        let again = self.continuation.next() - standby.at;
        let owed = std::mem::replace(&mut self.unproven, standby.unproven);
        self.overlap = Overlap::new(again, owed).ok()?;
        tracing::info!(id = self.replay.id(), trace_id = self.replay.trace_id().map(display), at_byte = self.continuation.next(), cause = %error, "the first response to a body goes on");
        self.pace.restart();
        Some(standby.reader)
    }

    /// The rest did not come: once more, or the end.
    pub(super) fn failed(&mut self, error: &RestError) -> Result<(), BodyError> {
        let Some(broken) = self.broken.take() else {
            // Only a second connection that failed: the first goes on.
            self.attempts.second_failed();
            tracing::debug!(%error, "a second connection for a stalled body failed");
            return Ok(());
        };
        if self.asked == Ask::Beside && !error.is_passing() {
            // It was asked for while the first response lived: less will do now.
            return self.begin(broken);
        }
        self.refused = Some(error.refusal());
        if !self.is_part
            && matches!(broken, BodyError::NoRest)
            && self.refused == Some(RestRefusal::Denied)
        {
            // Its like keep their connections.
            self.replay.refused(Instant::now());
        }
        if !self.is_part && self.refused == Some(RestRefusal::TurnedAway) {
            self.replay.origin().rest_turned_away();
        }
        if error.is_passing() {
            let least = self.replay.origin().transfers().backoff_min;
            self.attempts.leave_alone(error.retry_after().max(least));
            return self.begin(broken);
        }
        self.replay
            .origin()
            .state()
            .counters
            .resumes_given_up
            .increment();
        tracing::warn!(id = self.replay.id(), trace_id = self.replay.trace_id().map(display), at_byte = self.continuation.next(), cause = %broken, %error, "a body that broke cannot be resumed");
        Err(broken)
    }

    /// The connection is waited for, while the client is ready to read. After `idle_read` it gets a second one also where the
    /// budget for stalls is spent, like a body that broke.
    pub(super) fn watch(
        &mut self,
        cx: &mut Context<'_>,
        waiting: Option<Instant>,
        idle_read: Duration,
    ) {
        let (Some(since), None) = (waiting, &self.rest) else {
            return;
        };
        let floor = self.replay.origin().stall_floor(self.pace.before());
        let verdict = self.pace.judge(cx, since, floor);
        self.heed(verdict, since.elapsed() >= idle_read);
        if self.rest.is_none() && matches!(verdict, Verdict::Stalled(_)) {
            // It got no second connection, and is judged again after one more period.
            self.pace.judge(cx, since, floor);
        }
    }

    /// A connection that stands still, or nearly so, gets a second one beside it.
    fn heed(&mut self, verdict: Verdict, is_idle: bool) {
        if !self.continuation.is_told() || self.rest.is_some() {
            // Of a body without a told length nobody else knows the end: it may be in the making, and its pace its own.
            return;
        }
        let origin = self.replay.origin();
        let settings = origin.transfers();
        let pace = match verdict {
            Verdict::Open => return,
            Verdict::Came(pace) => return origin.gave(pace),
            Verdict::Stalled(pace) => pace,
        };
        let counters = &origin.state().counters;
        self.second = origin.try_slot();
        let may_be_asked = || origin.spend_on_stall() || is_idle && origin.spend();
        if self.second.is_none() || !self.attempts.may_open_second(settings) || !may_be_asked() {
            self.second = None;
            counters.stalls_denied.increment();
            return;
        }
        counters.stalls.increment();
        self.attempts.open_second();
        tracing::info!(
            id = self.replay.id(),
            trace_id = self.replay.trace_id().map(display),
            at_byte = self.continuation.next(),
            "a body stalls, a second connection asks for the rest"
        );
        // Where that is no better, it is how fast this body comes.
        self.pace.expect(pace);
        self.fetch(Duration::ZERO, Ask::Beside);
    }

    /// Whether the origin refused or was late at least once, and is asked again.
    pub(super) fn is_asked_again(&self) -> bool {
        self.attempts.is_trying() && self.broken.is_some()
    }
}
