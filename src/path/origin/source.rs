//! One body from the origin, whatever becomes of its connections: what breaks is resumed, what stands still gets a
//! second connection, and whichever delivers goes on.
//!
//! What may look whole: a body whose response tells its end by itself (a length, a last chunk), or whose length was told
//! before any of it came. Where the first response told no length, a part or a 416 tells only what there is by now, for the
//! file may still be in the making: its bytes are used, but the end must come from a response with all of it.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    body_error::BodyError,
    connection::Connection,
    overlap::{Differs, Overlap, Unproven},
    pace::{Pace, Verdict},
    parallel_plan::ParallelPlan,
    pool::Pool,
    reader::Reader,
    resume::{Replay, Rest, RestRefusal, ResumeError},
    slots::{Slot, Yields},
};
use crate::{
    path::{
        continuation::{Ask, Continuation, Mismatch},
        framing::Head,
    },
    traffic::{tolerance::Allowance, tuning::Tuning},
};

/// One body, from its first byte to its last.
pub struct Source {
    /// What was read of it already, and comes first.
    here: Option<Bytes>,
    reader: Reader,
    /// How many more bytes must come before the end, where the head says it beside the framing.
    expected: Option<u64>,
    slot: Option<Slot>,
    resume: Option<Resume>,
}

/// How the body goes on if it breaks.
struct Resume {
    replay: Rc<Replay>,
    continuation: Continuation,
    /// The rest, on its way: after a break, or beside a connection that stands still.
    rest: Option<Fetching>,
    /// What was asked for by that.
    asked: Ask,
    /// Where the body stood then.
    asked_at: u64,
    /// What came of the response at hand and its framing has not vouched for; after a break, of what was sent.
    unproven: Unproven,
    /// What still comes for the second time.
    overlap: Option<Overlap>,
    /// Bytes that may be read for the second time.
    reread: u64,
    /// The first response, which stood still; it goes on where nothing else does.
    standby: Option<Standby>,
    /// The break that the rest mends; none while the connection only stands still.
    broken: Option<BodyError>,
    /// The second connection's slot.
    second: Option<Slot>,
    /// Attempts since the last progress.
    attempts: u32,
    /// Second connections since the last byte that brought none.
    in_vain: u32,
    /// Attempts in all.
    spent: u32,
    /// Where the last attempt began.
    from: u64,
    pace: Pace,
    /// It is a part of a body: others bring the rest, and nothing but its like is asked for.
    is_part: bool,
    /// When the line was last looked at.
    looked: Instant,
    /// How long the origin is to be left alone.
    retry_after: Duration,
    /// The origin did not give what was asked for, and nobody has taken note of it yet.
    refused: Option<RestRefusal>,
    /// The connection was given up, and the rest is not asked for yet.
    given_up: bool,
}

/// A response that stood still when a second one took over. It is not read as long as that goes on.
struct Standby {
    reader: Reader,
    /// Where it stands.
    at: u64,
    unproven: Unproven,
    /// For its connection.
    _slot: Option<Slot>,
}

/// How often a body's line is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// An answer that takes so many times the median, or so many round trips, may be one that will not come.
const LATE: u32 = 8;

type Fetching = Pin<Box<dyn Future<Output = Result<Rest, ResumeError>>>>;

impl Source {
    /// The body behind `head`.
    pub fn new(connection: Connection, head: Head, slot: Slot, pool: Rc<Pool>) -> Self {
        slot.yields(Yields::ByEnding);
        let mut source = Source {
            here: None,
            reader: Reader::new(connection, head, pool),
            expected: None,
            slot: Some(slot),
            resume: None,
        };
        source.settle();
        source
    }

    /// A body that is here: no connection is needed for it.
    pub fn here(body: Bytes, pool: Rc<Pool>) -> Self {
        Source {
            here: Some(body),
            reader: Reader::nothing(pool),
            expected: None,
            slot: None,
            resume: None,
        }
    }

    /// Takes back what was read of it so far.
    pub fn put_back(&mut self, read: Bytes) {
        self.here = Some(read);
    }

    /// The body has so many bytes, whatever its framing says.
    pub fn expect(&mut self, bytes: Option<u64>) {
        self.expected = bytes;
    }

    /// From now on a break is mended by asking for the rest.
    pub fn resume_by(&mut self, replay: Rc<Replay>, continuation: Continuation) {
        self.resume = Some(Resume::new(replay, continuation));
    }

    /// A part of a body, still to be asked for.
    pub fn part(replay: Rc<Replay>, part: Continuation) -> Self {
        let reader = Reader::nothing(Rc::clone(replay.origin().pool()));
        let mut resume = Resume::new(replay, part);
        resume.is_part = true;
        resume.ask_for_the_rest(Ask::Part);
        Source {
            here: None,
            reader,
            expected: None,
            slot: None,
            resume: Some(resume),
        }
    }

    /// How many of the bytes that came out last the framing has not vouched for yet: if it is broken, they may be none of
    /// the body's.
    pub fn unproven(&self) -> u64 {
        self.reader.unproven()
    }

    /// The slot, for whoever uses the source.
    pub fn take_slot(&mut self) -> Option<Slot> {
        self.slot.take().inspect(|slot| slot.yields(Yields::Never))
    }

    /// Whether the connection may be given up while the client takes nothing, and the rest be asked for later.
    pub fn may_go_on_later(&mut self, offers_ranges: bool) {
        let knows_its_end = |resume: &Resume| resume.continuation.end().is_some();
        if let Some(slot) = &self.slot
            && offers_ranges
            && self.resume.as_ref().is_some_and(knows_its_end)
        {
            slot.yields(Yields::ByRange);
        }
    }

    /// Nothing but the client is waited for: the connection can do without a slot.
    pub fn park(&mut self, cx: &Context<'_>) {
        self.pause();
        if let Some(slot) = &mut self.slot {
            slot.parks(cx);
        }
    }

    /// Whether the connection is asked for. A link that may not be good for another request keeps it: somebody else is
    /// asked then.
    pub fn is_asked_for(&mut self) -> bool {
        let Some(slot) = self.slot.as_mut().filter(|slot| slot.is_asked()) else {
            return false;
        };
        let is_good_once =
            |resume: &Resume| resume.replay.allowance(Instant::now()) == Allowance::Nothing;
        !(self.resume.as_ref().is_some_and(is_good_once) && slot.declines())
    }

    /// Gives the connection up; the rest is asked for when the next piece is. Whether that can be done.
    pub fn give_up(&mut self) -> bool {
        let (Some(slot), Some(resume)) = (&mut self.slot, &mut self.resume) else {
            return false;
        };
        if resume.continuation.end().is_none() {
            return false;
        }
        self.reader = Reader::nothing(Rc::clone(resume.replay.origin().pool()));
        (resume.rest, resume.second, resume.standby) = (None, None, None);
        resume.given_up = true;
        slot.give_up();
        let origin = resume.replay.origin();
        origin.published().counters.origin.given_up.increment();
        true
    }

    /// How the origin refused to go on with the body, where nobody has taken note of it yet.
    pub fn refusal(&self) -> Option<RestRefusal> {
        self.resume.as_ref().and_then(|resume| resume.refused)
    }

    /// Clears what [`Source::refusal`] tells, so that one refusal counts once.
    pub fn note_refusal(&mut self) {
        if let Some(resume) = &mut self.resume {
            resume.refused = None;
        }
    }

    /// Whether the origin refused or was late at least once, and is asked again.
    pub fn is_asked_again(&self) -> bool {
        let resume = self.resume.as_ref();
        resume.is_some_and(|resume| resume.attempts > 0 && resume.broken.is_some())
    }

    /// All else waits for this body: a stall is one after so much waiting already.
    pub fn hurry(&mut self, window: Duration) {
        if let Some(resume) = &mut self.resume {
            resume.pace.hurry(window);
        }
    }

    /// Only what lies before `end` is wanted from now on.
    pub fn limit(&mut self, end: u64) {
        if let Some(resume) = &mut self.resume {
            resume.continuation.limit(end);
        }
    }

    /// Plans to fetch the rest over several connections, where the line and the length of the rest make that worth it. The line
    /// is looked at a few times a second at most; in between there is no plan.
    pub fn plan_parallel(&mut self, tuning: &Tuning) -> Option<ParallelPlan> {
        let resume = self.resume.as_mut().filter(|_| tuning.parallel)?;
        if !resume.continuation.may_be_divided() {
            return None;
        }
        if self.here.is_some() {
            return None;
        }
        let now = Instant::now();
        let settings = resume.replay.origin().transfers();
        if now < resume.looked + LOOK
            || resume.broken.is_some()
            || resume.rest.is_some()
            || resume.given_up
        {
            return None;
        }
        resume.looked = now;
        if let Some(connection) = self.reader.connection() {
            resume.replay.origin().look(connection);
        }
        let left = resume
            .continuation
            .end()?
            .checked_sub(resume.continuation.next())?;
        let worth_it = resume.replay.origin().wants_several()
            && left >= settings.parallel_least.as_u64()
            && resume.replay.allowance(now) != Allowance::Nothing;
        let end = left + resume.continuation.next();
        worth_it.then(|| ParallelPlan {
            replay: Rc::clone(&resume.replay),
            whole: resume.continuation.clone(),
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
            // What was read of it may be a part: the rest, or what mends a break, is then still to come.
            let is_whole = !self.needs_connection();
            return self.here.take_if(|_| is_whole);
        }
        let whole = self.reader.take_whole();
        self.settle();
        whole
    }

    /// The origin is not waited for just now.
    pub fn pause(&mut self) {
        self.reader.pause();
        if let Some(resume) = &mut self.resume {
            resume.pace.pause();
        }
    }

    /// Whether no more is to come.
    pub fn is_done(&self) -> bool {
        self.here.is_none() && !self.needs_connection()
    }

    fn needs_connection(&self) -> bool {
        let rest_to_come = self.resume.as_ref().is_some_and(|resume| {
            resume.rest.is_some()
                || resume.given_up
                || resume.continuation.falls_short()
                || resume.continuation.is_assumed()
        });
        !self.reader.is_done() || rest_to_come
    }

    /// The slot goes to whoever waits once no connection is needed any more.
    fn settle(&mut self) {
        if !self.needs_connection() {
            self.slot = None;
            if let Some(resume) = &mut self.resume {
                resume.standby = None;
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

    /// The next piece of the response at hand alone, for what is read past: a break is not mended, a stall not watched for.
    pub fn poll_alone(
        &mut self,
        cx: &mut Context<'_>,
        idle: Duration,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        let is_broken = |resume: &Resume| resume.broken.is_some();
        if self.here.is_some() || self.resume.as_ref().is_some_and(is_broken) {
            return Poll::Ready(None);
        }
        let piece = self.reader.poll_piece(cx, idle);
        if let (Poll::Ready(Some(Ok(piece))), Some(resume)) = (&piece, &mut self.resume) {
            resume.continuation.advance(piece.len() as u64);
        }
        piece
    }

    fn poll_through_breaks(
        &mut self,
        cx: &mut Context<'_>,
        tuning: &Tuning,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let Some(resume) = &mut self.resume else {
                return self.reader.poll_piece(cx, tuning.idle_limit);
            };
            if std::mem::take(&mut resume.given_up) {
                // It goes without a slot where none is free: its client has waited already.
                if let Some(slot) = &mut self.slot {
                    slot.moves();
                }
                resume.ask_for_the_rest(Ask::Rest);
            }
            if resume.broken.is_none() {
                let polled = self.reader.poll_piece(cx, tuning.idle_limit);
                if self.reader.unproven() == 0 {
                    resume.unproven.prove();
                }
                let ended = match polled {
                    Poll::Ready(Some(Ok(piece))) => {
                        match resume.took(piece, self.reader.unproven()) {
                            // All of it was sent before.
                            Ok(piece) if piece.is_empty() => continue,
                            Ok(piece) => return Poll::Ready(Some(Ok(piece))),
                            Err(error) => Some(error),
                        }
                    }
                    Poll::Ready(None) => match resume.lacks() {
                        None => {
                            resume.ended();
                            return Poll::Ready(None);
                        }
                        lacks => lacks,
                    },
                    // All of it came; what broke is only the coding's end.
                    Poll::Ready(Some(Err(error))) if !error.is_a_lie() && resume.is_proven() => {
                        return Poll::Ready(None);
                    }
                    Poll::Ready(Some(Err(error))) => Some(error),
                    Poll::Pending => {
                        resume.watch(cx, self.reader.waiting(), tuning.idle_read);
                        None
                    }
                };
                if let Some(error) = ended
                    && let Err(error) = resume.begin(error)
                {
                    match resume.fall_back(&error) {
                        Some(reader) => self.reader = reader,
                        None => return Poll::Ready(Some(Err(error))),
                    }
                    continue;
                }
            }
            let Some(rest) = &mut resume.rest else {
                return Poll::Pending;
            };
            let rest = std::task::ready!(rest.as_mut().poll(cx));
            resume.rest = None;
            let slot = resume.second.take();
            let mended = rest.and_then(|rest| resume.mended(rest, &mut self.reader, slot));
            if let Err(error) = mended
                && let Err(error) = resume.failed(&error)
            {
                match resume.fall_back(&error) {
                    Some(reader) => self.reader = reader,
                    None => return Poll::Ready(Some(Err(error))),
                }
            }
        }
    }
}

impl Resume {
    fn new(replay: Rc<Replay>, continuation: Continuation) -> Self {
        let settings = replay.origin().transfers();
        let pace = Pace::new(settings.stall_window);
        let reread = settings.resume_reread.as_u64();
        let now = Instant::now();
        let looked = now.checked_sub(LOOK).unwrap_or(now);
        let from = continuation.next();
        Resume {
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
            attempts: 0,
            in_vain: 0,
            spent: 0,
            from,
            pace,
            is_part: false,
            looked,
            retry_after: Duration::ZERO,
            refused: None,
            given_up: false,
        }
    }

    /// A piece came, and with it so many bytes in a row that nothing vouches for yet. What of it was not sent before.
    fn took(&mut self, mut piece: Bytes, unproven: u64) -> Result<Bytes, BodyError> {
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
            let counters = &self.replay.origin().published().counters.origin;
            counters.reread_bytes.add(read);
        }
        self.continuation.advance(piece.len() as u64);
        if !piece.is_empty() {
            self.in_vain = 0;
        }
        let progress = self.replay.origin().transfers().resume_progress.as_u64();
        if self.rest.is_some() && self.continuation.next() - self.asked_at >= progress {
            // The connection that stood still moves again, and does not only trickle: the second one is not needed.
            self.rest = None;
            self.second = None;
        }
        let came = self.continuation.next() - self.from;
        if self.attempts > 0 && (came >= progress || self.continuation.is_whole()) {
            self.attempts = 0;
            self.replay.origin().refund(1.0);
        }
        if self.continuation.is_whole() {
            self.ended();
        } else {
            self.heed(verdict, false);
        }
        Ok(piece)
    }

    /// All of the response came.
    fn ended(&mut self) {
        self.rest = None;
        self.second = None;
        if let Some(pace) = self.pace.ended().filter(|_| self.continuation.is_told()) {
            self.replay.origin().gave(pace);
        }
    }

    /// Whether all that is wanted came, and nothing of it is in doubt.
    fn is_proven(&self) -> bool {
        self.continuation.is_whole() && self.lacks().is_none() && self.unproven.is_empty()
    }

    /// Why the body is not whole at the end of the response at hand.
    fn lacks(&self) -> Option<BodyError> {
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
    fn begin(&mut self, error: BodyError) -> Result<(), BodyError> {
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
        let counters = &self.replay.origin().published().counters.origin;
        let ask = self.ask().filter(|_| {
            self.attempts < settings.resume_attempts && self.spent < settings.resume_limit
        });
        let Some(ask) = ask else {
            counters.resumes_given_up.increment();
            return Err(error);
        };
        if self.spent > 0 {
            // What the last attempt brought was something. One that brought twice what counts as progress pays for one
            // that brings next to nothing: so those that bring enough on average never run dry.
            let came = (self.continuation.next() - self.from) as f64;
            let worth = came / settings.resume_progress.as_u64().max(1) as f64;
            // Progress was paid back as it came.
            let paid = if self.attempts > 0 { 0.0 } else { 1.0 };
            let owed = (worth - paid).clamp(0.0, 1.0);
            self.replay.origin().refund(owed);
        }
        if !self.replay.origin().spend() {
            counters.resumes_denied.increment();
            tracing::warn!(id = self.replay.id(), trace_id = self.replay.trace_id().map(display), cause = %error, "a body is not resumed: too many were already");
            return Err(error);
        }
        let asked = std::mem::take(&mut self.retry_after);
        let wait = self.backoff().max(asked.min(settings.backoff_max));
        self.attempts += 1;
        self.spent += 1;
        self.from = self.continuation.next();
        counters.resumes.increment();
        tracing::info!(id = self.replay.id(), trace_id = self.replay.trace_id().map(display), at_byte = self.from, attempt = self.attempts, cause = %error, "a body broke, asking for the rest");
        self.fetch(wait, ask);
        self.broken = Some(error);
        Ok(())
    }

    /// Asks for what is still to come, where no connection brings it.
    fn ask_for_the_rest(&mut self, ask: Ask) {
        self.broken = Some(BodyError::NoRest);
        self.fetch(Duration::ZERO, ask);
    }

    /// Sends the request, from the first byte on that nothing vouches for.
    fn fetch(&mut self, wait: Duration, ask: Ask) {
        (self.asked, self.asked_at) = (ask, self.continuation.next());
        let from = self.continuation.next() - self.owed().len();
        let (replay, continuation) = (Rc::clone(&self.replay), self.continuation.at(from));
        let patience = self.patience();
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
                .unwrap_or(Err(ResumeError::Late(patience)))
        }));
    }

    /// How long a request for the rest may stay without an answer, or beside a response that stands still without a byte,
    /// before another connection is tried: much longer than the origin lately took, or for this body's first answer, and
    /// twice as long each time.
    fn patience(&self) -> Duration {
        let window = self.replay.origin().transfers().stall_window;
        let patience = window.max(self.replay.usual_ttfb().saturating_mul(LATE));
        patience.saturating_mul(1 << self.attempts.max(self.in_vain).min(16))
    }

    /// Nothing before the first attempt, then twice as long each time, with jitter.
    fn backoff(&self) -> Duration {
        let settings = self.replay.origin().transfers();
        if self.attempts == 0 {
            return Duration::ZERO;
        }
        let doubled = settings
            .backoff_min
            .saturating_mul(1 << (self.attempts - 1).min(16));
        doubled
            .min(settings.backoff_max)
            .mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// The rest is here, and takes the place of `reader`, unless that only stood still and is further by now. It is kept
    /// if it is the first response, and only stood still; `slot` is for the connection that is kept.
    fn mended(
        &mut self,
        rest: Rest,
        reader: &mut Reader,
        slot: Option<Slot>,
    ) -> Result<(), ResumeError> {
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
        let counters = &self.replay.origin().published().counters.origin;
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
    fn fall_back(&mut self, error: &BodyError) -> Option<Reader> {
        let standby = self.standby.take().filter(|_| !error.is_a_lie())?;
        let again = self.continuation.next() - standby.at;
        let owed = std::mem::replace(&mut self.unproven, standby.unproven);
        self.overlap = Overlap::new(again, owed).ok()?;
        tracing::info!(id = self.replay.id(), trace_id = self.replay.trace_id().map(display), at_byte = self.continuation.next(), cause = %error, "the first response to a body goes on");
        self.pace.restart();
        Some(standby.reader)
    }

    /// The rest did not come: once more, or the end.
    fn failed(&mut self, error: &ResumeError) -> Result<(), BodyError> {
        let Some(broken) = self.broken.take() else {
            // Only a second connection that failed: the first goes on.
            self.in_vain += 1;
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
            self.retry_after = error.retry_after().max(least);
            return self.begin(broken);
        }
        self.replay
            .origin()
            .published()
            .counters
            .origin
            .resumes_given_up
            .increment();
        tracing::warn!(id = self.replay.id(), trace_id = self.replay.trace_id().map(display), at_byte = self.continuation.next(), cause = %broken, %error, "a body that broke cannot be resumed");
        Err(broken)
    }

    /// The connection is waited for, while the client is ready to read. After `idle_read` it gets a second one also where the
    /// budget for stalls is spent, like a body that broke.
    fn watch(&mut self, cx: &mut Context<'_>, waiting: Option<Instant>, idle_read: Duration) {
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
        let counters = &origin.published().counters.origin;
        self.second = origin.try_slot();
        let may_be_asked = || origin.spend_on_stall() || is_idle && origin.spend();
        if self.second.is_none() || self.spent >= settings.resume_limit || !may_be_asked() {
            self.second = None;
            counters.stalls_denied.increment();
            return;
        }
        counters.stalls.increment();
        self.spent += 1;
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
}
