//! Decides level, canary and class, and publishes the tunings that follow from them.

use std::{sync::Arc, time::SystemTime};

use actix::{Actor, ActorContext, Context, Handler};
use tracing::{info, warn};

use super::{
    directory::Directory,
    lease::Lease,
    level_change::{LevelChange, LevelSource},
    messages::{
        AdoptRollout, NewClass, NewLevel, NewSettings, RollBack, SaveRollback, SaveRollout,
        SetLevel,
    },
    supervised_actor::supervised,
};
use crate::traffic::{
    canary::{Candidate, Conflict, Percent, Rollback, Rollout},
    level::Level,
    origin::OriginState,
    published::{self, Retune},
    tuning::{Tables, Tuning},
};

/// The only writer of level, canary, class, and the tunings derived from them. All of it is published, so that a successor
/// continues with it.
pub(super) struct Tuner {
    tables: Tables,
    directory: Arc<Directory>,
    lease: Lease,
}

supervised!(Tuner, hears set_level, adopt_rollout, roll_back, new_class, tuner_settings);

impl Tuner {
    pub fn new(tables: Tables, directory: Arc<Directory>, lease: Lease) -> Self {
        Self {
            tables,
            directory,
            lease,
        }
    }

    /// Publishes a level for all clients outside a canary, and notifies limiter and Redis pool.
    fn set_level(&self, level: Level) {
        let published = &self.directory.published;
        for origin in published.origins.iter() {
            let class = origin.tuning.load().class;
            origin
                .tuning
                .store(Arc::new(self.tables.tuning(level, class)));
        }
        let level = Arc::new(self.tables.level(level));
        published.level.store(Arc::clone(&level));
        // An actor whose mailbox is full, or that is dead, reads the published level.
        let new = NewLevel(level);
        _ = self.directory.limiter_level.tell(new.clone());
        _ = self.directory.redis_level.tell(new);
    }

    /// The tuning towards the first origin for the clients that a change for `percent` of them affects, while `rollout` is in
    /// force: the canary's, or that of all others.
    fn concerned(&self, rollout: &Rollout, percent: Percent) -> Arc<Tuning> {
        let origin = self.directory.published.origin();
        match rollout.canary.candidate {
            Some(_) if percent != Percent::ALL => origin.candidate.load_full(),
            _ => origin.tuning.load_full(),
        }
    }

    /// Publishes the canary of a rollout: first the candidate's level, then which clients have it.
    fn publish_canary(&self, rollout: &Rollout) {
        let published = &self.directory.published;
        let percent = match rollout.canary.candidate {
            Some(candidate) => {
                for origin in published.origins.iter() {
                    self.set_candidate(origin, candidate.level);
                }
                let level = self.tables.level(candidate.level);
                published.candidate.store(Arc::new(level));
                candidate.percent
            }
            None => Percent::NONE,
        };
        published.split.set(rollout.canary.stage, percent);
        published.canary.store(Arc::new(rollout.canary.clone()));
    }

    /// Sets the tuning of a canary with this level towards one origin.
    fn set_candidate(&self, origin: &OriginState, level: Level) {
        let class = origin.tuning.load().class;
        let tuning = self.tables.tuning(level, class);
        origin.candidate.store(Arc::new(tuning));
    }

    /// Puts a rollout in force, and records its changes with the reason.
    fn apply(&self, to: &Rollout, why: &str) {
        let published = &self.directory.published;
        let from = published.rollout();
        if to.level != from.level {
            self.set_level(to.level);
            let (from, to) = (from.level.as_str(), to.level.as_str());
            self.note(published::Retuned::Level, None, from, to, why.to_owned());
        }
        if to.canary != from.canary {
            self.publish_canary(to);
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
            self.note(published::Retuned::Canary, None, &from, &to, why);
        }
    }

    /// Writes a change to the log and to the list of retunes.
    fn note(
        &self,
        what: published::Retuned,
        origin: Option<&OriginState>,
        from: &str,
        to: &str,
        why: String,
    ) {
        let origin = origin.map(|origin| origin.name.clone());
        match what {
            published::Retuned::Class => {
                let origin = origin.as_deref().unwrap_or_default();
                info!(origin, from, to, why, "network class changed");
            }
            published::Retuned::Canary if why.starts_with("rolled back") => {
                warn!(from, to, why, "canary changed");
            }
            published::Retuned::Canary => info!(from, to, why, "canary changed"),
            _ => info!(from, to, why, "optimization level changed"),
        }
        self.directory.published.retunes.push(Retune {
            at: SystemTime::now(),
            what,
            origin,
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
        // 0 means no canary.
        let (stage, now) = (fastrand::u32(1..), SystemTime::now());
        let after = match before.asked(set.level, set.percent, stage, now) {
            Ok(after) => after,
            Err(conflict) => return Some(Err(conflict)),
        };
        self.apply(&after, &set.source.to_string());
        if set.source == LevelSource::Admin {
            _ = self.directory.save_rollout.tell(SaveRollout(after.clone()));
        }
        Some(Ok(LevelChange {
            level: after.level,
            before: before_tuning,
            after: self.concerned(&after, set.percent),
            canary: after.canary.candidate,
        }))
    }
}

impl Handler<AdoptRollout> for Tuner {
    type Result = ();

    fn handle(&mut self, AdoptRollout(rollout): AdoptRollout, ctx: &mut Self::Context) {
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
            // Another canary, or none, runs by now.
            return;
        }
        let at = SystemTime::now();
        let after = before.rolled_back(Rollback { at, reason });
        self.apply(&after, "");
        _ = self.directory.save_rollback.tell(SaveRollback(after));
    }
}

impl Handler<NewClass> for Tuner {
    type Result = ();

    fn handle(&mut self, new: NewClass, ctx: &mut Self::Context) {
        if self.lease.is_revoked() {
            return ctx.stop();
        }
        let published = &self.directory.published;
        let Some(origin) = published.origins.get(new.origin) else {
            return;
        };
        let before = origin.tuning.load_full();
        if new.class == before.class {
            return;
        }
        let tuning = self.tables.tuning(before.level, new.class);
        origin.tuning.store(Arc::new(tuning));
        if let Some(candidate) = published.rollout().canary.candidate {
            self.set_candidate(origin, candidate.level);
        }
        let (from, to) = (before.class.as_str(), new.class.as_str());
        self.note(published::Retuned::Class, Some(origin), from, to, new.why);
    }
}

impl Handler<NewSettings> for Tuner {
    type Result = ();

    fn handle(&mut self, NewSettings(settings): NewSettings, ctx: &mut Self::Context) {
        if self.lease.is_revoked() {
            return ctx.stop();
        }
        if self.tables != settings.tables {
            self.tables = settings.tables.clone();
            let published = Arc::clone(&self.directory.published);
            let rollout = published.rollout();
            self.set_level(rollout.level);
            self.publish_canary(&rollout);
        }
    }
}
