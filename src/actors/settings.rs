//! The settings of all actors together.

use super::{redis_pool::settings::Settings as RedisSettings, supervision::Supervision};
use crate::traffic::{
    canary, concurrency, level::Level, published::Published, quality, rate, rate_gate::RateGate,
    tuning::Tables, window,
};

/// The settings of all actors: a copy of the sections that they read.
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
    /// The origin's URL. Its host and port get a test connection while no request shows whether the origin is reachable.
    pub origin: String,
}

impl Settings {
    /// What is published before the actors run: the tuning of `level` on a network of class `good`, and the rate gate
    /// at its initial rate. `workers` is the number of worker threads, for `/stats`.
    pub fn published(&self, level: Level, workers: usize) -> Published {
        Published::new(
            self.tables.tuning(level, quality::Class::default()),
            RateGate::new(&self.rate_limit),
            &self.origin,
            workers,
        )
    }
}
