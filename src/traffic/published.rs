//! What the actors publish, and what the path and the endpoints read: no lock, no mailbox.
//!
//! Each part has one writer, named beside it. The path only reads, but for the counters and the gate, which are its
//! own atomics.

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
    binding_limit::BindingLimit,
    canary::{
        Canary, Rollout,
        split::{Bucket, Group, Split},
        trial::Comparison,
    },
    ceiling::Ceiling,
    concurrency::Concurrency,
    counters::Counters,
    line::{Line, LineStatus},
    line_budget::LineBudget,
    quality::Class,
    rate_gate::RateGate,
    redacted::redacted,
    sizes::Sizes,
    summary::Summary,
    tolerance::Tolerance,
    tuning::Tuning,
    validity::Validity,
};

/// Everything that is shared between workers, actors and endpoints.
#[derive(Debug)]
pub struct Published {
    /// The parameters in force, for everything that the process shares and for all clients outside a canary. Written
    /// by `Tuner`.
    pub tuning: ArcSwap<Tuning>,
    /// The parameters of the clients in the canary, if one runs. Written by `Tuner`.
    pub candidate: ArcSwap<Tuning>,
    /// Who is in the canary. Written by `Tuner`.
    pub split: Split,
    /// The canary, running or ended. Written by `Tuner`.
    pub canary: ArcSwap<Canary>,
    /// The canary's two groups at the last tick. Written by `MetricsWindow`.
    pub comparison: ArcSwapOption<Comparison>,
    /// Admission to the origin. Its rate is set by `RateLimiter`.
    pub gate: RateGate,
    /// How many exchanges the origin is given at once. Judged by `RateLimiter`.
    pub concurrency: Concurrency,
    /// How large answers were. Written by the path.
    pub sizes: Sizes,
    /// Which targets take it that they are asked for in parts. Written by the path.
    pub tolerance: Tolerance,
    /// How many exchanges at once the origin turned away. Written by the path.
    pub ceiling: Ceiling,
    /// What the window said at the last tick. Written by `MetricsWindow`.
    pub summary: ArcSwap<Summary>,
    /// The last changes. `Tuner` and `RateLimiter` add to it.
    pub retunes: Retunes,
    /// How Redis is. Written by `RedisPool`.
    pub redis: ArcSwap<RedisStatus>,
    /// How the actors are, by name. Written by the watchdog.
    pub actors: ArcSwap<BTreeMap<&'static str, ActorStatus>>,
    /// The line to the origin, by what the kernel knows of it. Written by the path, a few times a second.
    pub origin_line: ArcSwap<LineStatus>,
    /// A maximum of the settings that holds requests back; none where none does. Written by `RateLimiter`.
    pub binding_limit: ArcSwapOption<BindingLimit>,
    /// Whether the origin can be reached. Written by `QualityClassifier`.
    pub origin_status: ArcSwap<OriginStatus>,
    /// From when to when the certificate that clients see is valid; none without TLS. Written by whoever looks after it.
    pub certificate: ArcSwapOption<Validity>,
    /// What is kept of the origin's responses. Set once, before anybody is served.
    pub store: OnceLock<Arc<Store>>,
    /// What the path counts.
    pub counters: Arc<Counters>,
    /// The lines in the log about clients that were refused before they were a request. Taken by the path.
    pub refusals: LineBudget,
    /// The origin's URL, without user and password.
    pub origin: String,
    /// Worker threads.
    pub workers: usize,
    /// When the process started, for durations.
    pub started: Instant,
    /// When the process started, for people.
    pub started_at: SystemTime,
    /// Whether samples have shown the class. Written by `QualityClassifier`.
    judged: AtomicBool,
    draining: AtomicBool,
}

impl Published {
    /// What is published before the actors run. `origin` may hold user and password: they are taken out.
    pub fn new(tuning: Tuning, gate: RateGate, origin: &str, workers: usize) -> Self {
        gate.set_on(tuning.rate_limit);
        let concurrency = Concurrency::default();
        concurrency.set_on(tuning.concurrency_limit);
        let now = Instant::now();
        Self {
            candidate: ArcSwap::from_pointee(tuning.clone()),
            tuning: ArcSwap::from_pointee(tuning),
            split: Split::default(),
            canary: ArcSwap::default(),
            comparison: ArcSwapOption::empty(),
            gate,
            concurrency,
            sizes: Sizes::default(),
            tolerance: Tolerance::new(now),
            ceiling: Ceiling::default(),
            summary: ArcSwap::from_pointee(Summary::empty(now)),
            retunes: Retunes::default(),
            redis: ArcSwap::from_pointee(RedisStatus::default()),
            actors: ArcSwap::default(),
            origin_line: ArcSwap::from_pointee(LineStatus::from(&Line::default())),
            binding_limit: ArcSwapOption::empty(),
            origin_status: ArcSwap::from_pointee(OriginStatus::Unknown),
            certificate: ArcSwapOption::empty(),
            store: OnceLock::new(),
            counters: Arc::default(),
            refusals: LineBudget::new(now),
            origin: redacted(origin),
            workers,
            started: now,
            started_at: SystemTime::now(),
            judged: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        }
    }

    /// The parameters for a client: by its address alone, without a lock. Read anew for each step, so that a retune
    /// reaches what is under way.
    pub fn tuning_for(&self, client: Bucket) -> &ArcSwap<Tuning> {
        match self.split.group(client) {
            Group::Stable => &self.tuning,
            Group::Candidate => &self.candidate,
        }
    }

    /// Who has which level.
    pub fn rollout(&self) -> Rollout {
        Rollout {
            level: self.tuning.load().level,
            canary: Canary::clone(&self.canary.load()),
        }
    }

    /// From now on the process takes no new work; /health says so.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether the process takes no new work.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// The class of the origin by its response time; none while nobody knows how it answers. What is tuned by it stays as
    /// it was meanwhile.
    pub fn quality(&self) -> Option<Class> {
        match **self.origin_status.load() {
            OriginStatus::Reachable if self.judged.load(Relaxed) => Some(self.tuning.load().class),
            _ => None,
        }
    }

    /// Samples have shown the class in force.
    pub fn set_judged(&self) {
        self.judged.store(true, Relaxed);
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

/// Whether the origin can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OriginStatus {
    /// Nothing was sent to it yet.
    Unknown,
    /// It answers.
    Reachable,
    /// It takes no connection, or does not answer.
    Unreachable,
}

impl std::fmt::Display for OriginStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            OriginStatus::Unknown => "unknown",
            OriginStatus::Reachable => "reachable",
            OriginStatus::Unreachable => "unreachable",
        })
    }
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
