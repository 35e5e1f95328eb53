//! Continues one body: breaks are resumed, a stalled connection gets a second one beside it, and whichever delivers is used.
//!
//! When a body counts as complete: its response declares its end (length or last chunk), or its length was known before its first
//! byte. If the first response declared no length, a 206 or 416 only tells the current length, and the file may still be growing:
//! such bytes are used, but the end must come from a complete response.

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

/// Continues one body after a break or stall: requests the rest, and joins it to what was received.
pub(super) struct Recovery {
    /// Makes the requests for the rest.
    pub(super) replay: Rc<Replay>,
    /// Position in the body, and the validator of the representation.
    pub(super) continuation: Continuation,
    /// The pending request for the rest: after a break, or beside a stalled connection.
    pub(super) rest: Option<RestFuture>,
    /// What the last request asked for.
    asked: Ask,
    /// The position of the body when it was sent.
    asked_at: u64,
    /// Delivered bytes that the framing has not confirmed, because their chunk has not ended.
    pub(super) unproven: Unproven,
    /// Bytes of the current response that were delivered before: compared, and skipped.
    overlap: Option<Overlap>,
    /// Bytes that may still be received again, of `transfers.resume_reread`.
    reread: u64,
    /// The original response, after it stalled: the fallback if no other one delivers.
    pub(super) standby: Option<Standby>,
    /// The break that the pending request resumes; none while the connection only stalls.
    pub(super) broken: Option<BodyError>,
    /// The second connection's slot.
    pub(super) second: Option<Slot>,
    attempts: Attempts,
    /// Throughput of the current response.
    pub(super) pace: Pace,
    /// Whether this is a part of a body over several connections: only a 206 is accepted.
    pub(super) is_part: bool,
    /// How the origin refused the last request, until the planner of the parts has noted it.
    pub(super) refused: Option<RestRefusal>,
    /// Whether the connection was given up for others, and the rest is not requested yet.
    pub(super) given_up: bool,
}

/// The original response, while a second connection delivers instead. It is not read meanwhile.
pub(super) struct Standby {
    reader: Reader,
    /// Position of its next byte.
    at: u64,
    /// Its delivered bytes that its framing has not confirmed.
    unproven: Unproven,
    /// The exchange slot of its connection.
    _slot: Option<Slot>,
}

/// The pending request for the rest.
type RestFuture = Pin<Box<dyn Future<Output = Result<Rest, RestError>>>>;

impl Recovery {
    /// For a body at `continuation`; `replay` makes the requests.
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

    /// Takes a piece of the current response, whose last `unproven` bytes the framing has not confirmed. Returns the bytes that
    /// were not delivered before.
    ///
    /// # Errors
    ///
    /// [`BodyError::Differs`] if repeated bytes differ from the delivered ones.
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
            // The stalled connection delivers again, and not only a trickle: the second one is not needed.
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

    /// The response ended: no second connection is needed, and its throughput is recorded for the origin.
    pub(super) fn ended(&mut self) {
        self.rest = None;
        self.second = None;
        if let Some(pace) = self.pace.ended().filter(|_| self.continuation.is_told()) {
            self.replay.origin().gave(pace);
        }
    }

    /// Whether everything that is wanted was received and confirmed.
    pub(super) fn is_proven(&self) -> bool {
        self.continuation.is_whole() && self.lacks().is_none() && self.unproven.is_empty()
    }

    /// Why the body is incomplete at the end of the current response.
    pub(super) fn lacks(&self) -> Option<BodyError> {
        if self.overlap.is_some() || self.continuation.falls_short() {
            // A framing that ends too early is a break as well.
            return Some(BodyError::Cut);
        }
        self.continuation.is_assumed().then_some(BodyError::NoEnd)
    }

    /// The delivered bytes that are unconfirmed: another response must repeat them.
    fn owed(&self) -> &Unproven {
        match &self.overlap {
            Some(overlap) => overlap.owed(),
            None => &self.unproven,
        }
    }

    /// What to request after a break; `None` if too much would be received again, or more was delivered than the body has.
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

    /// The body broke: requests the rest, if that is allowed.
    pub(super) fn begin(&mut self, error: BodyError) -> Result<(), BodyError> {
        if let Some(overlap) = self.overlap.take() {
            // The bytes that the overlap was to confirm are still unconfirmed.
            self.unproven = overlap.into_owed();
        }
        if error.violates_protocol() {
            // A wrong chunk size may have let wrong bytes through: nothing is appended to them.
            return Err(error);
        }
        if self.rest.is_some() {
            // Already requested, because the connection stalled before it broke.
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

    /// Requests what is missing, because no connection delivers it.
    pub(super) fn ask_for_the_rest(&mut self, ask: Ask) {
        self.broken = Some(BodyError::NoRest);
        self.fetch(Duration::ZERO, ask);
    }

    /// Sends the request, from the first unconfirmed byte on.
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
                    // A head without a body byte is no better than a stalled response.
                    reader.begin(patience).await?;
                }
                Ok(rest)
            };
            tokio::time::timeout(patience, rest)
                .await
                .unwrap_or(Err(RestError::Late(patience)))
        }));
    }

    /// The rest is here and replaces `reader`, unless that only stalled and has delivered more by now. A stalled original response
    /// is kept as the fallback; `slot` is for its connection.
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

    /// The original response as fallback, if it only stalled, and if `error` does not put what was delivered since into doubt.
    pub(super) fn fall_back(&mut self, error: &BodyError) -> Option<Reader> {
        let standby = self.standby.take().filter(|_| !error.violates_protocol())?;
        let again = self.continuation.next() - standby.at;
        let owed = std::mem::replace(&mut self.unproven, standby.unproven);
        self.overlap = Overlap::new(again, owed).ok()?;
        tracing::info!(id = self.replay.id(), trace_id = self.replay.trace_id().map(display), at_byte = self.continuation.next(), cause = %error, "the first response to a body goes on");
        self.pace.restart();
        Some(standby.reader)
    }

    /// The request for the rest failed: tries again, or gives up.
    pub(super) fn failed(&mut self, error: &RestError) -> Result<(), BodyError> {
        let Some(broken) = self.broken.take() else {
            // Only the second connection failed: the first one continues.
            self.attempts.second_failed();
            tracing::debug!(%error, "a second connection for a stalled body failed");
            return Ok(());
        };
        if self.asked == Ask::Beside && !error.is_passing() {
            // It was requested while the first response was open; now a weaker requirement is enough.
            return self.begin(broken);
        }
        self.refused = Some(error.refusal());
        if !self.is_part
            && matches!(broken, BodyError::NoRest)
            && self.refused == Some(RestRefusal::Denied)
        {
            // Requests for targets like this keep their connections.
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

    /// Called while the client is ready to read and the connection is waited for. After `idle_read` it gets a second connection
    /// even if the budget for stalls is spent or its URL may be valid for so many requests only, as after a break.
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
            // It got no second connection; it is judged again after the next period.
            self.pace.judge(cx, since, floor);
        }
    }

    /// Opens a second connection beside one that stalls.
    fn heed(&mut self, verdict: Verdict, is_idle: bool) {
        if !self.continuation.is_told() || self.rest.is_some() {
            // Without a declared length the file may still be growing, at its own pace.
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
        let may_be_asked = || {
            let by_stall = self.replay.may_be_asked_beside(Instant::now());
            by_stall && origin.spend_on_stall() || is_idle && origin.spend()
        };
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
        // If the second connection is no faster, this is the body's throughput.
        self.pace.expect(pace);
        self.fetch(Duration::ZERO, Ask::Beside);
    }

    /// Whether the origin refused or was late at least once, and is being asked again.
    pub(super) fn is_asked_again(&self) -> bool {
        self.attempts.is_trying() && self.broken.is_some()
    }
}
