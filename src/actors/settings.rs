//! The settings of all actors together.

use std::{sync::Arc, time::Instant};

use super::{redis_pool::settings::Settings as RedisSettings, supervision::Supervision};
use crate::traffic::{
    canary::{self, split::Split},
    concurrency,
    level::Level,
    origin::{NamedOrigin, OriginState},
    origin_id::OriginId,
    origins::Origins,
    published::Published,
    quality, rate,
    rate_gate::RateGate,
    tuning::Tables,
    window,
};

/// A copy of the settings sections that actors read.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The tables of levels and classes, from which tunings are derived.
    pub tables: Tables,
    /// `[metrics]`
    pub metrics: window::Settings,
    /// `[quality]`
    pub quality: quality::Settings,
    /// `[rate_limit]`
    pub rate_limit: rate::Settings,
    /// `[concurrency]`
    pub concurrency: concurrency::Settings,
    /// `[redis]`
    pub redis: RedisSettings,
    /// `[canary]`
    pub canary: canary::Settings,
    /// `[supervision]`
    pub supervision: Supervision,
    /// The first origin. Its host and port are probed while no request shows whether it is reachable.
    pub origin: NamedOrigin,
    /// The other origins.
    pub others: Vec<NamedOrigin>,
}

impl Settings {
    /// The published state before the actors run: `level` for all clients, and each origin on a network of class `good`, with its
    /// rate gate at the initial rate. `workers` is the number of worker threads, for `/stats`.
    pub fn published(&self, level: Level, workers: usize) -> Published {
        let (split, now) = (Arc::<Split>::default(), Instant::now());
        let tuning = self.tables.tuning(level, quality::Class::default());
        let state = |id, named| {
            let gate = RateGate::new(&self.rate_limit);
            let (tuning, split) = (tuning.clone(), Arc::clone(&split));
            Arc::new(OriginState::new(
                OriginId(id),
                named,
                tuning,
                gate,
                split,
                now,
            ))
        };
        let others = (1..).zip(&self.others);
        let origins = Origins::new(
            state(0, &self.origin),
            others.map(|(id, named)| state(id, named)).collect(),
        );
        let level = self.tables.level(level);
        Published::new(level, origins, Arc::clone(&split), workers)
    }
}
