//! The idle connections of one worker.
//!
//! The proxy has its own pool, because awc's detects a dead connection only when a request uses it, closes connections whose end
//! was not polled, and counts per worker. Here a reaper learns of an origin's FIN at once, and a worker at the limit gets a
//! connection that idles on another one.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::{self, Future as _},
    pin::pin,
    rc::{Rc, Weak},
    sync::Arc,
    task::{Poll, Waker},
    time::{Duration, Instant},
};

use bytes::BytesMut;

use super::{
    connection::{Connection, InUse},
    sockets::Sockets,
};
use crate::traffic::{origin::OriginState, peak_usage::PeakUsage};

/// One worker's idle connections.
pub struct Pool {
    idle: RefCell<VecDeque<Idle>>,
    in_use: Rc<Cell<usize>>,
    usage: RefCell<PeakUsage>,
    /// The reaper's waker, registered with every idle connection.
    reaper: RefCell<Waker>,
    sockets: Arc<Sockets>,
    state: Arc<OriginState>,
}

struct Idle {
    connection: Connection,
    since: Instant,
    /// Whether it was opened in advance and never used.
    spare: bool,
}

impl Pool {
    /// An empty pool, with a reaper task that runs until the pool is dropped.
    pub fn start(sockets: Arc<Sockets>, state: Arc<OriginState>) -> Rc<Self> {
        let pool = Rc::new(Pool {
            idle: RefCell::default(),
            in_use: Rc::default(),
            usage: RefCell::new(PeakUsage::new(Instant::now())),
            reaper: RefCell::new(Waker::noop().clone()),
            sockets,
            state,
        });
        actix_rt::spawn(reap(Rc::downgrade(&pool), Arc::clone(&pool.sockets)));
        pool
    }

    /// The most recently used connection that is alive.
    pub fn take(&self) -> Option<Connection> {
        let keep_alive = self.state.tuning.load().keep_alive;
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle {
            mut connection,
            since,
            ..
        }) = idle.pop_back()
        {
            self.state.counters.idle.down();
            // The request is sent at once: bytes that arrive from now on cannot be told from its response.
            if since.elapsed() < keep_alive
                && connection.falls_quiet(Waker::noop())
                && connection.is_silent()
            {
                connection.reused = true;
                self.state.counters.reuses.increment();
                self.lend(&mut connection);
                return Some(connection);
            }
            self.state.counters.reaped.increment();
        }
        None
    }

    /// Returns a connection whose response was read to its end.
    pub fn put(&self, mut connection: Connection) {
        // Extra bytes behind the response, or another worker waiting for a socket, close it.
        let limit = self.state.tuning.load().connections_at_once();
        if self.sockets.is_wanted(limit) || !connection.falls_quiet(&self.reaper.borrow()) {
            return;
        }
        connection.in_use = None;
        connection.buf = BytesMut::new();
        self.state.counters.idle.up();
        self.idle.borrow_mut().push_back(Idle {
            connection,
            since: Instant::now(),
            spare: false,
        });
    }

    /// Counts a connection as in use.
    pub fn lend(&self, connection: &mut Connection) {
        connection.in_use = Some(InUse::new(&self.in_use));
        let now = Instant::now();
        self.usage.borrow_mut().observe(self.in_use.get(), now);
    }

    /// How many connections are missing to the peak in use at once over the last 30 to 60 s.
    pub fn missing(&self, now: Instant) -> usize {
        let open = self.in_use.get() + self.idle.borrow().len();
        self.usage.borrow_mut().peak(now).saturating_sub(open)
    }

    /// Adds a connection opened in advance. It is used last and closed first.
    pub fn keep_spare(&self, connection: Connection) {
        self.state.counters.spares.increment();
        self.state.counters.idle.up();
        self.idle.borrow_mut().push_front(Idle {
            connection,
            since: Instant::now(),
            spare: true,
        });
        // Lets the reaper register its waker with it.
        self.reaper.borrow().wake_by_ref();
    }

    /// Closes connections that are dead, too old or over the limit, the oldest first.
    fn reap(&self, waker: &Waker) {
        *self.reaper.borrow_mut() = waker.clone();
        let tuning = self.state.tuning.load();
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain_mut(|idle| {
            let young = idle.since.elapsed() < tuning.keep_alive;
            let quiet = idle.connection.falls_quiet(waker);
            if !young || idle.spare && !quiet {
                // It was not needed, or the origin closes unused connections: no more are opened in advance for now.
                self.usage.borrow_mut().forget();
            }
            young && quiet
        });
        for _ in idle.len()..before {
            self.state.counters.idle.down();
            self.state.counters.reaped.increment();
        }
        let limit = tuning.connections_at_once();
        while !idle.is_empty()
            && (self.sockets.are_too_many(limit) || self.sockets.is_wanted(limit))
        {
            idle.pop_front();
            self.state.counters.idle.down();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for _ in self.idle.borrow().iter() {
            self.state.counters.idle.down();
        }
    }
}

/// The reaper: runs at every event on an idle connection, when a socket is wanted, and each second.
async fn reap(pool: Weak<Pool>, sockets: Arc<Sockets>) {
    loop {
        let mut wanted = pin!(sockets.until_wanted());
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
