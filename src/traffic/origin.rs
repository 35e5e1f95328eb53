//! The state of one origin: measured and decided by the actors, read without a lock by the path and the endpoints.
//!
//! It exists once for each origin. What concerns clients is in [`super::published::Published`].

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

/// An origin as the settings name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedOrigin {
    /// Its name in metrics and in /stats.
    pub name: String,
    /// Its URL.
    pub url: String,
}

/// The state of one origin, shared by all workers, actors and endpoints. Each part has one writer, named beside it.
#[derive(Debug)]
pub struct OriginState {
    /// Its number.
    pub id: OriginId,
    /// Its name in metrics and in /stats.
    pub name: String,
    /// Its URL, without user and password.
    pub url: String,
    /// The parameters in force for clients outside a canary. Written by `Tuner`.
    pub tuning: ArcSwap<Tuning>,
    /// The parameters in force for clients in the canary, if one runs. Written by `Tuner`.
    pub candidate: ArcSwap<Tuning>,
    /// Admission at the rate limit. Its rate is set by `RateLimiter`.
    pub gate: RateGate,
    /// Adaptive limit on concurrent exchanges. Judged by `RateLimiter`.
    pub concurrency: Concurrency,
    /// A maximum of the settings that holds requests back, if one does. Written by `RateLimiter`.
    pub binding_limit: ArcSwapOption<BindingLimit>,
    /// Sizes of recent responses by target. Written by the path.
    pub sizes: Sizes,
    /// Which targets accept requests for parts. Written by the path.
    pub tolerance: Tolerance,
    /// The number of exchanges at which it refuses more. Written by the path.
    pub ceiling: Ceiling,
    /// State of the line to it, by TCP_INFO. Written by the path, a few times a second.
    pub line: ArcSwap<LineStatus>,
    /// Whether it is reachable. Written by `QualityClassifier`.
    pub status: ArcSwap<OriginStatus>,
    /// Counters written by the path.
    pub counters: Arc<OriginCounters>,
    /// When it was configured.
    pub since: Instant,
    split: Arc<Split>,
    /// Whether the class is based on samples. Written by `QualityClassifier`.
    judged: AtomicBool,
    draining: AtomicBool,
}

impl OriginState {
    /// The state before the first request. User and password are removed from the URL.
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

    /// The parameters in force for a client, by its bucket alone, without a lock. Read again at each step, so that a retune affects
    /// running requests.
    pub fn tuning_for(&self, client: Bucket) -> &ArcSwap<Tuning> {
        match self.split.group(client) {
            Group::Stable => &self.tuning,
            Group::Candidate => &self.candidate,
        }
    }

    /// The settings' maximum of concurrent exchanges.
    pub fn most_at_once(&self) -> usize {
        self.tuning.load().connections_at_once()
    }

    /// The class by response time; none before there are enough samples. Until then the tuning keeps its initial class.
    pub fn quality(&self) -> Option<Class> {
        match **self.status.load() {
            OriginStatus::Reachable if self.judged.load(Relaxed) => Some(self.tuning.load().class),
            _ => None,
        }
    }

    /// The class is now based on samples.
    pub fn set_judged(&self) {
        self.judged.store(true, Relaxed);
    }

    /// From now on no connections are opened in advance.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether the process drains.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }
}

/// Whether an origin is reachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OriginStatus {
    /// No request was sent yet.
    Unknown,
    /// It answers.
    Reachable,
    /// It accepts no connection, or does not answer.
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
