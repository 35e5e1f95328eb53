//! Notices an actor that panicked or hangs, and starts it anew on a fresh thread.
//!
//! What a panic in a handler does (actix 0.13, tokio 1): tokio catches it at the task that is the actor, drops the
//! actor, and its mailbox closes; the arbiter's thread lives on. No supervisor of actix sees that. A handler that
//! blocks takes its arbiter's thread with it: all that shows is that pings go unanswered.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, Context, Handler};
use actix_rt::Arbiter;
use tokio::sync::watch;
use tracing::{error, warn};

use super::{
    Settings,
    directory::{ActorName, Directory, Lease, Ping, Post},
};
use crate::traffic::published::ActorStatus;

/// Watches the actors. It runs on the thread that started it and blocks nowhere.
pub(super) struct Watchdog {
    directory: Arc<Directory>,
    watched: Vec<Box<dyn Watched>>,
    every: Duration,
    patience: Duration,
}

impl Watchdog {
    pub fn new(directory: Arc<Directory>, settings: &Settings) -> Self {
        Self {
            directory,
            watched: Vec::new(),
            every: settings.metrics.tick,
            patience: settings.supervision.patience,
        }
    }

    /// Starts an actor on a thread of its own, and watches it from now on.
    pub fn watch<A>(
        &mut self,
        name: ActorName,
        post: fn(&Directory) -> &Post<A>,
        make: impl Fn(Lease) -> A + 'static,
    ) -> io::Result<()>
    where
        A: Actor<Context = Context<A>> + Handler<Ping> + Send,
    {
        let mut charge = Charge {
            name,
            directory: self.directory.clone(),
            post,
            make: Box::new(make),
            thread: None,
            lease: Lease::default(),
            asked: Rc::default(),
            status: ActorStatus::default(),
        };
        charge.start()?;
        self.watched.push(Box::new(charge));
        self.publish();
        Ok(())
    }

    /// Looks after the actors until told to stop, then stops them. `_running` is dropped at the end.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>, _running: watch::Sender<()>) {
        let mut ticks = tokio::time::interval(self.every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            for watched in &mut self.watched {
                watched.look(Instant::now(), self.patience);
            }
            self.publish();
        }
    }

    fn publish(&self) {
        let now: BTreeMap<_, _> = self.watched.iter().map(|w| w.status()).collect();
        let actors = &self.directory.published.actors;
        if **actors.load() != now {
            actors.store(Arc::new(now));
        }
    }
}

trait Watched {
    /// Starts the actor anew if it is dead or does not answer.
    fn look(&mut self, now: Instant, patience: Duration);
    fn status(&self) -> (&'static str, ActorStatus);
}

/// One actor that is watched.
struct Charge<A: Actor> {
    name: ActorName,
    directory: Arc<Directory>,
    post: fn(&Directory) -> &Post<A>,
    make: Box<dyn Fn(Lease) -> A>,
    thread: Option<Arbiter>,
    lease: Lease,
    /// When the ping was sent that is not answered yet.
    asked: Rc<Cell<Option<Instant>>>,
    status: ActorStatus,
}

impl<A> Charge<A>
where
    A: Actor<Context = Context<A>> + Handler<Ping> + Send,
{
    fn start(&mut self) -> io::Result<()> {
        self.retire();
        let thread = Arbiter::try_new()?;
        self.lease = Lease::default();
        self.asked = Rc::default();
        let actor = (self.make)(self.lease.clone());
        let addr = A::start_in_arbiter(&thread.handle(), move |_| actor);
        (self.post)(&self.directory).moved_to(addr);
        self.thread = Some(thread);
        self.status.running = true;
        Ok(())
    }

    /// Lets the thread end as soon as it can; one that hangs ends when it wakes.
    fn retire(&mut self) {
        self.lease.revoke();
        if let Some(thread) = self.thread.take() {
            thread.stop();
        }
    }

    fn restart(&mut self, why: &str, now: Instant) {
        let actor = self.name.as_str();
        self.status.running = false;
        self.status.restarts += 1;
        self.status.restarted = Some(now);
        match self.start() {
            Ok(()) => warn!(
                actor,
                why,
                restarts = self.status.restarts,
                "actor started anew"
            ),
            Err(error) => error!(actor, why, %error, "actor could not be started anew"),
        }
    }
}

impl<A> Watched for Charge<A>
where
    A: Actor<Context = Context<A>> + Handler<Ping> + Send,
{
    fn look(&mut self, now: Instant, patience: Duration) {
        let Some(addr) = (self.post)(&self.directory).addr() else {
            return;
        };
        if !addr.connected() {
            return self.restart("it panicked", now);
        }
        match self.asked.get() {
            Some(asked) if now.saturating_duration_since(asked) >= patience => {
                self.restart("it does not answer", now);
            }
            Some(_) => {}
            None => {
                self.asked.set(Some(now));
                let asked = self.asked.clone();
                actix_rt::spawn(async move {
                    if addr.send(Ping).await.is_ok() {
                        asked.set(None);
                    }
                });
            }
        }
    }

    fn status(&self) -> (&'static str, ActorStatus) {
        (self.name.as_str(), self.status)
    }
}

impl<A: Actor> Drop for Charge<A> {
    fn drop(&mut self) {
        self.lease.revoke();
        if let Some(thread) = self.thread.take() {
            thread.stop();
        }
    }
}
