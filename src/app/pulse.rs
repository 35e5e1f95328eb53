//! Whether the process really turns: every worker thread beats, and the actors show it by the summaries that they
//! publish.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use crate::traffic::published::Published;

/// How often a worker beats.
const BEAT: Duration = Duration::from_millis(500);

/// The beats of all workers. Clones are the same.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<Beats>);

#[derive(Debug)]
struct Beats {
    since: Instant,
    workers: usize,
    /// When each worker beat last, in milliseconds since `since`. A std mutex: locked when a worker begins, and by who
    /// looks.
    last: Mutex<Vec<Weak<AtomicU64>>>,
}

/// What does not turn.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stalled {
    /// Some worker threads do not run.
    #[error("{beating} of {workers} workers turn")]
    Workers {
        /// Those that do.
        beating: usize,
        /// All.
        workers: usize,
    },
    /// The actors published nothing.
    #[error("the actors have published no summary for {0:?}")]
    Actors(Duration),
    /// An actor is down and could not be started anew.
    #[error("the actor {0} is down")]
    Actor(&'static str),
}

impl Pulse {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        Pulse(Arc::new(Beats {
            since: Instant::now(),
            workers,
            last: Mutex::default(),
        }))
    }

    /// The worker on this thread beats from now on, for as long as its thread turns.
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

    /// Waits until every worker has turned once more, for `limit` at most.
    pub async fn until_all_turned(&self, limit: Duration) {
        let since = self.now();
        let turned = async {
            while self.turned_since(since) < self.0.workers {
                tokio::time::sleep(BEAT / 20).await;
            }
        };
        _ = tokio::time::timeout(limit, turned).await;
    }

    /// How many workers beat after that moment.
    fn turned_since(&self, since: u64) -> usize {
        let last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        let beats = last.iter().filter_map(Weak::upgrade);
        beats.filter(|beat| beat.load(Relaxed) > since).count()
    }

    /// Whether everything turned within `patience`.
    ///
    /// # Errors
    ///
    /// [`Stalled`]: what did not.
    pub fn check(&self, published: &Published, patience: Duration) -> Result<(), Stalled> {
        let oldest = self
            .now()
            .saturating_sub(u64::try_from(patience.as_millis()).unwrap_or(u64::MAX));
        let last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        let beats = last.iter().filter_map(Weak::upgrade);
        let beating = beats.filter(|beat| beat.load(Relaxed) >= oldest).count();
        let workers = self.0.workers;
        // Workers without a transfer end before the others when the process goes out of service.
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
