//! Where the actors are now: an address changes when its actor is started anew, so nobody keeps one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use actix::{Actor, Addr, Context, Handler, Message, dev::ToEnvelope, prelude::SendError};
use arc_swap::ArcSwapOption;

use super::{MetricsWindow, QualityClassifier, RateLimiter, RedisPool, Tuner};
use crate::traffic::published::Published;

/// The actors' names, as in /health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the actors themselves")]
pub enum ActorName {
    MetricsWindow,
    QualityClassifier,
    RateLimiter,
    RedisPool,
    Tuner,
}

impl ActorName {
    /// Every actor.
    pub const ALL: [ActorName; 5] = [
        ActorName::MetricsWindow,
        ActorName::QualityClassifier,
        ActorName::RateLimiter,
        ActorName::RedisPool,
        ActorName::Tuner,
    ];

    /// The name as in /health and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            ActorName::MetricsWindow => "metrics_window",
            ActorName::QualityClassifier => "quality_classifier",
            ActorName::RateLimiter => "rate_limiter",
            ActorName::RedisPool => "redis_pool",
            ActorName::Tuner => "tuner",
        }
    }
}

/// The actors' addresses, and what they publish.
pub(super) struct Directory {
    pub published: Arc<Published>,
    pub window: Post<MetricsWindow>,
    pub classifier: Post<QualityClassifier>,
    pub limiter: Post<RateLimiter>,
    pub redis: Post<RedisPool>,
    pub tuner: Post<Tuner>,
}

impl Directory {
    pub fn new(published: Arc<Published>) -> Self {
        Self {
            published,
            window: Post::default(),
            classifier: Post::default(),
            limiter: Post::default(),
            redis: Post::default(),
            tuner: Post::default(),
        }
    }

    pub fn inject(&self, name: ActorName, fault: Fault) {
        // a full mailbox or a dead actor is broken enough
        match name {
            ActorName::MetricsWindow => drop(self.window.tell(fault)),
            ActorName::QualityClassifier => drop(self.classifier.tell(fault)),
            ActorName::RateLimiter => drop(self.limiter.tell(fault)),
            ActorName::RedisPool => drop(self.redis.tell(fault)),
            ActorName::Tuner => drop(self.tuner.tell(fault)),
        }
    }
}

/// Where one actor is now. All senders share one address: each clone of an address would widen the mailbox.
pub(super) struct Post<A: Actor>(ArcSwapOption<Addr<A>>);

impl<A: Actor> Default for Post<A> {
    fn default() -> Self {
        Self(ArcSwapOption::empty())
    }
}

impl<A: Actor<Context = Context<A>>> Post<A> {
    /// Puts a message into the mailbox; gives it back if the mailbox is full or the actor is gone.
    pub fn tell<M>(&self, message: M) -> Result<(), SendError<M>>
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        match &*self.0.load() {
            Some(addr) => addr.try_send(message),
            None => Err(SendError::Closed(message)),
        }
    }

    /// Waits until the actor has heard a message, or is given up: whether it heard it.
    pub async fn say<M>(&self, message: M) -> bool
    where
        M: Message<Result = ()> + Send + 'static,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        match self.addr() {
            Some(addr) => addr.send(message).timeout(super::PATIENCE).await.is_ok(),
            None => false,
        }
    }

    pub fn addr(&self) -> Option<Arc<Addr<A>>> {
        self.0.load_full()
    }

    pub fn moved_to(&self, addr: Addr<A>) {
        self.0.store(Some(Arc::new(addr)));
    }
}

/// The right to act. An actor that hung may wake up after another took its place: it must not write any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Lease(Arc<AtomicBool>);

impl Lease {
    pub fn revoke(&self) {
        self.0.store(true, Relaxed);
    }

    pub fn is_revoked(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// From the watchdog: are you there?
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Ping;

/// A fault made on purpose.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub enum Fault {
    /// The handler panics.
    Panic,
    /// The handler blocks its thread for so long.
    Hang(Duration),
}

impl Fault {
    #[expect(clippy::panic, reason = "a panic is what it is for")]
    pub(super) fn happen(self) {
        match self {
            Fault::Panic => panic!("a fault made on purpose"),
            Fault::Hang(duration) => std::thread::sleep(duration),
        }
    }
}

/// Lets an actor answer the watchdog.
macro_rules! supervised {
    ($actor:ty) => {
        impl actix::Handler<$crate::actors::directory::Ping> for $actor {
            type Result = ();
            fn handle(&mut self, _: $crate::actors::directory::Ping, _: &mut Self::Context) {}
        }

        impl actix::Handler<$crate::actors::directory::Fault> for $actor {
            type Result = ();
            fn handle(&mut self, fault: $crate::actors::directory::Fault, _: &mut Self::Context) {
                fault.happen();
            }
        }
    };
}
pub(super) use supervised;
