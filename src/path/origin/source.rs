//! One body from the origin, whatever becomes of its connections: what breaks is resumed, what stands still gets a
//! second connection, and whichever delivers goes on.

use std::{
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    connection::Connection,
    pace::Pace,
    pool::Pool,
    reader::{BodyError, Reader},
    resume::{Replay, Rest, ResumeError},
    slots::{Slot, Yields},
};
use crate::{
    path::{framing::Head, range::Continuation},
    traffic::tuning::Tuning,
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

/// What fetches a body over several connections beside its first response.
pub struct Widened {
    /// Asks for the parts.
    pub replay: Rc<Replay>,
    /// Where the body stands.
    pub whole: Continuation,
    /// The byte behind the first response's last.
    pub reach: u64,
    /// The byte behind the body's last.
    pub end: u64,
}

/// How the body goes on if it breaks.
struct Resume {
    replay: Rc<Replay>,
    continuation: Continuation,
    /// The rest, on its way: after a break, or beside a connection that stands still.
    rest: Option<Fetching>,
    /// The break that the rest mends; none while the connection only stands still.
    broken: Option<BodyError>,
    /// The second connection's slot.
    second: Option<Slot>,
    /// Attempts since the last progress.
    attempts: u32,
    /// Attempts in all.
    spent: u32,
    /// Where the last attempt began.
    from: u64,
    pace: Pace,
    /// Whether the response at hand goes on to the end of what was asked for first.
    to_the_end: bool,
    /// When the line was last looked at.
    looked: Instant,
    /// How long the origin is to be left alone.
    retry_after: Duration,
    /// The origin did not give what was asked for, and nobody has taken note of it yet.
    refused: bool,
    /// The connection was given up, and the rest is not asked for yet.
    given_up: bool,
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
    pub fn part(replay: Rc<Replay>, part: Continuation, slot: Option<Slot>) -> Self {
        let reader = Reader::nothing(Rc::clone(replay.origin().pool()));
        let mut resume = Resume::new(replay, part);
        resume.ask_for_the_rest();
        Source {
            here: None,
            reader,
            expected: None,
            slot,
            resume: Some(resume),
        }
    }

    /// The response at hand is only the first part of the body.
    pub fn is_a_part(&mut self) {
        if let Some(resume) = &mut self.resume {
            resume.to_the_end = false;
        }
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

    /// Whether the connection is asked for.
    pub fn is_asked_for(&self) -> bool {
        self.slot.as_ref().is_some_and(Slot::is_asked)
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
        (resume.rest, resume.second) = (None, None);
        resume.given_up = true;
        slot.give_up();
        let origin = resume.replay.origin();
        origin.published().counters.origin.given_up.increment();
        true
    }

    /// Whether the response at hand goes on to the end of what was asked for first.
    pub fn runs_to_the_end(&self) -> bool {
        self.resume.as_ref().is_some_and(|resume| {
            resume.to_the_end
                && resume.broken.is_none()
                && resume.rest.is_none()
                && !resume.given_up
        })
    }

    /// Whether the origin refused to go on with the body, or was too late with it, and nobody has taken note of it yet.
    pub fn is_refused(&self) -> bool {
        self.resume.as_ref().is_some_and(|resume| resume.refused)
    }

    /// That was taken note of.
    pub fn note_refusal(&mut self) {
        if let Some(resume) = &mut self.resume {
            resume.refused = false;
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

    /// What fetches the body over several connections, if its line and its rest make that worth it.
    pub fn widens(&mut self, tuning: &Tuning) -> Option<Widened> {
        let resume = self.resume.as_mut().filter(|_| tuning.parallel)?;
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
        let worth_it =
            resume.replay.origin().wants_several() && left >= settings.parallel_least.as_u64();
        let end = left + resume.continuation.next();
        worth_it.then(|| Widened {
            replay: Rc::clone(&resume.replay),
            whole: resume.continuation.clone(),
            reach: end,
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
        let rest_to_come = self
            .resume
            .as_ref()
            .is_some_and(|resume| resume.rest.is_some() || resume.given_up);
        !self.reader.is_done() || rest_to_come
    }

    /// The slot goes to whoever waits once no connection is needed any more.
    fn settle(&mut self) {
        if !self.needs_connection() {
            self.slot = None;
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

    fn poll_through_breaks(
        &mut self,
        cx: &mut Context<'_>,
        tuning: &Tuning,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let Some(resume) = &mut self.resume else {
                return self.reader.poll_piece(cx, tuning.idle_read);
            };
            if std::mem::take(&mut resume.given_up) {
                // It goes without a slot where none is free: its client has waited already.
                if let Some(slot) = &mut self.slot {
                    slot.moves();
                }
                resume.ask_for_the_rest();
            }
            if resume.broken.is_none() {
                match self.reader.poll_piece(cx, tuning.idle_read) {
                    Poll::Ready(Some(Ok(piece))) => {
                        resume.took(piece.len());
                        return Poll::Ready(Some(Ok(piece)));
                    }
                    // A framing that ends too early, by its own rules, is a break as well.
                    Poll::Ready(None) if resume.continuation.falls_short() => {
                        if let Err(error) = resume.begin(BodyError::Cut) {
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                    Poll::Ready(None) => return Poll::Ready(None),
                    Poll::Ready(Some(Err(error))) => {
                        if resume.continuation.is_whole() {
                            // All of it came; what broke is only the coding's end.
                            return Poll::Ready(None);
                        }
                        if let Err(error) = resume.begin(error) {
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                    Poll::Pending => resume.watch(cx, self.reader.waiting()),
                }
            }
            let Some(rest) = &mut resume.rest else {
                return Poll::Pending;
            };
            match std::task::ready!(rest.as_mut().poll(cx)) {
                Ok(Rest {
                    continuation,
                    reader,
                }) => {
                    resume.rest = None;
                    resume.second = None;
                    resume.mended(&continuation);
                    resume.continuation = continuation;
                    match reader {
                        Some(reader) => self.reader = reader,
                        None => return Poll::Ready(None),
                    }
                }
                Err(error) => {
                    resume.rest = None;
                    resume.second = None;
                    if let Err(error) = resume.failed(&error) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
            }
        }
    }
}

impl Resume {
    fn new(replay: Rc<Replay>, continuation: Continuation) -> Self {
        let pace = Pace::new(replay.origin().transfers().stall_window);
        let now = Instant::now();
        let looked = now.checked_sub(LOOK).unwrap_or(now);
        let from = continuation.next();
        Resume {
            replay,
            continuation,
            rest: None,
            broken: None,
            second: None,
            attempts: 0,
            spent: 0,
            from,
            pace,
            to_the_end: true,
            looked,
            retry_after: Duration::ZERO,
            refused: false,
            given_up: false,
        }
    }

    fn took(&mut self, bytes: usize) {
        self.continuation.advance(bytes as u64);
        if let Some(pace) = self.pace.moved(bytes, Instant::now()) {
            self.replay.origin().gave(pace);
        }
        // The connection that stood still moves again: the second one is not needed.
        self.rest = None;
        self.second = None;
        let progress = self.replay.origin().transfers().resume_progress.as_u64();
        let came = self.continuation.next() - self.from;
        if self.attempts > 0 && (came >= progress || self.continuation.is_whole()) {
            self.attempts = 0;
            self.replay.origin().refund(1.0);
        }
    }

    /// The body broke: asks for the rest, if that may be.
    fn begin(&mut self, error: BodyError) -> Result<(), BodyError> {
        if self.rest.is_some() {
            // It is on its way already, for the connection stood still before it broke.
            self.broken = Some(error);
            return Ok(());
        }
        let settings = self.replay.origin().transfers();
        let counters = &self.replay.origin().published().counters.origin;
        if self.attempts >= settings.resume_attempts || self.spent >= settings.resume_limit {
            counters.resumes_given_up.increment();
            return Err(error);
        }
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
        self.fetch(wait);
        self.broken = Some(error);
        Ok(())
    }

    /// Asks for what is still to come, where no connection brings it.
    fn ask_for_the_rest(&mut self) {
        self.to_the_end = false;
        self.broken = Some(BodyError::NoRest);
        self.fetch(Duration::ZERO);
    }

    fn fetch(&mut self, wait: Duration) {
        let (replay, continuation) = (Rc::clone(&self.replay), self.continuation.clone());
        let patience = self.patience();
        self.rest = Some(Box::pin(async move {
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            tokio::time::timeout(patience, replay.fetch_rest(continuation))
                .await
                .unwrap_or(Err(ResumeError::Late(patience)))
        }));
    }

    /// How long a request for the rest may stay without an answer before another connection is tried: much longer than
    /// the origin lately took, or for this body's first answer, and twice as long each time.
    fn patience(&self) -> Duration {
        let window = self.replay.origin().transfers().stall_window;
        let patience = window.max(self.replay.usual_ttfb().saturating_mul(LATE));
        patience.saturating_mul(1 << self.attempts.min(16))
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

    /// The rest is here.
    fn mended(&mut self, rest: &Continuation) {
        let counters = &self.replay.origin().published().counters.origin;
        self.to_the_end = false;
        match self.broken.take() {
            Some(BodyError::NoRest) => {}
            Some(_) => counters.resumed.increment(),
            None => counters.stalls_mended.increment(),
        }
        tracing::debug!(at_byte = rest.next(), "the rest of a body is coming");
        self.pace.restart();
    }

    /// The rest did not come: once more, or the end.
    fn failed(&mut self, error: &ResumeError) -> Result<(), BodyError> {
        let Some(broken) = self.broken.take() else {
            // Only a second connection that failed: the first goes on.
            tracing::debug!(%error, "a second connection for a stalled body failed");
            return Ok(());
        };
        if error.is_passing() {
            self.refused = true;
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

    /// A connection that stands still while the client is ready to read gets a second one beside it.
    fn watch(&mut self, cx: &mut Context<'_>, waiting: Option<Instant>) {
        let (Some(since), None) = (waiting, &self.rest) else {
            return;
        };
        let origin = self.replay.origin();
        let settings = origin.transfers();
        let floor = origin.stall_floor();
        if !self.pace.is_stalled(cx, since, floor) {
            return;
        }
        let counters = &origin.published().counters.origin;
        self.second = origin.try_slot();
        if self.second.is_none() || self.spent >= settings.resume_limit || !origin.spend_on_stall()
        {
            self.second = None;
            counters.stalls_denied.increment();
            // Asked again after one more period.
            self.pace.restart();
            self.pace.is_stalled(cx, since, floor);
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
        self.fetch(Duration::ZERO);
        self.pace.restart();
    }
}
