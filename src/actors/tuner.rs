//! Owns level and class, and publishes the tuning that follows from them.

use std::{fmt, sync::Arc, time::SystemTime};

use actix::{Actor, ActorContext, Context, Handler, Message};
use tracing::info;

use super::{
    LevelChange, Resettled,
    directory::{Directory, Lease, supervised},
    redis_pool::Keep,
};
use crate::traffic::{
    level::Level,
    published::{self, Retune},
    quality::Class,
    tuning::{Tables, Tuning},
};

/// Owns the tuning. Level and class lie in what is published, so they survive this actor.
pub(super) struct Tuner {
    tables: Tables,
    directory: Arc<Directory>,
    lease: Lease,
}

/// Who asks for a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LevelSource {
    /// The admin endpoint of this instance.
    Admin,
    /// The key in Redis, set through another instance or before a restart.
    Redis,
}

impl fmt::Display for LevelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LevelSource::Admin => "set by the admin endpoint",
            LevelSource::Redis => "set for all instances in redis",
        })
    }
}

/// From the admin endpoint or the Redis pool: this level from now on. None if the tuner was replaced meanwhile.
#[derive(Message)]
#[rtype(result = "Option<LevelChange>")]
pub(super) struct SetLevel {
    pub level: Level,
    pub source: LevelSource,
}

/// From the classifier: this class from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct NewClass {
    pub class: Class,
    pub why: String,
}

/// From the tuner: this tuning from now on.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Retuned(pub Arc<Tuning>);

impl Tuner {
    pub fn new(tables: Tables, directory: Arc<Directory>, lease: Lease) -> Self {
        Self {
            tables,
            directory,
            lease,
        }
    }

    fn retune(&self, level: Level, class: Class) -> Arc<Tuning> {
        let tuning = Arc::new(self.tables.tuning(level, class));
        self.directory.published.tuning.store(tuning.clone());
        // one that is full or dead reads what is published
        _ = self.directory.limiter.tell(Retuned(tuning.clone()));
        _ = self.directory.redis.tell(Retuned(tuning.clone()));
        tuning
    }

    fn note(&self, what: published::Retuned, from: &str, to: &str, why: String) {
        match what {
            published::Retuned::Class => info!(from, to, why, "network class changed"),
            _ => info!(from, to, why, "optimization level changed"),
        }
        self.directory.published.retunes.push(Retune {
            at: SystemTime::now(),
            what,
            from: from.to_owned(),
            to: to.to_owned(),
            why,
        });
    }
}

impl Actor for Tuner {
    type Context = Context<Self>;
}

impl Handler<SetLevel> for Tuner {
    type Result = Option<LevelChange>;

    fn handle(&mut self, set: SetLevel, ctx: &mut Self::Context) -> Self::Result {
        if self.lease.is_revoked() {
            ctx.stop();
            return None;
        }
        let before = self.directory.published.tuning.load_full();
        let mut after = before.clone();
        if set.level != before.level {
            after = self.retune(set.level, before.class);
            let (from, to) = (before.level.as_str(), set.level.as_str());
            self.note(published::Retuned::Level, from, to, set.source.to_string());
        }
        if set.source == LevelSource::Admin {
            _ = self.directory.redis.tell(Keep(set.level));
        }
        Some(LevelChange { before, after })
    }
}

impl Handler<NewClass> for Tuner {
    type Result = ();

    fn handle(&mut self, new: NewClass, ctx: &mut Self::Context) {
        if self.lease.is_revoked() {
            return ctx.stop();
        }
        let before = self.directory.published.tuning.load_full();
        if new.class != before.class {
            self.retune(before.level, new.class);
            let (from, to) = (before.class.as_str(), new.class.as_str());
            self.note(published::Retuned::Class, from, to, new.why);
        }
    }
}

impl Handler<Resettled> for Tuner {
    type Result = ();

    fn handle(&mut self, Resettled(settings): Resettled, ctx: &mut Self::Context) {
        if self.lease.is_revoked() {
            return ctx.stop();
        }
        if self.tables != settings.tables {
            self.tables = settings.tables.clone();
            let now = self.directory.published.tuning.load_full();
            self.retune(now.level, now.class);
        }
    }
}

supervised!(Tuner);
