//! The actors: they decide, the path reads what they publish.
//!
//! ```text
//! workers --samples--> MetricsWindow --summary, every tick--> QualityClassifier --class--> Tuner
//!                                     \-----------------------> RateLimiter <----retune----/ |
//!                                     \--a candidate level is worse--------------------> Tuner
//! admin ---level--> Tuner <--level from other instances-- RedisPool <----------retune------/
//! ```
//!
//! Each runs on a thread of its own (an arbiter), so that none can hold up another or a worker. A watchdog starts an
//! actor anew that panicked or does not answer; what must survive that lies in [`Published`] or beside the actor.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use actix::Message;
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    traffic::{
        canary::{self, Candidate, Conflict, Percent, referee::Referee},
        concurrency,
        level::Level,
        published::Published,
        quality, rate,
        tuning::{Tables, Tuning},
        window::{self, Window},
    },
    units::OutOfRange,
};

mod directory;
mod metrics_window;
mod quality_classifier;
mod rate_limiter;
pub mod redis_pool;
mod reporter;
mod tuner;
mod watchdog;

use directory::Directory;
pub use directory::{ActorName, Fault};
use metrics_window::MetricsWindow;
use quality_classifier::QualityClassifier;
use rate_limiter::RateLimiter;
use redis_pool::RedisPool;
pub use reporter::Reporter;
pub use tuner::LevelSource;
use tuner::{SetLevel, Tuner};
use watchdog::Watchdog;

/// `[supervision]`: when an actor counts as stuck.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supervision {
    /// An actor that does not answer for so long is started anew.
    #[serde(with = "humantime_serde")]
    pub patience: Duration,
}

impl Supervision {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that makes no sense.
    pub fn check(&self) -> Result<(), OutOfRange> {
        OutOfRange::unless_between(
            "supervision.patience",
            Duration::from_millis(100),
            self.patience,
            Duration::from_secs(300),
        )
    }
}

/// What the actors need to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The tables that tunings are derived from.
    pub tables: Tables,
    /// `[metrics]`
    pub metrics: window::Settings,
    /// `[quality]`
    pub quality: quality::Settings,
    /// `[rate_limit]`
    pub rate_limit: rate::Settings,
    /// `[concurrency]`
    pub concurrency: concurrency::Settings,
    /// `[redis]`
    pub redis: redis_pool::Settings,
    /// `[canary]`
    pub canary: canary::Settings,
    /// `[supervision]`
    pub supervision: Supervision,
    /// The origin's URL: its host and port are asked for a connection when no request shows how the origin is.
    pub origin: String,
}

impl Settings {
    /// What is published before the actors run: the level's tuning on a good network, the gate at its initial rate.
    pub fn published(&self, level: Level, workers: usize) -> Published {
        Published::new(
            self.tables.tuning(level, quality::Class::default()),
            crate::traffic::gate::Gate::new(&self.rate_limit),
            &self.origin,
            workers,
        )
    }
}

/// How long an actor is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// To the actors that decide: these settings from now on.
#[derive(Clone, Message)]
#[rtype(result = "()")]
struct Resettled(Arc<Settings>);

/// The actors could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the actors could not be started: {0}")]
pub struct NotStarted(#[from] io::Error);

/// The level could not be changed just now: the tuner is being started anew.
#[derive(Debug, thiserror::Error)]
#[error("the tuner does not answer; it is being started anew, try again")]
pub struct TunerAway;

/// Why a level was not set.
#[derive(Debug, thiserror::Error)]
pub enum NotSet {
    /// Try again.
    #[error(transparent)]
    Away(#[from] TunerAway),
    /// It does not fit what runs.
    #[error(transparent)]
    Conflict(#[from] Conflict),
}

/// What a change of level did, for those clients that it is about: the canary's, or all.
#[derive(Clone, Debug)]
pub struct LevelChange {
    /// The level of everybody outside the canary from now on.
    pub level: Level,
    /// Their tuning before.
    pub before: Arc<Tuning>,
    /// Their tuning from now on.
    pub after: Arc<Tuning>,
    /// The canary that runs from now on.
    pub canary: Option<Candidate>,
}

/// The running actors. Clones are the same actors; they stop when the last clone is gone, or with [`Actors::stop`].
#[derive(Clone)]
pub struct Actors(Arc<Running>);

struct Running {
    directory: Arc<Directory>,
    /// An actor that is started anew begins with these.
    settings: Arc<ArcSwap<Settings>>,
    stop: watch::Sender<bool>,
    stopped: watch::Receiver<()>,
}

/// Starts the actors and the watchdog. Call it inside an actix system; the watchdog runs on the calling thread.
///
/// # Errors
///
/// [`NotStarted`] if the system has no threads left.
pub fn start(settings: &Settings, published: Arc<Published>) -> Result<Actors, NotStarted> {
    redis_pool::install_crypto();
    let directory = Arc::new(Directory::new(published));
    let (stop, stopping) = watch::channel(false);
    let (running, stopped) = watch::channel(());
    let mut watchdog = Watchdog::new(directory.clone(), settings);

    // counts survive the actor that counts
    let window = Arc::new(Mutex::new(Window::new(
        &settings.metrics,
        &settings.quality,
        settings.rate_limit.window,
        directory.published.started,
    )));
    let current = Arc::new(ArcSwap::from_pointee(settings.clone()));
    let s = current.clone();
    let d = directory.clone();
    watchdog.watch(
        ActorName::Tuner,
        |d| &d.tuner,
        move |lease| Tuner::new(s.load().tables.clone(), d.clone(), lease),
    )?;
    let s = current.clone();
    let d = directory.clone();
    watchdog.watch(
        ActorName::RateLimiter,
        |d| &d.limiter,
        move |lease| {
            let s = s.load();
            RateLimiter::new(
                &s.rate_limit,
                &s.concurrency,
                d.clone(),
                lease,
                Instant::now(),
            )
        },
    )?;
    let s = current.clone();
    let d = directory.clone();
    watchdog.watch(
        ActorName::QualityClassifier,
        |d| &d.classifier,
        move |lease| {
            let s = s.load();
            QualityClassifier::new(&s.quality, &s.origin, d.clone(), lease)
        },
    )?;
    let s = current.clone();
    let d = directory.clone();
    let kept = redis_pool::Kept::default();
    watchdog.watch(
        ActorName::RedisPool,
        |d| &d.redis,
        move |lease| {
            let s = s.load();
            RedisPool::new(&s.redis, s.metrics.tick, kept.clone(), d.clone(), lease)
        },
    )?;
    let tick = settings.metrics.tick;
    let referee = Arc::new(Mutex::new(Referee::new(&settings.canary)));
    let d = directory.clone();
    watchdog.watch(
        ActorName::MetricsWindow,
        |d| &d.window,
        move |lease| MetricsWindow::new(window.clone(), referee.clone(), tick, d.clone(), lease),
    )?;

    actix_rt::spawn(watchdog.run(stopping, running));
    Ok(Actors(Arc::new(Running {
        directory,
        settings: current,
        stop,
        stopped,
    })))
}

impl Actors {
    /// A reporter for the calling worker thread: one per thread, then clones of it.
    pub fn reporter(&self) -> Reporter {
        Reporter::new(self.0.directory.clone())
    }

    /// Sets the level. It is in force when this returns; where Redis is set, other instances hear of it.
    ///
    /// # Errors
    ///
    /// [`TunerAway`] if the tuner does not answer within two seconds.
    pub async fn set_level(
        &self,
        level: Level,
        source: LevelSource,
    ) -> Result<LevelChange, TunerAway> {
        match self.roll_out(level, Percent::ALL, source).await {
            Ok(change) => Ok(change),
            // for everybody there is no conflict
            Err(NotSet::Away(_) | NotSet::Conflict(_)) => Err(TunerAway),
        }
    }

    /// Sets the level for a share of the clients; 100 % is everybody, 0 % takes a candidate back. Otherwise as
    /// [`Actors::set_level`].
    ///
    /// # Errors
    ///
    /// [`NotSet`], with nothing changed.
    pub async fn roll_out(
        &self,
        level: Level,
        percent: Percent,
        source: LevelSource,
    ) -> Result<LevelChange, NotSet> {
        let tuner = self.0.directory.tuner.addr().ok_or(TunerAway)?;
        let set = SetLevel {
            level,
            percent,
            source,
        };
        match tuner.send(set).timeout(PATIENCE).await {
            Ok(Some(change)) => Ok(change?),
            Ok(None) | Err(_) => Err(TunerAway.into()),
        }
    }

    /// Gives the actors other settings. Those in force until now stay for what they have already decided by them; the
    /// Redis pool and the watchdog keep theirs, and the window what it counts by.
    pub async fn resettle(&self, settings: Settings) {
        let settings = Arc::new(settings);
        // Whoever is started anew meanwhile begins with them.
        self.0.settings.store(settings.clone());
        let d = &self.0.directory;
        let new = Resettled(settings);
        let heard = [
            d.tuner.say(new.clone()).await,
            d.window.say(new.clone()).await,
            d.limiter.say(new.clone()).await,
            d.classifier.say(new).await,
        ];
        if heard.contains(&false) {
            tracing::warn!(
                "an actor does not answer: it begins with the new settings once it is started anew"
            );
        }
    }

    /// What the actors publish.
    pub fn published(&self) -> &Arc<Published> {
        &self.0.directory.published
    }

    /// Stops the actors and their threads, and waits for the watchdog to end.
    pub async fn stop(&self) {
        self.0.stop.send_replace(true);
        let mut stopped = self.0.stopped.clone();
        // the sender goes with the watchdog
        while stopped.changed().await.is_ok() {}
    }

    /// Breaks an actor, to show that it is noticed and started anew. For tests.
    #[doc(hidden)]
    pub fn inject(&self, name: ActorName, fault: Fault) {
        self.0.directory.inject(name, fault);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Locks what outlives an actor: a panic while it was locked leaves counts that are still good.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
