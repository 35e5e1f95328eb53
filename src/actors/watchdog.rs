//! Replaces actors that panicked or hang.
//!
//! After a panic in a handler (actix 0.13, tokio 1), tokio catches it at the task that is the actor and drops the actor, and its
//! mailbox closes; the arbiter's thread survives. actix's supervisors do not see that. A handler that blocks takes its arbiter's
//! thread with it: this shows only in unanswered pings.

use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    directory::Directory,
    lease::Lease,
    settings::Settings,
    supervised_actor::{Supervised, SupervisedActor, Watched},
};

/// Checks the actors once a tick. Runs as a task on the thread that started it and never blocks.
pub(super) struct Watchdog {
    directory: Arc<Directory>,
    actors: Vec<Box<dyn Watched>>,
    /// Time between two checks: `metrics.tick`.
    tick: Duration,
    /// `supervision.patience`.
    patience: Duration,
}

impl Watchdog {
    /// A watchdog without actors.
    pub fn new(directory: Arc<Directory>, settings: &Settings) -> Self {
        Self {
            directory,
            actors: Vec::new(),
            tick: settings.metrics.tick,
            patience: settings.supervision.patience,
        }
    }

    /// Starts an actor on its own thread, and watches it. `make` creates the actor and each successor.
    ///
    /// # Errors
    ///
    /// The system cannot start a thread.
    pub fn start<A: Supervised>(&mut self, make: impl Fn(Lease) -> A + 'static) -> io::Result<()> {
        let actor = SupervisedActor::start(self.directory.clone(), make)?;
        self.actors.push(Box::new(actor));
        self.publish();
        Ok(())
    }

    /// Watches until `stop` turns true, then stops all actors. `_running` is dropped at the end, which notifies its receivers.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>, _running: watch::Sender<()>) {
        let mut ticks = tokio::time::interval(self.tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            for actor in &mut self.actors {
                actor.look(Instant::now(), self.patience);
            }
            self.publish();
        }
    }

    fn publish(&self) {
        let now: BTreeMap<_, _> = self.actors.iter().map(|actor| actor.status()).collect();
        let published = &self.directory.published.actors;
        if **published.load() != now {
            published.store(Arc::new(now));
        }
    }
}
