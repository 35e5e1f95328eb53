//! The parts of bodies that are under way at the origin, over all workers, and how they make room for others.
//!
//! An origin that limits connections or requests by address sees one address for all clients. Whom it turns away while
//! parts are under way, a plain proxy might have got through: the parts are given up, and the request is made again.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    task::Waker,
    time::{Duration, Instant},
};

use actix_http::{Method, StatusCode};
use awc::FrozenClientRequest;
use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use super::{
    connect::ConnectError,
    exchange::{Answered, HeadError},
    fetch::{Beside, FetchError, target_of},
    slots::Slot,
    worker::Origin,
};
use crate::traffic::tuning::Tuning;

/// Waits before a request that was turned away is made again: the origin must notice first that connections closed.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(1),
];
/// How long no part is asked for after they were given up: until that request has had its chance. Twice as long for each
/// time that it was of no use, so that who asks for what he does not get cannot make the origin busy so.
const REST: Duration = Duration::from_secs(3);
/// The same at most.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// After so long without a use, or without any, it begins anew.
const FORGOTTEN: Duration = Duration::from_secs(300);
/// How long a part that ended may still count at the origin.
const LINGERS: Duration = Duration::from_secs(1);
/// How long the bodies may take to give their parts up.
const CLEARING: Duration = Duration::from_millis(200);

/// When none is asked for.
#[derive(Clone, Copy, Debug)]
struct Rest {
    /// When the last part ended.
    since: Option<Instant>,
    until: Instant,
    /// How long it is the next time.
    next: Duration,
}

/// The parts under way. Shared by all workers.
#[derive(Debug)]
pub struct Crowd {
    under_way: AtomicUsize,
    /// Of them, those that the origin has not answered.
    unanswered: AtomicUsize,
    /// Bodies in parts that may keep a slot for the part that is due.
    anchored: AtomicUsize,
    /// How often parts were given up.
    calls: AtomicU64,
    rest: Mutex<Rest>,
    /// Wakes the bodies. A std mutex: held for a few instructions, once for each body in parts.
    bodies: Mutex<Vec<Weak<AtomicWaker>>>,
    cleared: Notify,
}

impl Crowd {
    /// None under way.
    pub fn new(now: Instant) -> Self {
        Crowd {
            under_way: AtomicUsize::new(0),
            unanswered: AtomicUsize::new(0),
            anchored: AtomicUsize::new(0),
            calls: AtomicU64::new(0),
            rest: Mutex::new(Rest {
                since: None,
                until: now,
                next: REST,
            }),
            bodies: Mutex::default(),
            cleared: Notify::new(),
        }
    }

    /// A body that comes in parts from now on.
    pub(super) fn join(self: &Arc<Self>) -> Member {
        let waker = Arc::new(AtomicWaker::new());
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.retain(|body| body.strong_count() > 0);
        bodies.push(Arc::downgrade(&waker));
        Member {
            waker,
            heard: self.calls.load(SeqCst),
            crowd: Arc::clone(self),
        }
    }

    /// One more part is asked for.
    pub(super) fn part(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, SeqCst);
        self.unanswered.fetch_add(1, SeqCst);
        UnderWay {
            crowd: Arc::clone(self),
            answered: false,
        }
    }

    /// Leave to keep a slot for the part that is due, for at most `most` bodies.
    pub(super) fn anchor(self: &Arc<Self>, most: usize) -> Option<Anchor> {
        let one_more = |anchored| (anchored < most).then_some(anchored + 1);
        self.anchored.fetch_update(SeqCst, SeqCst, one_more).ok()?;
        Some(Anchor(Arc::clone(self)))
    }

    /// Has all parts given up, and none asked for until the request that needs the room had its chance.
    pub(super) fn make_room(&self, now: Instant) {
        {
            let mut rest = self.rest();
            if now.saturating_duration_since(rest.until) > FORGOTTEN {
                rest.next = REST;
            }
            rest.until = rest.until.max(now + rest.next);
        }
        self.calls.fetch_add(1, SeqCst);
        let bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        for body in bodies.iter().filter_map(Weak::upgrade) {
            body.wake();
        }
    }

    /// What the room was made for: whether it was of use.
    fn made_room(&self, of_use: bool) {
        let mut rest = self.rest();
        rest.next = if of_use {
            REST
        } else {
            (rest.next * 2).min(LONGEST_REST)
        };
    }

    /// Whether parts are under way, or were a moment ago: the origin may count them still.
    fn is_there(&self, now: Instant) -> bool {
        let lingers = |since| now.saturating_duration_since(since) < LINGERS;
        self.under_way.load(SeqCst) > 0 || self.rest().since.is_some_and(lingers)
    }

    fn rests(&self, now: Instant) -> bool {
        now < self.rest().until
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body in parts, which hears when they are to be given up.
pub(super) struct Member {
    waker: Arc<AtomicWaker>,
    heard: u64,
    crowd: Arc<Crowd>,
}

impl Member {
    /// Whether the parts are to be given up. `waker` is woken when that changes.
    pub(super) fn is_called(&mut self, waker: &Waker) -> bool {
        self.waker.register(waker);
        let calls = self.crowd.calls.load(SeqCst);
        std::mem::replace(&mut self.heard, calls) != calls
    }
}

/// A part that is under way for as long as this lives.
pub(super) struct UnderWay {
    crowd: Arc<Crowd>,
    answered: bool,
}

impl UnderWay {
    /// The origin gives the part. Whether that is news.
    pub(super) fn answered(&mut self) -> bool {
        if !self.answered {
            self.crowd.unanswered.fetch_sub(1, SeqCst);
        }
        !std::mem::replace(&mut self.answered, true)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.answered();
        self.crowd.rest().since = Some(Instant::now());
        if self.crowd.under_way.fetch_sub(1, SeqCst) == 1 {
            self.crowd.cleared.notify_waiters();
        }
    }
}

/// Leave to keep a slot for the part that is due.
pub(super) struct Anchor(Arc<Crowd>);

impl Drop for Anchor {
    fn drop(&mut self) {
        self.0.anchored.fetch_sub(1, SeqCst);
    }
}

/// Whether the origin turns a request away for reasons that may lie in how many it has: 429 and 503 say so, file hosts
/// say 403, and some do not even accept.
fn turned_away(sent: &Result<Answered, FetchError>) -> bool {
    match sent {
        Ok(sent) => matches!(
            sent.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::FORBIDDEN
        ),
        Err(error) => is_unreachable(error),
    }
}

/// Whether it is the one refusal of these that seldom has to do with how many there are.
fn is_forbidden(sent: &Result<Answered, FetchError>) -> bool {
    matches!(sent, Ok(sent) if sent.status == StatusCode::FORBIDDEN)
}

/// Whether no connection was accepted, or it was closed without a word.
pub(super) fn is_unreachable(error: &FetchError) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, ConnectionReset};
    match error {
        FetchError::Connect(ConnectError::Connect { source, .. }) => {
            matches!(source.kind(), ConnectionRefused | ConnectionReset)
        }
        FetchError::Head(HeadError::Broken(_)) => true,
        _ => false,
    }
}

impl Origin {
    /// Sends a request and waits for the response head, as [`Origin::exchange`] does. One that is turned away while
    /// parts are under way goes out again once they were given up, where nothing is lost by that: a GET or a HEAD.
    ///
    /// # Errors
    ///
    /// [`FetchError`], with its cause.
    pub(super) async fn exchange_in_a_crowd(
        &self,
        head: &FrozenClientRequest,
        beside: Beside,
        tuning: &Tuning,
        deadline: Instant,
    ) -> Result<Answered, FetchError> {
        let is_plain =
            beside.upload.is_none() && matches!(*head.get_method(), Method::GET | Method::HEAD);
        let sent = self.exchange(head, beside, tuning, deadline).await;
        if !turned_away(&sent) || !self.crowd().is_there(Instant::now()) {
            return sent;
        }
        if !is_plain {
            if !is_forbidden(&sent) {
                self.crowd().make_room(Instant::now());
            }
            return sent;
        }
        // Boxed, as it is seldom taken.
        Box::pin(self.exchange_again(head, sent, tuning, deadline)).await
    }

    async fn exchange_again(
        &self,
        head: &FrozenClientRequest,
        mut sent: Result<Answered, FetchError>,
        tuning: &Tuning,
        deadline: Instant,
    ) -> Result<Answered, FetchError> {
        let published = self.published();
        let target = target_of(head);
        if published
            .tolerance
            .turns_away_by_itself(&target, Instant::now())
        {
            return sent;
        }
        let most = self.borne(1);
        for pause in PAUSES {
            let cleared = self.crowd().cleared.notified();
            self.crowd().make_room(Instant::now());
            if self.crowd().under_way.load(SeqCst) > 0 {
                _ = tokio::time::timeout(CLEARING, cleared).await;
            }
            let wait = pause + self.round_trip() * 2;
            if Instant::now() + wait >= deadline {
                return sent;
            }
            // The refusal's own connection counts at the origin, too.
            drop(sent);
            tokio::time::sleep(wait).await;
            published.counters.origin.crowded_out.increment();
            // It counts at the rate limit, and is not held up by it: its turn has come.
            _ = published.gate.admit_spare(Instant::now());
            sent = self
                .exchange(head, Beside::default(), tuning, deadline)
                .await;
            if !turned_away(&sent) {
                published.ceiling.met(most, Instant::now());
                self.crowd().made_room(true);
                tracing::info!(
                    most,
                    "the origin turned a request away while bodies came in parts, fewer are asked for from now on"
                );
                return sent;
            }
        }
        let now = Instant::now();
        published.tolerance.turned_away_by_itself(&target, now);
        self.crowd().made_room(false);
        sent
    }

    /// How many exchanges the origin goes on with as it turns one away: those under way, without `refused` and the parts
    /// that it has not answered. Of these some will be given, so at least half of all.
    fn borne(&self, refused: u64) -> usize {
        let all = self.published().counters.origin.in_use.get();
        let unanswered = self.crowd().unanswered.load(SeqCst) as u64;
        all.saturating_sub(refused + unanswered).max(all / 2) as usize
    }

    /// A part was turned away: the origin bears no more than there are.
    pub(super) fn part_turned_away(&self) {
        // It is one of those that are not answered.
        self.published().ceiling.met(self.borne(0), Instant::now());
    }

    /// What continues a body was turned away: parts must not keep it from going on.
    pub(super) fn rest_turned_away(&self) {
        if self.crowd().under_way.load(SeqCst) > 0 {
            let now = Instant::now();
            self.published().ceiling.met(self.borne(1), now);
            self.crowd().make_room(now);
        }
    }

    /// A slot for one more part, which nobody else needs, and for which the origin has room.
    pub(super) fn slot_for_a_part(&self) -> Option<Slot> {
        let now = Instant::now();
        if !self.has_room_for_a_part(1) {
            return None;
        }
        let slot = self.try_slot()?;
        // One more request for the origin, like any other.
        self.published().gate.admit_spare(now).then_some(slot)
    }

    /// Whether `more` exchanges with parts leave room beneath what the origin is known to bear.
    pub(super) fn has_room_for_a_part(&self, more: usize) -> bool {
        let now = Instant::now();
        let in_use = self.published().counters.origin.in_use.get() as usize;
        let most = self.published().ceiling.for_parts(now);
        !self.crowd().rests(now) && most.is_none_or(|most| in_use + more <= most)
    }
}
