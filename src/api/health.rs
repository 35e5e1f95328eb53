//! `GET /health`, `/health/live`, `/health/ready`: whether the process works.

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

/// `/health` is `degraded` for so long after an actor was replaced.
const RECENTLY: Duration = Duration::from_secs(60);

/// How the process is, and the parts that it depends on.
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
    /// Whether stale answers go out, for the origin fails; null if not.
    serving_stale: Option<super::store::ServingStale>,
    /// A maximum of the settings that holds requests back; null where none does.
    binding_limit: Option<BindingLimit>,
    /// The certificate that clients see; null without TLS.
    certificate: Option<Certificate>,
    /// The actors by name.
    actors: BTreeMap<&'static str, ActorHealth>,
    performance_optimization: PerformanceOptimization,
    /// The tuning in force.
    config: Config,
}

/// How the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// All is well.
    Healthy,
    /// It serves, but Redis or the origin is away, clients refuse its certificate, or an actor had to be started anew within
    /// the last minute.
    Degraded,
    /// It takes no new work.
    Draining,
}

/// Redis.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Redis {
    status: RedisLink,
    /// How long the last ping took; null if there was none.
    latency_ms: Option<f64>,
    pool: Pool,
}

/// Concurrent Redis commands.
#[derive(Debug, Serialize, ToSchema)]
struct Pool {
    /// The limit.
    size: usize,
    /// Commands under way now.
    in_use: usize,
}

/// The client side: connections to the origin.
#[derive(Debug, Serialize, ToSchema)]
struct HttpClient {
    /// `degraded` while the origin cannot be reached.
    status: Status,
}

/// One origin.
#[derive(Debug, Serialize, ToSchema)]
struct OriginHealth {
    name: String,
    /// Without user and password.
    url: String,
    status: OriginStatus,
    /// Its class by the median time to its first byte; null while nobody knows how it answers.
    quality: Option<Class>,
}

/// The certificate that clients see.
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
    /// How often it was replaced.
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

/// How much optimization is on.
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

/// Whether the process runs, or takes new work.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProcessState {
    status: ProcessStatus,
}

/// What a check says.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ProcessStatus {
    /// It runs.
    Live,
    /// It takes new work.
    Ready,
    /// It takes no new work.
    Draining,
}

/// How the process is, for people and dashboards.
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

/// Whether the process runs at all. An orchestrator restarts one that does not answer.
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

/// Whether the process takes new work. A load balancer leaves out one that does not.
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

/// Why an origin counts as away; none if it does not. Before the first tick a connect that failed says so already.
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
