//! What the actors publish, and what the path and the endpoints read: no lock, no mailbox.
//!
//! Each part has one writer, named beside it. The path only reads, but for the counters, which are its own atomics. What
//! is known of an origin lies with that origin, in [`super::origin::OriginState`].

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::Store;

use super::{
    canary::{
        Canary, Rollout,
        split::{Bucket, Group, Split},
        trial::Comparison,
    },
    counters::ClientCounters,
    line_budget::LineBudget,
    origin::OriginState,
    origins::Origins,
    summary::Summary,
    tuning::LevelInForce,
    validity::Validity,
};

/// Everything that is shared between workers, actors and endpoints.
#[derive(Debug)]
pub struct Published {
    /// What the level says for all clients outside a canary, and for everything that the process shares. Written by `Tuner`.
    pub level: ArcSwap<LevelInForce>,
    /// What the level of the clients in the canary says, if one runs. Written by `Tuner`.
    pub candidate: ArcSwap<LevelInForce>,
    /// Who is in the canary. Written by `Tuner`.
    pub split: Arc<Split>,
    /// What is known of each origin.
    pub origins: Origins,
    /// The canary, running or ended. Written by `Tuner`.
    pub canary: ArcSwap<Canary>,
    /// The canary's two groups at the last tick. Written by `MetricsWindow`.
    pub comparison: ArcSwapOption<Comparison>,
    /// What the window said at the last tick. Written by `MetricsWindow`.
    pub summary: ArcSwap<Summary>,
    /// The last changes. `Tuner` and `RateLimiter` add to it.
    pub retunes: Retunes,
    /// How Redis is. Written by `RedisPool`.
    pub redis: ArcSwap<RedisStatus>,
    /// How the actors are, by name. Written by the watchdog.
    pub actors: ArcSwap<BTreeMap<&'static str, ActorStatus>>,
    /// From when to when the certificate that clients see is valid; none without TLS. Written by whoever looks after it.
    pub certificate: ArcSwapOption<Validity>,
    /// What is kept of the origins' responses. Set once, before anybody is served.
    pub store: OnceLock<Arc<Store>>,
    /// What the path counts of clients.
    pub clients: Arc<ClientCounters>,
    /// The lines in the log about clients that were refused before they were a request. Taken by the path.
    pub refusals: LineBudget,
    /// Worker threads.
    pub workers: usize,
    /// When the process started, for durations.
    pub started: Instant,
    /// When the process started, for people.
    pub started_at: SystemTime,
    draining: AtomicBool,
}

impl Published {
    /// What is published before the actors run. `split`: the one that the origins know.
    pub fn new(level: LevelInForce, origins: Origins, split: Arc<Split>, workers: usize) -> Self {
        let now = origins.first().since;
        Self {
            candidate: ArcSwap::from_pointee(level.clone()),
            level: ArcSwap::from_pointee(level),
            split,
            origins,
            canary: ArcSwap::default(),
            comparison: ArcSwapOption::empty(),
            summary: ArcSwap::from_pointee(Summary::empty(now)),
            retunes: Retunes::default(),
            redis: ArcSwap::from_pointee(RedisStatus::default()),
            actors: ArcSwap::default(),
            certificate: ArcSwapOption::empty(),
            store: OnceLock::new(),
            clients: Arc::default(),
            refusals: LineBudget::new(now),
            workers,
            started: now,
            started_at: SystemTime::now(),
            draining: AtomicBool::new(false),
        }
    }

    /// What the level says for a client: by its address alone, without a lock. Read anew for each step, so that a retune
    /// reaches what is under way.
    pub fn level_for(&self, client: Bucket) -> &ArcSwap<LevelInForce> {
        match self.split.group(client) {
            Group::Stable => &self.level,
            Group::Candidate => &self.candidate,
        }
    }

    /// The first origin, which stands for all where only one can be shown.
    pub fn origin(&self) -> &OriginState {
        self.origins.first()
    }

    /// Who has which level.
    pub fn rollout(&self) -> Rollout {
        Rollout {
            level: self.level.load().level,
            canary: Canary::clone(&self.canary.load()),
        }
    }

    /// From now on the process takes no new work; /health says so.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
        self.origins.iter().for_each(|origin| origin.drain());
    }

    /// Whether the process takes no new work.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }
}

/// The last changes of level, class and rate.
#[derive(Debug, Default)]
pub struct Retunes {
    // a std mutex: locked a few times a minute, never across an await, never by the path
    last: Mutex<VecDeque<Retune>>,
}

impl Retunes {
    /// So many are kept.
    pub const KEPT: usize = 100;

    /// Adds a change; the oldest goes if there are too many.
    pub fn push(&self, retune: Retune) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == Self::KEPT {
            last.pop_front();
        }
        last.push_back(retune);
    }

    /// The last changes, oldest first.
    pub fn last(&self) -> Vec<Retune> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().cloned().collect()
    }
}

/// One change: what, from, to and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Retune {
    /// When.
    pub at: SystemTime,
    /// What changed.
    pub what: Retuned,
    /// The origin that it is about, by its name; none where it is about all.
    pub origin: Option<String>,
    /// The value before.
    pub from: String,
    /// The value from then on.
    pub to: String,
    /// What it follows from.
    pub why: String,
}

/// What a retune changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Retuned {
    /// How much optimization is on.
    Level,
    /// The level that a share of the clients has.
    Canary,
    /// The quality of the network.
    Class,
    /// Requests per second to the origin.
    Rate,
    /// Exchanges with the origin at once.
    Concurrency,
    /// Whether the origin can be reached.
    Origin,
}

/// How Redis is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RedisStatus {
    /// Whether it answers.
    pub link: RedisLink,
    /// How long the last ping took.
    pub latency: Option<Duration>,
    /// Most commands under way at once.
    pub pool_size: usize,
    /// Commands under way.
    pub in_use: usize,
}

/// Whether Redis answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RedisLink {
    /// No URL is set.
    #[default]
    Disabled,
    /// It does not answer.
    Disconnected,
    /// It answers.
    Connected,
}

/// How an actor is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActorStatus {
    /// Whether it answers.
    pub running: bool,
    /// How often it had to be started anew.
    pub restarts: u64,
    /// When it was last started anew.
    pub restarted: Option<Instant>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hundred_changes_are_kept() {
        let retunes = Retunes::default();
        for i in 0..250 {
            retunes.push(Retune {
                at: SystemTime::now(),
                what: Retuned::Rate,
                origin: None,
                from: i.to_string(),
                to: (i + 1).to_string(),
                why: String::new(),
            });
        }
        let last = retunes.last();
        assert_eq!(last.len(), Retunes::KEPT);
        assert_eq!(
            (last[0].from.as_str(), last[99].to.as_str()),
            ("150", "250")
        );
    }
}
