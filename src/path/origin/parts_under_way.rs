//! The parts of bodies that are being fetched, over all workers, and how they give way to other requests.

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

/// How long no new part is requested after parts were given up for another request, so that it gets its chance. Doubled each time
/// that did not help, so that requests that are refused anyway cannot keep the origin busy.
const REST: Duration = Duration::from_secs(3);
/// The longest such pause.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// The pause starts small again after this time without one.
const FORGOTTEN: Duration = Duration::from_secs(300);
/// How long the origin may still count a part that ended.
const LINGERS: Duration = Duration::from_secs(1);
/// How long to wait for the bodies to give up their parts.
const CLEARING: Duration = Duration::from_millis(200);

/// The pause in which no part is requested.
#[derive(Clone, Copy, Debug)]
struct Rest {
    /// When the last part ended.
    since: Option<Instant>,
    until: Instant,
    /// Length of the next pause.
    next: Duration,
}

/// Registry of the parts that are being fetched. Shared by all workers.
#[derive(Debug)]
pub struct PartsUnderWay {
    under_way: AtomicUsize,
    /// How many of them have no response head yet.
    unanswered: AtomicUsize,
    /// Bodies that keep a spare slot for the part that their client waits for.
    anchored: AtomicUsize,
    /// How often all parts were called back; each body compares it with the value it saw last.
    calls: AtomicU64,
    rest: Mutex<Rest>,
    /// Wakes the bodies. A std mutex: held for a few instructions, once for each body in parts.
    bodies: Mutex<Vec<Weak<AtomicWaker>>>,
    cleared: Notify,
}

impl PartsUnderWay {
    /// No parts yet.
    pub fn new(now: Instant) -> Self {
        PartsUnderWay {
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

    /// Registers a body that is fetched in parts, so that its parts can be called back.
    pub(super) fn join(self: &Arc<Self>) -> Member {
        let waker = Arc::new(AtomicWaker::new());
        let mut bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.retain(|body| body.strong_count() > 0);
        bodies.push(Arc::downgrade(&waker));
        Member {
            waker,
            heard: self.calls.load(SeqCst),
            parts_under_way: Arc::clone(self),
        }
    }

    /// Counts a part that is about to be requested.
    pub(super) fn part(self: &Arc<Self>) -> PartUnderWay {
        self.under_way.fetch_add(1, SeqCst);
        self.unanswered.fetch_add(1, SeqCst);
        PartUnderWay {
            parts_under_way: Arc::clone(self),
            answered: false,
        }
    }

    /// Permits one more body to keep a spare slot for the part that its client waits for, if fewer than `most` do.
    pub(super) fn anchor(self: &Arc<Self>, most: usize) -> Option<Anchor> {
        let one_more = |anchored| (anchored < most).then_some(anchored + 1);
        self.anchored.fetch_update(SeqCst, SeqCst, one_more).ok()?;
        Some(Anchor(Arc::clone(self)))
    }

    /// Calls all parts back and starts a pause, because another request needs their connections.
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

    /// As [`PartsUnderWay::make_room`], and waits until no part is under way, at most 200 ms.
    pub(super) async fn clear(&self) {
        let cleared = self.cleared.notified();
        self.make_room(Instant::now());
        if self.under_way() > 0 {
            _ = tokio::time::timeout(CLEARING, cleared).await;
        }
    }

    /// Parts under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.load(SeqCst)
    }

    /// Parts without a response head.
    pub(super) fn unanswered(&self) -> usize {
        self.unanswered.load(SeqCst)
    }

    /// Reports whether the request for which parts were called back succeeded. If not, the next pause is twice as long.
    pub(super) fn made_room(&self, of_use: bool) {
        let mut rest = self.rest();
        rest.next = if of_use {
            REST
        } else {
            (rest.next * 2).min(LONGEST_REST)
        };
    }

    /// Whether parts are under way or ended a moment ago, so that the origin may still count them.
    pub(super) fn is_there(&self, now: Instant) -> bool {
        let lingers = |since| now.saturating_duration_since(since) < LINGERS;
        self.under_way() > 0 || self.rest().since.is_some_and(lingers)
    }

    /// Whether a pause is in force at `now`.
    pub(super) fn rests(&self, now: Instant) -> bool {
        now < self.rest().until
    }

    fn rest(&self) -> MutexGuard<'_, Rest> {
        self.rest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body fetched in parts, as the registry knows it: learns when its parts are called back.
pub(super) struct Member {
    waker: Arc<AtomicWaker>,
    heard: u64,
    parts_under_way: Arc<PartsUnderWay>,
}

impl Member {
    /// Whether the parts were called back since the last call. `waker` is woken when they are.
    pub(super) fn is_called(&mut self, waker: &Waker) -> bool {
        self.waker.register(waker);
        let calls = self.parts_under_way.calls.load(SeqCst);
        std::mem::replace(&mut self.heard, calls) != calls
    }
}

/// Counts one part as under way while this lives.
pub(super) struct PartUnderWay {
    parts_under_way: Arc<PartsUnderWay>,
    answered: bool,
}

impl PartUnderWay {
    /// Notes the part's first bytes. Returns true the first time.
    pub(super) fn answered(&mut self) -> bool {
        if !self.answered {
            self.parts_under_way.unanswered.fetch_sub(1, SeqCst);
        }
        !std::mem::replace(&mut self.answered, true)
    }
}

impl Drop for PartUnderWay {
    fn drop(&mut self) {
        self.answered();
        self.parts_under_way.rest().since = Some(Instant::now());
        if self.parts_under_way.under_way.fetch_sub(1, SeqCst) == 1 {
            self.parts_under_way.cleared.notify_waiters();
        }
    }
}

/// Permits a body to keep a spare slot for the part that its client waits for, while this lives.
pub(super) struct Anchor(Arc<PartsUnderWay>);

impl Drop for Anchor {
    fn drop(&mut self) {
        self.0.anchored.fetch_sub(1, SeqCst);
    }
}
