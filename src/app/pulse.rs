//! Liveness of workers and actors: each worker thread has a heartbeat, and the actors publish a summary at each tick. For systemd's
//! watchdog, and for the drain.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::traffic::published::Published;

/// Time between two heartbeats of a worker.
const BEAT: Duration = Duration::from_millis(500);

/// The heartbeats of all workers. Clones share them.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Beats>);

#[derive(Debug)]
struct Beats {
    since: Instant,
    workers: usize,
    /// The last heartbeat of each worker, in milliseconds since `since`. A std mutex: locked when a worker starts, and at each
    /// check.
    last: Mutex<Vec<Weak<AtomicU64>>>,
}

/// What does not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stalled {
    /// Some worker threads.
    #[error("{beating} of {workers} workers turn")]
    Workers {
        /// Workers with a current heartbeat.
        beating: usize,
        /// All workers.
        workers: usize,
    },
    /// The actors have published nothing for this time.
    #[error("the actors have published no summary for {0:?}")]
    Actors(Duration),
    /// One actor, which could not be replaced.
    #[error("the actor {0} is down")]
    Actor(&'static str),
}

impl Pulse {
    /// For this number of workers, none of which has started.
    pub fn new(workers: usize) -> Self {
        Pulse(Arc::new(Beats {
            since: Instant::now(),
            workers,
            last: Mutex::default(),
        }))
    }

    /// Starts the heartbeat of the worker on the calling thread. It stops if the thread is stuck.
    pub fn join(&self) {
        let beat = Arc::new(AtomicU64::new(self.now()));
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|beat| beat.strong_count() > 0);
        last.push(Arc::downgrade(&beat));
        let pulse = self.clone();
        actix_rt::spawn(async move {
            loop {
                beat.store(pulse.now(), Relaxed);
                tokio::time::sleep(BEAT).await;
            }
        });
    }

    /// Waits for another heartbeat of every worker, at most for `limit`.
    pub async fn until_all_turned(&self, limit: Duration) {
        let since = self.now();
        let turned = async {
            while self.turned_since(since) < self.0.workers {
                tokio::time::sleep(BEAT / 20).await;
            }
        };
        _ = tokio::time::timeout(limit, turned).await;
    }

    /// Number of workers with a heartbeat after that time.
    fn turned_since(&self, since: u64) -> usize {
        let last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        let beats = last.iter().filter_map(Weak::upgrade);
        beats.filter(|beat| beat.load(Relaxed) > since).count()
    }

    /// Checks that every worker and actor has run within `patience`.
    ///
    /// # Errors
    ///
    /// [`Stalled`]: one has not.
    pub fn check(&self, published: &Published, patience: Duration) -> Result<(), Stalled> {
        let oldest = self
            .now()
            .saturating_sub(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX));
        let last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        let beats = last.iter().filter_map(Weak::upgrade);
        let beating = beats.filter(|beat| beat.load(Relaxed) >= oldest).count();
        let workers = self.0.workers;
        // During a drain, workers without transfers end early.
        if beating < workers && !published.is_draining() {
            return Err(Stalled::Workers { beating, workers });
        }
        let silent = published.summary.load().at.elapsed();
        if silent > patience {
            return Err(Stalled::Actors(silent));
        }
        let actors = published.actors.load();
        let down = actors.iter().find(|(_, status)| !status.running);
        down.map_or(Ok(()), |(name, _)| Err(Stalled::Actor(name)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
