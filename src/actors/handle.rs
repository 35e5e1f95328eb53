//! Starts the actors, and controls them from outside.

use std::{io, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use tokio::sync::watch;

#[cfg(feature = "testing")]
use super::{actor_name::ActorName, fault::Fault};
use super::{
    directory::Directory,
    level_change::{LevelChange, LevelSource, NotSet, TunerAway},
    messages::{NewSettings, SetLevel, SharePurge},
    metrics_window::MetricsWindow,
    quality_classifier::QualityClassifier,
    rate_limiter::RateLimiter,
    redis_pool::{self, RedisPool},
    reporter::Reporter,
    settings::Settings,
    survivor::Survivor,
    tuner::Tuner,
    watchdog::Watchdog,
};
use crate::store::purge::What;
use crate::traffic::{
    canary::{Percent, referee::Referee},
    level::Level,
    published::Published,
    window::Window,
};

/// The actors could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the actors could not be started: {0}")]
pub struct NotStarted(#[from] io::Error);

/// The running actors. Clones share them; they stop when the last clone is dropped, or by [`Actors::stop`].
#[derive(Clone)]
pub struct Actors(Arc<Running>);

struct Running {
    directory: Arc<Directory>,
    /// The settings that a replaced actor's successor starts with.
    settings: Arc<ArcSwap<Settings>>,
    stop: watch::Sender<bool>,
    stopped: watch::Receiver<()>,
}

/// Starts the actors, each on its own thread, and the watchdog. Call it inside an actix system; the watchdog runs on the calling
/// thread.
///
/// # Errors
///
/// [`NotStarted`] if the system cannot start a thread.
pub fn start(settings: &Settings, published: Arc<Published>) -> Result<Actors, NotStarted> {
    redis_pool::install_crypto();
    let directory = Arc::new(Directory::new(published));
    let (stop, stopping) = watch::channel(false);
    let (running, stopped) = watch::channel(());
    let mut watchdog = Watchdog::new(directory.clone(), settings);
    let current = Arc::new(ArcSwap::from_pointee(settings.clone()));

    let (s, d) = (current.clone(), directory.clone());
    watchdog.start(move |lease| Tuner::new(s.load().tables.clone(), d.clone(), lease))?;

    let (s, d) = (current.clone(), directory.clone());
    watchdog.start(move |lease| {
        let s = s.load();
        let now = Instant::now();
        RateLimiter::new(&s.rate_limit, &s.concurrency, d.clone(), lease, now)
    })?;

    let (s, d) = (current.clone(), directory.clone());
    watchdog.start(move |lease| {
        let s = s.load();
        QualityClassifier::new(&s.quality, d.clone(), lease)
    })?;

    let (s, d) = (current.clone(), directory.clone());
    let (instance, shared) = (redis_pool::instance_name(), Survivor::default());
    watchdog.start(move |lease| {
        let s = s.load();
        let (tick, instance, shared) = (s.metrics.tick, instance.clone(), shared.clone());
        RedisPool::new(&s.redis, tick, instance, shared, d.clone(), lease)
    })?;

    let window = Survivor::new(Window::new(
        &settings.metrics,
        &settings.quality,
        settings.rate_limit.window,
        directory.published.started,
    ));
    let referee = Survivor::new(Referee::new(&settings.canary));
    let (tick, d) = (settings.metrics.tick, directory.clone());
    watchdog.start(move |lease| {
        MetricsWindow::new(window.clone(), referee.clone(), tick, d.clone(), lease)
    })?;

    actix_rt::spawn(watchdog.run(stopping, running));
    Ok(Actors(Arc::new(Running {
        directory,
        settings: current,
        stop,
        stopped,
    })))
}

impl Actors {
    /// A reporter of samples for the calling worker thread: create one for each thread, and clone it.
    pub fn reporter(&self) -> Reporter {
        Reporter::new(self.0.directory.clone())
    }

    /// Sets the level for all clients. It is in force when this returns; if Redis is configured, the other instances get it too.
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
            // A level for all clients cannot conflict.
            Err(NotSet::Away(_) | NotSet::Conflict(_)) => Err(TunerAway),
        }
    }

    /// Sends a purge made here to all other instances. Returns whether they will receive it.
    pub async fn share_purge(&self, what: Vec<What>, soft: bool) -> bool {
        let purge = SharePurge { what, soft };
        let shared = self.0.directory.share_purge.ask(purge).await;
        shared.unwrap_or(false)
    }

    /// Sets the level for `percent` of the clients, which starts a canary; 100 is all clients, 0 takes a canary back. Otherwise
    /// like [`Actors::set_level`].
    ///
    /// # Errors
    ///
    /// [`NotSet`]; nothing changes.
    pub async fn roll_out(
        &self,
        level: Level,
        percent: Percent,
        source: LevelSource,
    ) -> Result<LevelChange, NotSet> {
        let set = SetLevel {
            level,
            percent,
            source,
        };
        match self.0.directory.set_level.ask(set).await {
            Some(Some(change)) => Ok(change?),
            Some(None) | None => Err(TunerAway.into()),
        }
    }

    /// Gives the actors new settings after a reload. Past decisions stay. The Redis pool, the watchdog and the window's length keep
    /// the settings they were started with.
    pub async fn reconfigure(&self, settings: Settings) {
        let settings = Arc::new(settings);
        // First, so that an actor that is replaced meanwhile starts with them.
        self.0.settings.store(settings.clone());
        let directory = &self.0.directory;
        let mut unheard = false;
        for mailbox in [
            &directory.tuner_settings,
            &directory.window_settings,
            &directory.limiter_settings,
            &directory.classifier_settings,
        ] {
            unheard |= mailbox.ask(NewSettings(settings.clone())).await.is_none();
        }
        if unheard {
            tracing::warn!(
                "an actor does not answer: it begins with the new settings once it is started anew"
            );
        }
    }

    /// The published state.
    pub fn published(&self) -> &Arc<Published> {
        &self.0.directory.published
    }

    /// Stops the actors and their threads, and waits for the watchdog to end.
    pub async fn stop(&self) {
        self.0.stop.send_replace(true);
        let mut stopped = self.0.stopped.clone();
        // An error means that the watchdog has ended, and dropped its sender.
        while stopped.changed().await.is_ok() {}
    }

    /// Breaks an actor, to test that it is detected and replaced.
    #[cfg(feature = "testing")]
    pub fn inject(&self, name: ActorName, fault: Fault) {
        // Fails if the mailbox is full or the actor is dead, which is broken enough.
        _ = self.0.directory.fault(name).tell(fault);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
