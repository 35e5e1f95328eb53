//! `GET /stats`: counts, and decisions with their reasons.

use std::{
    collections::BTreeMap,
    time::{Instant, SystemTime},
};

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    canary::Canary,
    figures::{Figures, Metrics, Outcomes, Window},
    health::{ActorHealth, Redis, reasons},
    response::json_response,
};
use crate::{
    problem::Problem,
    traffic::{
        counters::LOG,
        level::Level,
        published::{Published, Retuned},
    },
};

mod limits;
mod network;
mod origin;
mod origin_pool;
mod process;
mod transfers;
mod workers;

use super::binding_limit::BindingLimit;
use limits::{Concurrency, LimitedBy, RateLimiter};
use network::Network;
use origin::{NetworkQuality, Origin};
use origin_pool::OriginPool;
use process::Process;
use transfers::Transfers;
use workers::Workers;

/// What the process has done, and its decisions with their reasons.
#[utoipa::path(get, path = "/stats", tag = "numbers", responses(
    (status = 200, description = "The numbers of now", body = Stats),
    (status = "default", description = "Any error", body = Problem, content_type = Problem::MEDIA_TYPE),
))]
pub(super) async fn stats(published: web::Data<Published>) -> HttpResponse {
    json_response(StatusCode::OK, &Stats::of(&published))
}

/// What the process has done, and its decisions with their reasons.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stats {
    performance_optimizer: PerformanceOptimizer,
    /// Since the start.
    total: Figures,
    /// The last 60 seconds, or `metrics.window`.
    window: Window,
    /// Since the start.
    outcomes: Outcomes,
    network_quality: NetworkQuality,
    rate_limiter: RateLimiter,
    concurrency: Concurrency,
    limited_by: LimitedBy,
    /// Null if there is none.
    binding_limit: Option<BindingLimit>,
    origin_pool: OriginPool,
    transfers: Transfers,
    /// Null only before the process serves.
    store: Option<super::store::Store>,
    /// Each origin by its name. Origin figures outside of this are the first one's.
    origins: BTreeMap<String, Origin>,
    network: Network,
    workers: Workers,
    log: Log,
    redis: Redis,
    /// Why `/health` is degraded, one sentence each; empty if it is not.
    reasons: Vec<String>,
    /// Responses by status class.
    responses: BTreeMap<&'static str, u64>,
    process: Process,
    /// The actors by name.
    actors: BTreeMap<&'static str, ActorHealth>,
    /// The canary; null if no level is tried with a share of the clients.
    canary: Option<Canary>,
    /// The last changes of level, canary, class, rate and concurrency, oldest first; at most a hundred.
    retunes: Vec<Retune>,
    uptime_seconds: u64,
}

impl Stats {
    pub(super) fn of(published: &Published) -> Self {
        let summary = published.summary.load();
        let origin = published.origin();
        Self {
            performance_optimizer: PerformanceOptimizer {
                metrics: Metrics::of(&summary),
                // A whole number, as in the former Python service.
                current_rate_limit: origin.gate.rate().per_second().round() as u64,
                optimization_level: published.level.load().level,
            },
            total: Figures::of(&summary.total),
            window: Window::of(&summary),
            outcomes: Outcomes::of(&summary.total),
            network_quality: NetworkQuality::of(origin, &summary),
            rate_limiter: RateLimiter::of(origin),
            concurrency: Concurrency::of(origin),
            limited_by: LimitedBy::of(origin),
            binding_limit: BindingLimit::of_any(&published.origins),
            origin_pool: OriginPool::of(origin, &published.clients),
            transfers: Transfers::of(origin),
            store: super::store::Store::of(published),
            origins: (published.origins.iter())
                .map(|origin| (origin.name.clone(), Origin::of(origin, published, &summary)))
                .collect(),
            network: Network::of(published),
            workers: Workers::of(published),
            log: Log {
                lines_dropped: LOG.dropped.get(),
            },
            redis: Redis::of(published),
            reasons: reasons(published, Instant::now(), SystemTime::now()),
            responses: published.clients.responses().collect(),
            process: Process::now(),
            actors: ActorHealth::all(published),
            canary: Canary::of(published),
            retunes: Retune::last(published),
            uptime_seconds: published.started.elapsed().as_secs(),
        }
    }
}

/// Figures in the form that scripts for the former Python service expect.
#[derive(Debug, Serialize, ToSchema)]
struct PerformanceOptimizer {
    metrics: Metrics,
    /// Requests per second to the origin.
    current_rate_limit: u64,
    optimization_level: Level,
}

/// The log of the process.
#[derive(Debug, Serialize, ToSchema)]
struct Log {
    /// Lines lost because the log's reader was too slow.
    lines_dropped: u64,
}

/// One change of level, canary, class, rate or concurrency.
#[derive(Debug, Serialize, ToSchema)]
struct Retune {
    #[schema(format = DateTime)]
    at: String,
    what: Retuned,
    /// The origin that it concerns; null if it concerns all.
    origin: Option<String>,
    from: String,
    to: String,
    /// The reason.
    why: String,
}

impl Retune {
    fn last(published: &Published) -> Vec<Self> {
        published
            .retunes
            .last()
            .into_iter()
            .map(|retune| Self {
                at: humantime::format_rfc3339_millis(retune.at).to_string(),
                what: retune.what,
                origin: retune.origin,
                from: retune.from,
                to: retune.to,
                why: retune.why,
            })
            .collect()
    }
}
