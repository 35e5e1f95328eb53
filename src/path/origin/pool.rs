//! The idle connections of one worker, and the count of open ones over the whole process.
//!
//! The pool is the proxy's own, for awc's finds a dead connection only when a request meets it, closes what was not
//! polled past its end, and counts per worker. Here a reaper hears of an origin's FIN at once, and a worker that
//! needs a socket at the limit gets one that idles on another.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::{self, Future as _},
    pin::pin,
    rc::{Rc, Weak},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::connection::Connection;
use crate::traffic::{counters::Counters, published::Published};

/// The sockets of the whole process.
#[derive(Debug, Default)]
pub struct Sockets {
    open: AtomicUsize,
    /// Connects that wait for an idle socket to close.
    wanted: AtomicUsize,
    /// Tells the reapers that one is wanted.
    want: Notify,
    /// Tells the connects that one closed.
    closed: Notify,
    counters: Arc<Counters>,
}

/// A socket that counts as open for as long as this lives.
#[derive(Debug)]
pub struct OpenSocket(Arc<Sockets>);

impl Sockets {
    /// No socket open yet.
    pub fn new(counters: Arc<Counters>) -> Self {
        Sockets {
            counters,
            ..Default::default()
        }
    }

    /// Leave to open one more, at most `limit` in all. At the limit an idle one is closed first, wherever it is.
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
            // A reaper that was between two waits did not hear it: ask again soon.
            _ = tokio::time::timeout(Duration::from_millis(20), closed).await;
        }
    }

    fn try_reserve(self: &Arc<Self>, limit: usize) -> Option<OpenSocket> {
        self.open
            .fetch_update(SeqCst, SeqCst, |open| (open < limit).then_some(open + 1))
            .ok()?;
        self.counters.origin.open.up();
        Some(OpenSocket(Arc::clone(self)))
    }
}

impl Drop for OpenSocket {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
        self.0.counters.origin.open.down();
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

/// One worker's idle connections.
pub struct Pool {
    idle: RefCell<VecDeque<Idle>>,
    /// The reaper's, registered with every idle connection.
    reaper: RefCell<Waker>,
    sockets: Arc<Sockets>,
    published: Arc<Published>,
}

struct Idle {
    connection: Connection,
    since: Instant,
}

impl Pool {
    /// An empty pool, and the task that looks after it until the pool is dropped.
    pub fn start(sockets: Arc<Sockets>, published: Arc<Published>) -> Rc<Self> {
        let pool = Rc::new(Pool {
            idle: RefCell::default(),
            reaper: RefCell::new(Waker::noop().clone()),
            sockets,
            published,
        });
        actix_rt::spawn(reap(Rc::downgrade(&pool), Arc::clone(&pool.sockets)));
        pool
    }

    /// The connection used last, if one is alive.
    pub fn take(&self) -> Option<Connection> {
        let keep_alive = self.published.tuning.load().keep_alive;
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle {
            mut connection,
            since,
        }) = idle.pop_back()
        {
            self.published.counters.origin.idle.down();
            if since.elapsed() < keep_alive && connection.is_quiet(Waker::noop()) {
                connection.reused = true;
                self.published.counters.origin.reuses.increment();
                return Some(connection);
            }
            self.published.counters.origin.reaped.increment();
        }
        None
    }

    /// Keeps a connection whose response was read to its end.
    pub fn put(&self, mut connection: Connection) {
        // A byte behind the response, or a socket that others wait for, ends it.
        if self.sockets.wanted.load(SeqCst) > 0 || !connection.falls_quiet(&self.reaper.borrow()) {
            return;
        }
        self.published.counters.origin.idle.up();
        self.idle.borrow_mut().push_back(Idle {
            connection,
            since: Instant::now(),
        });
    }

    /// Closes what is dead, too old or over the limit; the oldest first.
    fn reap(&self, waker: &Waker) {
        *self.reaper.borrow_mut() = waker.clone();
        let tuning = self.published.tuning.load();
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain(|idle| {
            idle.since.elapsed() < tuning.keep_alive && idle.connection.is_quiet(waker)
        });
        for _ in idle.len()..before {
            self.published.counters.origin.idle.down();
            self.published.counters.origin.reaped.increment();
        }
        while !idle.is_empty()
            && (self.sockets.open.load(SeqCst) > tuning.connections_at_once()
                || self.sockets.wanted.load(SeqCst) > 0)
        {
            idle.pop_front();
            self.published.counters.origin.idle.down();
            if self.sockets.wanted.load(SeqCst) > 0 {
                // One for each who waits; whoever waits still asks again.
                break;
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for _ in self.idle.borrow().iter() {
            self.published.counters.origin.idle.down();
        }
    }
}

/// Looks after a pool: at every event on an idle connection, when a socket is wanted, and each second.
async fn reap(pool: Weak<Pool>, sockets: Arc<Sockets>) {
    loop {
        let mut wanted = pin!(sockets.want.notified());
        let mut tick = pin!(tokio::time::sleep(Duration::from_secs(1)));
        let alive = future::poll_fn(|cx| {
            let Some(pool) = pool.upgrade() else {
                return Poll::Ready(false);
            };
            let again = wanted.as_mut().poll(cx).is_ready() | tick.as_mut().poll(cx).is_ready();
            pool.reap(cx.waker());
            if again {
                Poll::Ready(true)
            } else {
                Poll::Pending
            }
        })
        .await;
        if !alive {
            return;
        }
    }
}
