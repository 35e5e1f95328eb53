//! The count of open connections to the origin over the whole process, and its limit.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tokio::sync::{Notify, futures::Notified};

use crate::traffic::counters::OriginCounters;

/// Counts the sockets to one origin over the whole process.
#[derive(Debug, Default)]
pub struct Sockets {
    open: AtomicUsize,
    /// Connects that wait for an idle socket to be closed.
    wanted: AtomicUsize,
    /// Tells the pools' reapers that a socket is wanted.
    want: Notify,
    /// Tells the waiting connects that a socket was closed.
    closed: Notify,
    counters: Arc<OriginCounters>,
}

/// Counts one socket as open while this lives.
#[derive(Debug)]
pub struct OpenSocket(Arc<Sockets>);

impl Sockets {
    /// No sockets yet.
    pub fn new(counters: Arc<OriginCounters>) -> Self {
        Sockets {
            counters,
            ..Default::default()
        }
    }

    /// Waits until one more socket may be opened, of `limit`. At the limit an idle one is closed first, on whatever worker.
    pub async fn reserve(self: &Arc<Self>, limit: usize) -> OpenSocket {
        if let Some(open) = self.try_reserve(limit) {
            return open;
        }
        let _wanting = Wanting::new(self);
        loop {
            let closed = self.closed.notified();
            self.want.notify_waiters();
            if let Some(open) = self.try_reserve(limit) {
                return open;
            }
            // A reaper that was not listening missed it: ask again soon.
            _ = tokio::time::timeout(Duration::from_millis(20), closed).await;
        }
    }

    /// Permits one more socket if fewer than `limit` are open.
    pub fn try_reserve(self: &Arc<Self>, limit: usize) -> Option<OpenSocket> {
        let most = self.most(limit);
        self.open
            .fetch_update(SeqCst, SeqCst, |open| (open < most).then_some(open + 1))
            .ok()?;
        self.counters.open.up();
        Some(OpenSocket(Arc::clone(self)))
    }

    /// Whether a connect waits for an idle socket to be closed: more of them do than there is room for by now.
    pub(super) fn is_wanted(&self, limit: usize) -> bool {
        let wanted = self.wanted.load(SeqCst);
        let room = || self.most(limit).saturating_sub(self.open.load(SeqCst));
        wanted > 0 && wanted > room()
    }

    /// Whether more are open than may be.
    pub(super) fn are_too_many(&self, limit: usize) -> bool {
        self.open.load(SeqCst) > self.most(limit)
    }

    /// Completes when an idle socket is wanted.
    pub(super) fn until_wanted(&self) -> Notified<'_> {
        self.want.notified()
    }

    /// The limit in force: exchanges without a slot have a socket too.
    fn most(&self, limit: usize) -> usize {
        let origin = &self.counters;
        limit.max(origin.in_use.get() as usize) + origin.beyond.get() as usize
    }
}

impl OpenSocket {
    /// The origin's counters.
    pub(super) fn counters(&self) -> &Arc<OriginCounters> {
        &self.0.counters
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
        self.0.counters.open.down();
        if self.0.wanted.load(SeqCst) > 0 {
            self.0.closed.notify_waiters();
        }
    }
}

struct Wanting<'a>(&'a Sockets);

impl<'a> Wanting<'a> {
    fn new(sockets: &'a Sockets) -> Self {
        sockets.wanted.fetch_add(1, SeqCst);
        Wanting(sockets)
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.wanted.fetch_sub(1, SeqCst);
    }
}
