//! `GET /health`, `/health/live`, `/health/ready`: the state of the process.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::binding_limit::BindingLimit;
use super::{config::Config, numbers::millis, response::json_response};
use crate::{
    problem::Problem,
    traffic::{
        level::Level,
        origin::{OriginState, OriginStatus},
        published::{Published, RedisLink},
        quality::Class,
        validity::CertificateStatus,
    },
};

/// How long `/health` is `degraded` after an actor was replaced.
const RECENTLY: Duration = Duration::from_secs(60);

/// The state of the process and of the parts that it depends on.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    status: Status,
    /// Why it is degraded; null if it is not.
    reason: Option<String>,
    #[schema(format = DateTime)]
    timestamp: String,
    #[schema(example = "0.1.0")]
    version: &'static str,
    uptime_seconds: u64,
    redis: Redis,
    http_client: HttpClient,
    /// The origins; one, for now.
    origins: Vec<OriginHealth>,
    /// Whether stale responses are sent because the origin fails; null if not.
    serving_stale: Option<super::store::ServingStale>,
    /// A maximum of the settings that holds requests back; null if there is none.
    binding_limit: Option<BindingLimit>,
    /// The certificate for clients; null without TLS.
    certificate: Option<Certificate>,
    /// The actors by name.
    actors: BTreeMap<&'static str, ActorHealth>,
    performance_optimization: PerformanceOptimization,
    /// The tuning in force.
    config: Config,
}

/// The state of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// Everything works.
    Healthy,
    /// It serves, but Redis or the origin is unreachable, clients reject its certificate, or an actor was restarted within the last
    /// minute.
    Degraded,
    /// It shuts down: no new connections.
    Draining,
}

/// Redis.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Redis {
    status: RedisLink,
    /// Time of the last ping; null if there was none.
    latency_ms: Option<f64>,
    pool: Pool,
}

/// Concurrent Redis commands.
#[derive(Debug, Serialize, ToSchema)]
struct Pool {
    /// The limit.
    size: usize,
    /// Running commands.
    in_use: usize,
}

/// The proxy's client side: connections to the origin.
#[derive(Debug, Serialize, ToSchema)]
struct HttpClient {
    /// `degraded` while the origin is unreachable.
    status: Status,
}

/// One origin.
#[derive(Debug, Serialize, ToSchema)]
struct OriginHealth {
    name: String,
    /// Without user and password.
    url: String,
    status: OriginStatus,
    /// Its class by the median time to first byte; null without enough samples.
    quality: Option<Class>,
}

/// The certificate for clients.
#[derive(Debug, Serialize, ToSchema)]
struct Certificate {
    /// `expiring` within the last fourteen days.
    status: CertificateStatus,
    #[schema(format = DateTime)]
    not_after: String,
}

impl Certificate {
    fn of(published: &Published, now: SystemTime) -> Option<Self> {
        let validity = **published.certificate.load().as_ref()?;
        Some(Self {
            status: validity.worth(now),
            not_after: humantime::format_rfc3339_seconds(validity.not_after).to_string(),
        })
    }
}

/// One actor.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ActorHealth {
    status: ActorState,
    /// How often it was restarted.
    restarts: u64,
}

/// Whether an actor works.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ActorState {
    /// It answers.
    Running,
    /// It does not answer, and is being replaced.
    Down,
}

/// The optimization level.
#[derive(Debug, Serialize, ToSchema)]
struct PerformanceOptimization {
    /// Always false: kept for existing dashboards.
    uvloop_enabled: bool,
    #[schema(example = "tokio")]
    event_loop: &'static str,
    /// Whether the level is above `low`.
    optimizer_enabled: bool,
    optimization_level: Level,
}

/// The state of the process for probes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProcessState {
    status: ProcessStatus,
}

/// The result of a probe.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ProcessStatus {
    /// It runs.
    Live,
    /// It accepts requests.
    Ready,
    /// It shuts down: no new connections.
    Draining,
}

/// The state of the process, for people and dashboards.
#[utoipa::path(get, path = "/health", tag = "health", responses(
    (status = 200, description = "It serves: `healthy` or `degraded`", body = Health),
    (status = 503, description = "It takes no new work: `draining`", body = Health),
    (status = "default", description = "Any error", body = Problem, content_type = Problem::MEDIA_TYPE),
))]
pub(super) async fn health(published: web::Data<Published>) -> HttpResponse {
    let published = &**published;
    let now = SystemTime::now();
    let reasons = reasons(published, Instant::now(), now);
    let status = if published.is_draining() {
        Status::Draining
    } else if reasons.is_empty() {
        Status::Healthy
    } else {
        Status::Degraded
    };
    let code = match status {
        Status::Draining => StatusCode::SERVICE_UNAVAILABLE,
        Status::Healthy | Status::Degraded => StatusCode::OK,
    };
    let tuning = published.origin().tuning.load();
    json_response(
        code,
        &Health {
            status,
            reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
            timestamp: humantime::format_rfc3339_millis(now).to_string(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: published.started.elapsed().as_secs(),
            redis: Redis::of(published),
            http_client: HttpClient {
                status: match published.origins.iter().find_map(|origin| why_away(origin)) {
                    Some(_) => Status::Degraded,
                    None => Status::Healthy,
                },
            },
            origins: (published.origins.iter())
                .map(|origin| OriginHealth {
                    name: origin.name.clone(),
                    url: origin.url.clone(),
                    status: **origin.status.load(),
                    quality: origin.quality(),
                })
                .collect(),
            serving_stale: super::store::ServingStale::of(published, now),
            binding_limit: BindingLimit::of_any(&published.origins),
            certificate: Certificate::of(published, now),
            actors: ActorHealth::all(published),
            performance_optimization: PerformanceOptimization {
                uvloop_enabled: false,
                event_loop: "tokio",
                optimizer_enabled: tuning.level != Level::Low,
                optimization_level: tuning.level,
            },
            config: Config::of(&tuning),
        },
    )
}

/// Whether the process runs. An orchestrator restarts one that does not answer.
#[utoipa::path(get, path = "/health/live", tag = "health", responses(
    (status = 200, description = "It runs", body = ProcessState),
    (status = "default", description = "Any error", body = Problem, content_type = Problem::MEDIA_TYPE),
))]
pub(super) async fn live() -> HttpResponse {
    json_response(
        StatusCode::OK,
        &ProcessState {
            status: ProcessStatus::Live,
        },
    )
}

/// Whether the process accepts requests. A load balancer excludes one that does not.
#[utoipa::path(get, path = "/health/ready", tag = "health", responses(
    (status = 200, description = "It takes new work", body = ProcessState),
    (status = 503, description = "It takes no new work", body = ProcessState),
    (status = "default", description = "Any error", body = Problem, content_type = Problem::MEDIA_TYPE),
))]
pub(super) async fn ready(published: web::Data<Published>) -> HttpResponse {
    let (code, status) = if published.is_draining() {
        (StatusCode::SERVICE_UNAVAILABLE, ProcessStatus::Draining)
    } else {
        (StatusCode::OK, ProcessStatus::Ready)
    };
    json_response(code, &ProcessState { status })
}

/// Why an origin counts as unreachable; none if it is reachable. A failed connect counts even before the first tick.
fn why_away(origin: &OriginState) -> Option<&'static str> {
    match **origin.status.load() {
        OriginStatus::Unreachable => Some("the origin cannot be reached"),
        OriginStatus::Unknown if origin.counters.connect_failures.get() > 0 => {
            Some("no connection to the origin has come about yet")
        }
        OriginStatus::Unknown | OriginStatus::Reachable => None,
    }
}

/// Why `/health` is degraded, one sentence each; empty if it is not.
pub(super) fn reasons(published: &Published, now: Instant, clock: SystemTime) -> Vec<String> {
    let mut reasons = Vec::new();
    if published.redis.load().link == RedisLink::Disconnected {
        reasons.push("redis does not answer".to_owned());
    }
    let several = published.origins.iter().count() > 1;
    reasons.extend(published.origins.iter().filter_map(|origin| {
        let why = why_away(origin)?;
        Some(match several {
            true => format!("{}: {why}", origin.name),
            false => why.to_owned(),
        })
    }));
    let disk = published.store.get().and_then(|store| store.shelf.disk());
    if let Some(trouble) = disk.and_then(|disk| disk.trouble()) {
        reasons.push(format!(
            "nothing is written to store.directory: {}",
            trouble.reason
        ));
    }
    if let Some(Certificate { status, not_after }) = Certificate::of(published, clock) {
        match status {
            CertificateStatus::Valid | CertificateStatus::Expiring => {}
            CertificateStatus::Expired => {
                reasons.push(format!("the certificate expired at {not_after}"))
            }
            CertificateStatus::NotYetValid => {
                reasons.push("the certificate is not valid yet".to_owned())
            }
        }
    }
    let recently = |at| now.saturating_duration_since(at) < RECENTLY;
    for (name, actor) in published.actors.load().iter() {
        if !actor.running {
            reasons.push(format!("the actor {name} is down"));
        } else if actor.restarted.is_some_and(recently) {
            reasons.push(format!("the actor {name} had to be started anew"));
        }
    }
    reasons
}

impl ActorHealth {
    /// Every actor by name.
    pub(super) fn all(published: &Published) -> BTreeMap<&'static str, Self> {
        let actors = published.actors.load();
        actors
            .iter()
            .map(|(name, actor)| {
                let status = if actor.running {
                    ActorState::Running
                } else {
                    ActorState::Down
                };
                let restarts = actor.restarts;
                (*name, Self { status, restarts })
            })
            .collect()
    }
}

impl Redis {
    pub(super) fn of(published: &Published) -> Self {
        let redis = published.redis.load();
        Self {
            status: redis.link,
            latency_ms: redis.latency.map(millis),
            pool: Pool {
                size: redis.pool_size,
                in_use: redis.in_use,
            },
        }
    }
}
