//! The tuning in force, as people write it, and where it has a unit as a number beside it.

use std::time::Duration;

use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use crate::{
    traffic::{level::Level, quality::Class, tuning::Tuning},
    units::{readable, readable_size},
};

/// The tuning in force: what level and class come to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Config {
    /// How much optimization is on.
    optimization_level: Level,
    /// The class of the origin that the tuning follows.
    quality: Class,
    /// Most origin connections of the whole process.
    connections: usize,
    /// Most origin connections to one host.
    connections_per_host: usize,
    /// How long an idle origin connection is kept.
    #[schema(example = "1m")]
    keep_alive: String,
    #[schema(value_type = f64)]
    keep_alive_seconds: Seconds,
    /// Longest connect, TLS included; also the longest wait for the rate limit.
    connect_timeout: String,
    #[schema(value_type = f64)]
    connect_timeout_seconds: Seconds,
    /// Longest way to the response head: queue, DNS, connect, retries.
    exchange_timeout: String,
    #[schema(value_type = f64)]
    exchange_timeout_seconds: Seconds,
    /// Longest gap in a response body.
    idle_read: String,
    #[schema(value_type = f64)]
    idle_read_seconds: Seconds,
    /// How long an answer of DNS is kept at most.
    dns_cache: String,
    #[schema(value_type = f64)]
    dns_cache_seconds: Seconds,
    /// How far small pieces that have arrived are gathered into one write.
    #[schema(example = "16KiB")]
    chunk: String,
    chunk_bytes: u64,
    /// Read-ahead for one transfer.
    buffer: String,
    buffer_bytes: u64,
    /// Most Redis commands under way at once.
    redis_pool: usize,
    /// Whether the TCP options of the settings are set, on both sides.
    tcp_options: bool,
    /// Whether their fixed socket buffers are set too.
    tcp_buffers: bool,
    /// Whether bodies that break or stall are continued.
    resume: bool,
    /// Whether large bodies come over several connections where the line to the origin is poor.
    parallel: bool,
    /// Whether each client connection follows the class of its own line.
    follow_lines: bool,
    /// Whether the adaptive rate limit is on.
    rate_limit: bool,
    /// Whether as many origin connections are kept open as were lately in use at once.
    warm_connections: bool,
    /// Whether the adaptive limit on exchanges at once is on.
    concurrency_limit: bool,
    /// Whether small ones go first among those who wait for the origin.
    small_first: bool,
    /// Whether responses are kept, and requests for the same join while one is under way.
    store: bool,
}

impl Config {
    pub(super) fn of(tuning: &Tuning) -> Self {
        Self {
            optimization_level: tuning.level,
            quality: tuning.class,
            connections: tuning.connections,
            connections_per_host: tuning.connections_per_host,
            keep_alive: readable(tuning.keep_alive),
            keep_alive_seconds: Seconds(tuning.keep_alive),
            connect_timeout: readable(tuning.connect_timeout),
            connect_timeout_seconds: Seconds(tuning.connect_timeout),
            exchange_timeout: readable(tuning.exchange_timeout),
            exchange_timeout_seconds: Seconds(tuning.exchange_timeout),
            idle_read: readable(tuning.idle_read),
            idle_read_seconds: Seconds(tuning.idle_read),
            dns_cache: readable(tuning.dns_cache),
            dns_cache_seconds: Seconds(tuning.dns_cache),
            chunk: readable_size(tuning.chunk),
            chunk_bytes: tuning.chunk.as_u64(),
            buffer: readable_size(tuning.buffer),
            buffer_bytes: tuning.buffer.as_u64(),
            redis_pool: tuning.redis_pool,
            tcp_options: tuning.tcp_options,
            tcp_buffers: tuning.tcp_buffers,
            resume: tuning.resume,
            parallel: tuning.parallel,
            follow_lines: tuning.follow_lines,
            rate_limit: tuning.rate_limit,
            warm_connections: tuning.warm_connections,
            concurrency_limit: tuning.concurrency_limit,
            small_first: tuning.small_first,
            store: tuning.store,
        }
    }
}

/// Seconds: whole ones without a point.
#[derive(Debug)]
struct Seconds(Duration);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.subsec_nanos() == 0 {
            serializer.serialize_u64(self.0.as_secs())
        } else {
            serializer.serialize_f64(self.0.as_secs_f64())
        }
    }
}
