//! The parts of bodies that are under way at the origin, over all workers, and how they make room for others.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    task::Waker,
    time::{Duration, Instant},
};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

/// How long no part is asked for after they were given up: until that request has had its chance. Twice as long for each
/// time that it was of no use, so that who asks for what he does not get cannot make the origin busy so.
const REST: Duration = Duration::from_secs(3);
/// The longest such rest.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// After so long without a use, or without any, it begins anew.
const FORGOTTEN: Duration = Duration::from_secs(300);
/// How long a part that ended may still count at the origin.
const LINGERS: Duration = Duration::from_secs(1);
/// How long the bodies may take to give their parts up.
const CLEARING: Duration = Duration::from_millis(200);

/// The time in which no part is asked for, so that a request which was turned away gets its chance.
#[derive(Clone, Copy, Debug)]
struct Rest {
    /// When the last part ended.
    since: Option<Instant>,
    until: Instant,
    /// How long the next rest will be.
    next: Duration,
}

/// The parts of bodies that are under way at the origin. Shared by all workers.
#[derive(Debug)]
pub struct Crowd {
    under_way: AtomicUsize,
    /// How many of them have no response head yet.
    unanswered: AtomicUsize,
    /// Bodies that keep a spare slot for the part that their client waits for.
    anchored: AtomicUsize,
    /// How often all parts were called back; bodies compare it with what they saw last.
    calls: AtomicU64,
    rest: Mutex<Rest>,
    /// Wakes the bodies. A std mutex: held for a few instructions, once for each body in parts.
    bodies: Mutex<Vec<Weak<AtomicWaker>>>,
    cleared: Notify,
}

impl Crowd {
    /// No part is under way.
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

    /// Adds a body that comes in parts from now on, so that its parts can be called back.
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

    /// Counts one more part, which is about to be asked for.
    pub(super) fn part(self: &Arc<Self>) -> PartUnderWay {
        self.under_way.fetch_add(1, SeqCst);
        self.unanswered.fetch_add(1, SeqCst);
        PartUnderWay {
            crowd: Arc::clone(self),
            answered: false,
        }
    }

    /// Lets one more body keep a spare slot for the part that its client waits for, if fewer than `most` do.
    pub(super) fn anchor(self: &Arc<Self>, most: usize) -> Option<Anchor> {
        let one_more = |anchored| (anchored < most).then_some(anchored + 1);
        self.anchored.fetch_update(SeqCst, SeqCst, one_more).ok()?;
        Some(Anchor(Arc::clone(self)))
    }

    /// Calls all parts back, and lets none be asked for until the request that needs the room had its chance.
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

    /// As [`Crowd::make_room`], and waits until no part is under way, 200 ms at most.
    pub(super) async fn clear(&self) {
        let cleared = self.cleared.notified();
        self.make_room(Instant::now());
        if self.under_way() > 0 {
            _ = tokio::time::timeout(CLEARING, cleared).await;
        }
    }

    /// How many parts are under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(SeqCst)
    }

    /// How many of them the origin has not answered.
    pub(super) fn unanswered(&self) -> usize {
        self.unanswered.load(SeqCst)
    }

    /// Says whether the request for which parts were called back got through. Where it did not, the next rest is twice as long.
    pub(super) fn made_room(&self, of_use: bool) {
        let mut rest = self.rest();
        rest.next = if of_use {
            REST
        } else {
            (rest.next * 2).min(LONGEST_REST)
        };
    }

    /// Whether parts are under way, or were a moment ago: the origin may count them still.
    pub(super) fn is_there(&self, now: Instant) -> bool {
        let lingers = |since| now.saturating_duration_since(since) < LINGERS;
        self.under_way() > 0 || self.rest().since.is_some_and(lingers)
    }

    /// Whether no part may be asked for at `now`.
    pub(super) fn rests(&self, now: Instant) -> bool {
        now < self.rest().until
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body in parts, as the crowd knows it: it hears when its parts are called back.
pub(super) struct Member {
    waker: Arc<AtomicWaker>,
    heard: u64,
    crowd: Arc<Crowd>,
}

impl Member {
    /// Whether the parts were called back since this was last asked. `waker` is woken when they are.
    pub(super) fn is_called(&mut self, waker: &Waker) -> bool {
        self.waker.register(waker);
        let calls = self.crowd.calls.load(SeqCst);
        std::mem::replace(&mut self.heard, calls) != calls
    }
}

/// Counts one part as under way, for as long as this lives.
pub(super) struct PartUnderWay {
    crowd: Arc<Crowd>,
    answered: bool,
}

impl PartUnderWay {
    /// Notes that the first bytes of the part came. Returns true the first time.
    pub(super) fn answered(&mut self) -> bool {
        if !self.answered {
            self.crowd.unanswered.fetch_sub(1, SeqCst);
        }
        !std::mem::replace(&mut self.answered, true)
    }
}

impl Drop for PartUnderWay {
    fn drop(&mut self) {
        self.answered();
        self.crowd.rest().since = Some(Instant::now());
        if self.crowd.under_way.fetch_sub(1, SeqCst) == 1 {
            self.crowd.cleared.notify_waiters();
        }
    }
}

/// Lets a body keep a spare slot for the part that its client waits for, for as long as this lives.
pub(super) struct Anchor(Arc<Crowd>);

impl Drop for Anchor {
    fn drop(&mut self) {
        self.0.anchored.fetch_sub(1, SeqCst);
    }
}
