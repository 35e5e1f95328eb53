//! Owns level, canary and class, and publishes the tunings that follow from them.

use std::{fmt, sync::Arc, time::SystemTime};

use actix::{Actor, ActorContext, Context, Handler, Message};
use tracing::{info, warn};

use super::{
    LevelChange, Resettled,
    directory::{Directory, Lease, supervised},
    redis_pool::{Keep, KeepRollback},
};
use crate::traffic::{
    canary::{Candidate, Conflict, Percent, Rollback, Rollout},
    level::Level,
    published::{self, Retune},
    quality::Class,
    tuning::{Tables, Tuning},
};

/// Owns the tunings. Level, canary and class lie in what is published, so they survive this actor.
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

/// From the admin endpoint: this level for so many of the clients. None if the tuner was replaced meanwhile.
#[derive(Message)]
#[rtype(result = "Option<Result<LevelChange, Conflict>>")]
pub(super) struct SetLevel {
    pub level: Level,
    pub percent: Percent,
    pub source: LevelSource,
}

/// From the Redis pool: what the whole fleet has.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Adopt(pub Rollout);

/// From the window: the candidate of this stage is worse.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct RollBack {
    pub stage: u32,
    pub reason: String,
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

    /// Publishes the candidate's tuning first, then who has it.
    fn draw(&self, rollout: &Rollout, class: Class) {
        let published = &self.directory.published;
        let percent = match rollout.canary.candidate {
            Some(candidate) => {
                let tuning = self.tables.tuning(candidate.level, class);
                published.candidate.store(Arc::new(tuning));
                candidate.percent
            }
            None => Percent::NONE,
        };
        published.split.set(rollout.canary.stage, percent);
        published.canary.store(Arc::new(rollout.canary.clone()));
    }

    /// Puts a rollout in force and notes what it changes.
    fn apply(&self, to: &Rollout, why: &str) {
        let published = &self.directory.published;
        let from = published.rollout();
        let class = published.tuning.load().class;
        if to.level != from.level {
            self.retune(to.level, class);
            let (from, to) = (from.level.as_str(), to.level.as_str());
            self.note(published::Retuned::Level, from, to, why.to_owned());
        }
        if to.canary != from.canary {
            self.draw(to, class);
        }
        if to.canary.candidate != from.canary.candidate {
            let shown = |candidate: Option<Candidate>| {
                candidate.map_or("none".to_owned(), |candidate| candidate.to_string())
            };
            let rolled_back = to.canary.candidate.is_none()
                && to.canary.last_rollback != from.canary.last_rollback;
            let why = match &to.canary.last_rollback {
                Some(rollback) if rolled_back => format!("rolled back: {}", rollback.reason),
                _ => why.to_owned(),
            };
            let (from, to) = (shown(from.canary.candidate), shown(to.canary.candidate));
            self.note(published::Retuned::Canary, &from, &to, why);
        }
    }

    fn note(&self, what: published::Retuned, from: &str, to: &str, why: String) {
        match what {
            published::Retuned::Class => info!(from, to, why, "network class changed"),
            published::Retuned::Canary if why.starts_with("rolled back") => {
                warn!(from, to, why, "canary changed");
            }
            published::Retuned::Canary => info!(from, to, why, "canary changed"),
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
    type Result = Option<Result<LevelChange, Conflict>>;

    fn handle(&mut self, set: SetLevel, ctx: &mut Self::Context) -> Self::Result {
        if self.lease.is_revoked() {
            ctx.stop();
            return None;
        }
        let published = &self.directory.published;
        let before = published.rollout();
        let before_tuning = self.concerned(&before, set.percent);
        // never 0: that is no canary
        let (stage, now) = (fastrand::u32(1..), SystemTime::now());
        let after = match before.asked(set.level, set.percent, stage, now) {
            Ok(after) => after,
            Err(conflict) => return Some(Err(conflict)),
        };
        self.apply(&after, &set.source.to_string());
        if set.source == LevelSource::Admin {
            _ = self.directory.redis.tell(Keep(after.clone()));
        }
        Some(Ok(LevelChange {
            level: after.level,
            before: before_tuning,
            after: self.concerned(&after, set.percent),
            canary: after.canary.candidate,
        }))
    }
}

impl Tuner {
    /// The tuning of those whom a change for so many is about, while `rollout` is in force.
    fn concerned(&self, rollout: &Rollout, percent: Percent) -> Arc<Tuning> {
        let published = &self.directory.published;
        match rollout.canary.candidate {
            Some(_) if percent != Percent::ALL => published.candidate.load_full(),
            _ => published.tuning.load_full(),
        }
    }
}

impl Handler<Adopt> for Tuner {
    type Result = ();

    fn handle(&mut self, Adopt(rollout): Adopt, ctx: &mut Self::Context) {
        if self.lease.is_revoked() {
            return ctx.stop();
        }
        self.apply(&rollout, &LevelSource::Redis.to_string());
    }
}

impl Handler<RollBack> for Tuner {
    type Result = ();

    fn handle(&mut self, RollBack { stage, reason }: RollBack, ctx: &mut Self::Context) {
        if self.lease.is_revoked() {
            return ctx.stop();
        }
        let before = self.directory.published.rollout();
        if before.canary.candidate.is_none() || before.canary.stage != stage {
            return; // another one meanwhile
        }
        let at = SystemTime::now();
        let after = before.rolled_back(Rollback { at, reason });
        self.apply(&after, "");
        _ = self.directory.redis.tell(KeepRollback(after));
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
            self.draw(&self.directory.published.rollout(), new.class);
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
            let published = Arc::clone(&self.directory.published);
            let now = published.tuning.load_full();
            self.retune(now.level, now.class);
            self.draw(&published.rollout(), now.class);
        }
    }
}

supervised!(Tuner);
