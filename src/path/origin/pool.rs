//! The idle connections of one worker.
//!
//! The pool is the proxy's own, for awc's finds a dead connection only when a request meets it, closes what was not
//! polled past its end, and counts per worker. Here a reaper hears of an origin's FIN at once, and a worker that
//! needs a socket at the limit gets one that idles on another.

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
    /// The reaper's, registered with every idle connection.
    reaper: RefCell<Waker>,
    sockets: Arc<Sockets>,
    state: Arc<OriginState>,
}

struct Idle {
    connection: Connection,
    since: Instant,
    /// Opened for a burst that has not come yet.
    spare: bool,
}

impl Pool {
    /// An empty pool, and the task that looks after it until the pool is dropped.
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

    /// The connection used last, if one is alive.
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
            // The request goes out at once: nothing that comes from now on can be told from its answer.
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

    /// Keeps a connection whose response was read to its end.
    pub fn put(&self, mut connection: Connection) {
        // A byte behind the response, or a socket that others wait for, ends it.
        if self.sockets.is_wanted() || !connection.falls_quiet(&self.reaper.borrow()) {
            return;
        }
        connection.in_use = None;
        self.state.counters.idle.up();
        self.idle.borrow_mut().push_back(Idle {
            connection,
            since: Instant::now(),
            spare: false,
        });
    }

    /// A connection goes into use.
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

    /// Keeps a connection that nobody used yet. It is the last to be used and the first to go.
    pub fn keep_spare(&self, connection: Connection) {
        self.state.counters.spares.increment();
        self.state.counters.idle.up();
        self.idle.borrow_mut().push_front(Idle {
            connection,
            since: Instant::now(),
            spare: true,
        });
        // The reaper has not seen it yet.
        self.reaper.borrow().wake_by_ref();
    }

    /// Closes connections that are dead, too old or over the limit; the oldest first.
    fn reap(&self, waker: &Waker) {
        *self.reaper.borrow_mut() = waker.clone();
        let tuning = self.state.tuning.load();
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain_mut(|idle| {
            let young = idle.since.elapsed() < tuning.keep_alive;
            let quiet = idle.connection.falls_quiet(waker);
            if !young || idle.spare && !quiet {
                // Nobody needed it for so long, or the origin does not keep what is not used: no more of them for now.
                self.usage.borrow_mut().forget();
            }
            young && quiet
        });
        for _ in idle.len()..before {
            self.state.counters.idle.down();
            self.state.counters.reaped.increment();
        }
        while !idle.is_empty()
            && (self.sockets.are_too_many(tuning.connections_at_once()) || self.sockets.is_wanted())
        {
            idle.pop_front();
            self.state.counters.idle.down();
            if self.sockets.is_wanted() {
                // One for each who waits; whoever waits still asks again.
                break;
            }
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

/// Looks after a pool: at every event on an idle connection, when a socket is wanted, and each second.
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
