//! What is known of one origin: measured and decided by the actors, read by the path and the endpoints without a lock.
//!
//! Nothing in it is the process's: it exists once for each origin. What belongs to clients is in
//! [`super::published::Published`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    binding_limit::BindingLimit,
    canary::split::{Bucket, Group, Split},
    ceiling::Ceiling,
    concurrency::Concurrency,
    counters::OriginCounters,
    line::{Line, LineStatus},
    origin_id::OriginId,
    quality::Class,
    rate_gate::RateGate,
    redacted::redacted,
    sizes::Sizes,
    tolerance::Tolerance,
    tuning::Tuning,
};

/// How settings name an origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedOrigin {
    /// Its name in metrics and in /stats.
    pub name: String,
    /// Its URL.
    pub url: String,
}

/// What is known of one origin, by all workers, actors and endpoints. Each part has one writer, named beside it.
#[derive(Debug)]
pub struct OriginState {
    /// Its number.
    pub id: OriginId,
    /// Its name in metrics and in /stats.
    pub name: String,
    /// Its URL, without user and password.
    pub url: String,
    /// The parameters in force towards it, for all clients outside a canary. Written by `Tuner`.
    pub tuning: ArcSwap<Tuning>,
    /// The same for the clients in the canary, if one runs. Written by `Tuner`.
    pub candidate: ArcSwap<Tuning>,
    /// Admission to it. Its rate is set by `RateLimiter`.
    pub gate: RateGate,
    /// How many exchanges it is given at once. Judged by `RateLimiter`.
    pub concurrency: Concurrency,
    /// A maximum of the settings that holds requests back; none where none does. Written by `RateLimiter`.
    pub binding_limit: ArcSwapOption<BindingLimit>,
    /// How large its answers were. Written by the path.
    pub sizes: Sizes,
    /// Which of its targets take it that they are asked for in parts. Written by the path.
    pub tolerance: Tolerance,
    /// How many exchanges at once it turned away. Written by the path.
    pub ceiling: Ceiling,
    /// The line to it, by what the kernel knows of it. Written by the path, a few times a second.
    pub line: ArcSwap<LineStatus>,
    /// Whether it can be reached. Written by `QualityClassifier`.
    pub status: ArcSwap<OriginStatus>,
    /// What the path counts.
    pub counters: Arc<OriginCounters>,
    /// Since when it is known.
    pub since: Instant,
    split: Arc<Split>,
    /// Whether samples have shown the class. Written by `QualityClassifier`.
    judged: AtomicBool,
    draining: AtomicBool,
}

impl OriginState {
    /// What is known before the first request. The URL may hold user and password: they are taken out.
    pub fn new(
        id: OriginId,
        named: &NamedOrigin,
        tuning: Tuning,
        gate: RateGate,
        split: Arc<Split>,
        now: Instant,
    ) -> Self {
        gate.set_on(tuning.rate_limit);
        let concurrency = Concurrency::default();
        concurrency.set_on(tuning.concurrency_limit);
        Self {
            id,
            name: named.name.clone(),
            url: redacted(&named.url),
            candidate: ArcSwap::from_pointee(tuning.clone()),
            tuning: ArcSwap::from_pointee(tuning),
            gate,
            concurrency,
            binding_limit: ArcSwapOption::empty(),
            sizes: Sizes::default(),
            tolerance: Tolerance::new(now),
            ceiling: Ceiling::default(),
            line: ArcSwap::from_pointee(LineStatus::from(&Line::default())),
            status: ArcSwap::from_pointee(OriginStatus::Unknown),
            counters: Arc::default(),
            since: now,
            split,
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

    /// Concurrent exchanges with it, at most, by the settings.
    pub fn most_at_once(&self) -> usize {
        self.tuning.load().connections_at_once()
    }

    /// The class by its response time; none while nobody knows how it answers. What is tuned by it stays as it was
    /// meanwhile.
    pub fn quality(&self) -> Option<Class> {
        match **self.status.load() {
            OriginStatus::Reachable if self.judged.load(Relaxed) => Some(self.tuning.load().class),
            _ => None,
        }
    }

    /// Samples have shown the class in force.
    pub fn set_judged(&self) {
        self.judged.store(true, Relaxed);
    }

    /// From now on nothing is prepared for further requests.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether no further requests are expected.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }
}

/// Whether an origin can be reached.
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
