//! State that actors publish for the path and the endpoints: no lock, no mailbox.
//!
//! Each part has one writer, named beside it. The path only reads, except for its own counters. The state of an origin is in
//! [`super::origin::OriginState`].

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
    known_lines::KnownLines,
    line_budget::LineBudget,
    origin::OriginState,
    origins::Origins,
    summary::Summary,
    tuning::LevelInForce,
    validity::Validity,
};

/// State shared by workers, actors and endpoints.
#[derive(Debug)]
pub struct Published {
    /// The level in force for clients outside a canary, and for everything shared. Written by `Tuner`.
    pub level: ArcSwap<LevelInForce>,
    /// The level in force for clients in the canary, if one runs. Written by `Tuner`.
    pub candidate: ArcSwap<LevelInForce>,
    /// Assigns clients to the canary. Written by `Tuner`.
    pub split: Arc<Split>,
    /// The state of each origin.
    pub origins: Origins,
    /// The canary, running or ended. Written by `Tuner`.
    pub canary: ArcSwap<Canary>,
    /// The canary's two groups at the last tick. Written by `MetricsWindow`.
    pub comparison: ArcSwapOption<Comparison>,
    /// The window's summary at the last tick. Written by `MetricsWindow`.
    pub summary: ArcSwap<Summary>,
    /// The last retunes. `Tuner` and `RateLimiter` add to it.
    pub retunes: Retunes,
    /// State of the Redis connection. Written by `RedisPool`.
    pub redis: ArcSwap<RedisStatus>,
    /// State of each actor, by name. Written by the watchdog.
    pub actors: ArcSwap<BTreeMap<&'static str, ActorStatus>>,
    /// Validity of the certificate for clients; none without TLS. Written when the certificate is loaded.
    pub certificate: ArcSwapOption<Validity>,
    /// The store. Set once, before the first request.
    pub store: OnceLock<Arc<Store>>,
    /// Counters of the client side.
    pub clients: Arc<ClientCounters>,
    /// The classes of clients' lines by network.
    pub lines: KnownLines,
    /// Rate limit for log lines about clients that were refused before they sent a valid request.
    pub refusals: LineBudget,
    /// Number of worker threads.
    pub workers: usize,
    /// When the process started, for durations.
    pub started: Instant,
    /// When the process started, as wall clock time.
    pub started_at: SystemTime,
    draining: AtomicBool,
}

impl Published {
    /// The state before the actors run. `split` is shared with the origins.
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
            lines: KnownLines::default(),
            refusals: LineBudget::new(now),
            workers,
            started: now,
            started_at: SystemTime::now(),
            draining: AtomicBool::new(false),
        }
    }

    /// The level in force for a client, by its bucket alone, without a lock. Read again at each step, so that a retune affects
    /// running requests.
    pub fn level_for(&self, client: Bucket) -> &ArcSwap<LevelInForce> {
        match self.split.group(client) {
            Group::Stable => &self.level,
            Group::Candidate => &self.candidate,
        }
    }

    /// The first origin, for places that can show only one.
    pub fn origin(&self) -> &OriginState {
        self.origins.first()
    }

    /// The rollout: stable level and canary.
    pub fn rollout(&self) -> Rollout {
        Rollout {
            level: self.level.load().level,
            canary: Canary::clone(&self.canary.load()),
        }
    }

    /// Starts to drain: no new connections; /health says so.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
        self.origins.iter().for_each(|origin| origin.drain());
    }

    /// Whether the process drains.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }
}

/// The last retunes.
#[derive(Debug, Default)]
pub struct Retunes {
    // a std mutex: locked a few times a minute, never across an await, never by the path
    last: Mutex<VecDeque<Retune>>,
}

impl Retunes {
    /// How many are kept.
    pub const KEPT: usize = 100;

    /// Adds one; drops the oldest if there are too many.
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

/// One retune: what changed, from, to and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Retune {
    /// When.
    pub at: SystemTime,
    /// What changed.
    pub what: Retuned,
    /// The name of the origin it concerns; none for changes that concern all.
    pub origin: Option<String>,
    /// The value before.
    pub from: String,
    /// The value after.
    pub to: String,
    /// The reason, in words.
    pub why: String,
}

/// What a retune changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Retuned {
    /// The level of all clients.
    Level,
    /// The candidate level of a canary.
    Canary,
    /// The class of the network.
    Class,
    /// Requests per second to the origin.
    Rate,
    /// Exchanges with the origin at once.
    Concurrency,
    /// Whether the origin is reachable.
    Origin,
}

/// State of the Redis connection.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RedisStatus {
    /// Whether it answers.
    pub link: RedisLink,
    /// Time of the last ping.
    pub latency: Option<Duration>,
    /// The most concurrent commands.
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

/// State of an actor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActorStatus {
    /// Whether it answers pings.
    pub running: bool,
    /// How often it was restarted.
    pub restarts: u64,
    /// When it was last restarted.
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
