//! `GET /stats`: what the process did, and what it decided and why.

use std::{collections::BTreeMap, time::Instant};

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    State, answer,
    canary::Canary,
    figures::{Figures, Metrics, Outcomes, Window},
    health::{ActorHealth, Redis},
    millis,
};
use crate::{
    problem::Problem,
    traffic::{
        counters::LOG,
        level::Level,
        line::LineStatus,
        published::{OriginStatus, Published, Retuned},
        quality::Class,
        summary::Summary,
    },
    units::Rate,
};

/// What the process did, and what it decided and why.
#[utoipa::path(get, path = "/stats", tag = "numbers", responses(
    (status = 200, description = "The numbers of now", body = Stats),
    (status = "default", description = "Any error", body = Problem, content_type = Problem::MEDIA_TYPE),
))]
pub(super) async fn stats(state: web::Data<State>) -> HttpResponse {
    answer(StatusCode::OK, &Stats::of(&state.published))
}

/// What the process did, and what it decided and why.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Stats {
    performance_optimizer: PerformanceOptimizer,
    /// Since the start.
    total: Figures,
    /// The last 60 seconds, or what the settings say.
    window: Window,
    /// Since the start.
    outcomes: Outcomes,
    network_quality: NetworkQuality,
    rate_limiter: RateLimiter,
    concurrency: Concurrency,
    limited_by: LimitedBy,
    origin_pool: OriginPool,
    transfers: Transfers,
    network: Network,
    workers: Workers,
    log: Log,
    redis: Redis,
    /// The actors by name.
    actors: BTreeMap<&'static str, ActorHealth>,
    /// The level that a share of the clients has, beside the one of the rest; null if there is none.
    canary: Option<Canary>,
    /// The last changes of level, canary, class, rate and concurrency, oldest first; a hundred at most.
    retunes: Vec<Retune>,
    uptime_seconds: u64,
}

impl Stats {
    pub(super) fn of(published: &Published) -> Self {
        let summary = published.summary.load();
        let tuning = published.tuning.load();
        Self {
            performance_optimizer: PerformanceOptimizer {
                metrics: Metrics::of(&summary),
                // a whole number, as it ever was
                current_rate_limit: published.gate.rate().per_second().round() as u64,
                optimization_level: tuning.level,
            },
            total: Figures::of(&summary.total),
            window: Window::of(&summary),
            outcomes: Outcomes::of(&summary.total),
            network_quality: NetworkQuality::of(published, &summary),
            rate_limiter: RateLimiter::of(published),
            concurrency: Concurrency::of(published),
            limited_by: LimitedBy::of(published),
            origin_pool: OriginPool::of(published),
            transfers: Transfers::of(published),
            network: Network::of(published),
            workers: Workers::of(published),
            log: Log {
                lines_dropped: LOG.dropped.get(),
            },
            redis: Redis::of(published),
            actors: ActorHealth::all(published),
            canary: Canary::of(published),
            retunes: Retune::last(published),
            uptime_seconds: published.started.elapsed().as_secs(),
        }
    }
}

/// What scripts for the Python service read.
#[derive(Debug, Serialize, ToSchema)]
struct PerformanceOptimizer {
    metrics: Metrics,
    /// Requests per second to the origin.
    current_rate_limit: u64,
    optimization_level: Level,
}

/// How far the origin is.
#[derive(Debug, Serialize, ToSchema)]
struct NetworkQuality {
    /// The class in force, by the median time to the origin's first byte.
    quality: Class,
    /// Its URL, without user and password.
    origin: String,
    origin_status: OriginStatus,
    /// What it is judged by; null without a sample.
    median_origin_response_time_ms: Option<f64>,
    /// The samples it is the median of.
    samples: u64,
}

impl NetworkQuality {
    fn of(published: &Published, summary: &Summary) -> Self {
        Self {
            quality: published.tuning.load().class,
            origin: published.origin.clone(),
            origin_status: **published.origin_status.load(),
            median_origin_response_time_ms: summary.origin.median.map(millis),
            samples: summary.origin.samples,
        }
    }
}

/// The limit on requests to the origin, and what it did.
#[derive(Debug, Serialize, ToSchema)]
struct RateLimiter {
    /// Whether the level has it on.
    enabled: bool,
    #[schema(value_type = f64)]
    rate_per_second: Rate,
    /// Requests that may go at once after a pause.
    burst: u64,
    /// Requests that wait just now.
    waiting: u64,
    /// Requests that may wait at most.
    queue: u64,
    /// Let through, at once or after a wait.
    admitted: u64,
    /// Let through after a wait.
    delayed: u64,
    /// Turned away.
    rejected: u64,
}

impl RateLimiter {
    fn of(published: &Published) -> Self {
        let gate = &published.gate;
        let done = gate.admissions();
        Self {
            enabled: gate.is_on(),
            rate_per_second: gate.rate(),
            burst: gate.burst(),
            waiting: gate.waiting(Instant::now()),
            queue: gate.queue(),
            admitted: done.admitted,
            delayed: done.delayed,
            rejected: done.rejected,
        }
    }
}

/// How many exchanges the origin is given at once.
#[derive(Debug, Serialize, ToSchema)]
struct Concurrency {
    /// Whether the level has the limit follow the origin.
    enabled: bool,
    /// Exchanges at once, just now.
    limit: usize,
    /// What the limit may rise to.
    most: usize,
    in_use: u64,
    /// Requests that wait for an exchange to end.
    waiting: u64,
    /// Requests that did not go to the origin: they waited with one for the same, and got its answer.
    collapsed: u64,
    /// How long the origin takes to answer; null where too little was seen.
    median_answer_ms: Option<f64>,
    /// How long it took at its best of late.
    recent_best_ms: Option<f64>,
}

impl Concurrency {
    fn of(published: &Published) -> Self {
        let origin = &published.counters.origin;
        let most = published.tuning.load().connections_at_once();
        let seen = published.concurrency.seen();
        Self {
            enabled: published.concurrency.is_on(),
            limit: published.concurrency.limit(most),
            most,
            in_use: origin.in_use.get(),
            waiting: origin.waiting.get(),
            collapsed: origin.collapsed.get(),
            median_answer_ms: seen.map(|(median, _)| millis(median)),
            recent_best_ms: seen.map(|(_, reference)| millis(reference)),
        }
    }
}

/// What requests wait for just now before they go to the origin.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum LimitedBy {
    /// They do not wait.
    Nothing,
    /// The rate limit.
    Rate,
    /// The limit on exchanges at once that follows the origin.
    Concurrency,
    /// The level's limit on connections.
    Connections,
}

impl LimitedBy {
    fn of(published: &Published) -> Self {
        let most = published.tuning.load().connections_at_once();
        if published.gate.waiting(Instant::now()) > 0 {
            Self::Rate
        } else if published.counters.origin.waiting.get() == 0 {
            Self::Nothing
        } else if published.concurrency.limit(most) < most {
            Self::Concurrency
        } else {
            Self::Connections
        }
    }
}

/// Connections to the origin.
#[derive(Debug, Serialize, ToSchema)]
struct OriginPool {
    /// In use at once, at most.
    limit: usize,
    /// In use at once to one host, at most.
    limit_per_host: usize,
    in_use: u64,
    /// Requests that wait for one.
    waiting: u64,
    /// Sockets open, idle ones included.
    open: u64,
    idle: u64,
    connects: u64,
    /// Of them, those opened before anybody needed them.
    spares: u64,
    connect_failures: u64,
    /// Requests that went out on a kept connection.
    reuses: u64,
    /// Requests sent once more because a kept connection turned out dead.
    retries: u64,
    /// Idle connections that the origin closed.
    reaped: u64,
    /// Requests that found no free connection in time.
    slot_timeouts: u64,
}

impl OriginPool {
    fn of(published: &Published) -> Self {
        let origin = &published.counters.origin;
        let tuning = published.tuning.load();
        Self {
            limit: tuning.connections,
            limit_per_host: tuning.connections_per_host,
            in_use: origin.in_use.get(),
            waiting: origin.waiting.get(),
            open: origin.open.get(),
            idle: origin.idle.get(),
            connects: origin.connects.get(),
            spares: origin.spares.get(),
            connect_failures: origin.connect_failures.get(),
            reuses: origin.reuses.get(),
            retries: origin.retries.get(),
            reaped: origin.reaped.get(),
            slot_timeouts: origin.slot_timeouts.get(),
        }
    }
}

/// How bodies were kept going.
#[derive(Debug, Serialize, ToSchema)]
struct Transfers {
    /// Whether the level has bodies continued.
    resume_enabled: bool,
    /// Whether the level has bodies come over several connections.
    parallel_enabled: bool,
    /// Requests for the rest of a body that broke.
    resumes: u64,
    /// Breaks that were mended so.
    resumed: u64,
    /// Breaks that could not be mended.
    resumes_given_up: u64,
    /// Breaks that were not mended because there were too many.
    resumes_denied: u64,
    /// Bytes that were read once more and thrown away, to get past what was sent already.
    reread_bytes: u64,
    /// Second connections for bodies that stalled.
    stalls: u64,
    /// Stalls at which the second connection took over.
    stalls_mended: u64,
    /// Stalls that got no second connection because there were too many.
    stalls_denied: u64,
    /// Bodies fetched over several connections.
    parallel: u64,
    /// Of them, those of which only a part was asked for to begin with.
    first_parts: u64,
    /// Parts that they were fetched in.
    parts: u64,
    /// Bytes that are kept for parts just now.
    parts_held_bytes: u64,
    /// Parts that the origin turned away or was late with: they were asked for again, fewer at once.
    parts_refused: u64,
    /// Parts that could not be had: their bodies went on over one connection.
    parts_given_up: u64,
}

impl Transfers {
    fn of(published: &Published) -> Self {
        let origin = &published.counters.origin;
        let tuning = published.tuning.load();
        Self {
            resume_enabled: tuning.resume,
            parallel_enabled: tuning.parallel,
            resumes: origin.resumes.get(),
            resumed: origin.resumed.get(),
            resumes_given_up: origin.resumes_given_up.get(),
            resumes_denied: origin.resumes_denied.get(),
            reread_bytes: origin.reread_bytes.get(),
            stalls: origin.stalls.get(),
            stalls_mended: origin.stalls_mended.get(),
            stalls_denied: origin.stalls_denied.get(),
            parallel: origin.parallel_transfers.get(),
            first_parts: origin.first_parts.get(),
            parts: origin.parts.get(),
            parts_held_bytes: origin.parts_held.get(),
            parts_refused: origin.parts_refused.get(),
            parts_given_up: origin.parts_given_up.get(),
        }
    }
}

/// The lines by what the kernel knows of them (TCP_INFO), whatever the applications behind them do.
#[derive(Debug, Serialize, ToSchema)]
struct Network {
    origin: LineStatus,
    clients: ClientLines,
}

/// The clients' lines.
#[derive(Debug, Serialize, ToSchema)]
struct ClientLines {
    connections_by_class: ByClass,
    /// Connections that were given another congestion control for the class of their line.
    congestion_switches: u64,
}

/// Connections open, by the class of their line.
#[derive(Debug, Serialize, ToSchema)]
struct ByClass {
    good: u64,
    medium: u64,
    poor: u64,
    very_poor: u64,
}

impl Network {
    fn of(published: &Published) -> Self {
        let clients = &published.counters.clients;
        let open = |class: Class| clients.by_class[class as usize].get();
        Self {
            origin: **published.origin_line.load(),
            clients: ClientLines {
                connections_by_class: ByClass {
                    good: open(Class::Good),
                    medium: open(Class::Medium),
                    poor: open(Class::Poor),
                    very_poor: open(Class::VeryPoor),
                },
                congestion_switches: clients.congestion_switches.get(),
            },
        }
    }
}

/// The threads that serve, and the connections that clients made.
#[derive(Debug, Serialize, ToSchema)]
struct Workers {
    /// Threads.
    count: usize,
    connections_open: u64,
    connections_accepted: u64,
    /// Connections answered 503 because there were too many.
    connections_over_limit: u64,
    /// TLS handshakes under way, from the client's first message on.
    tls_handshakes: u64,
    /// TLS handshakes that failed or took too long.
    tls_handshakes_failed: u64,
    /// Connections closed before their TLS handshake was done, to make room for others.
    tls_handshakes_refused: u64,
    /// Connections that chose HTTP/2.
    http2_connections_accepted: u64,
    /// HTTP/2 connections ended because the client gave up too many requests.
    http2_reset_floods: u64,
    /// HTTP/2 connections ended because the client sent too many frames that brought nothing.
    http2_frame_floods: u64,
    requests_in_flight: u64,
    /// Bytes of response bodies that clients got so far, those of transfers under way included.
    sent_bytes: u64,
    /// Request heads that took too long.
    head_timeouts: u64,
    /// Request heads that were no HTTP, or too large.
    bad_heads: u64,
    /// Request bodies that were no HTTP: their chunks or trailers.
    bad_bodies: u64,
    /// Request bodies that trickled.
    body_timeouts: u64,
    /// Clients that stopped reading.
    send_timeouts: u64,
    /// Interim responses (1xx) passed on.
    interim_responses: u64,
    /// Interim responses left out: too many, or half of another answer was out.
    interim_responses_dropped: u64,
    /// Connections that speak another protocol with the origin (WebSocket).
    upgraded_connections: u64,
    /// Connections that switched to another protocol.
    upgrades: u64,
    /// Offers to switch that were answered 503 because too many connections had.
    upgrades_refused: u64,
    /// Requests that could not be counted because the counting actor was too busy.
    samples_dropped: u64,
}

impl Workers {
    fn of(published: &Published) -> Self {
        let clients = &published.counters.clients;
        Self {
            count: published.workers,
            connections_open: clients.open.get(),
            connections_accepted: clients.accepted.get(),
            connections_over_limit: clients.over_limit.get(),
            tls_handshakes: clients.handshakes.get(),
            tls_handshakes_failed: clients.handshakes_failed.get(),
            tls_handshakes_refused: clients.handshakes_refused.get(),
            http2_connections_accepted: clients.http2.get(),
            http2_reset_floods: clients.reset_floods.get(),
            http2_frame_floods: clients.frame_floods.get(),
            requests_in_flight: clients.requests.get(),
            sent_bytes: clients.sent_bytes.get(),
            head_timeouts: clients.head_timeouts.get(),
            bad_heads: clients.bad_heads.get(),
            bad_bodies: clients.bad_bodies.get(),
            body_timeouts: clients.body_timeouts.get(),
            send_timeouts: clients.send_timeouts.get(),
            interim_responses: clients.interim.get(),
            interim_responses_dropped: clients.interim_dropped.get(),
            upgraded_connections: clients.upgraded.get(),
            upgrades: clients.upgrades.get(),
            upgrades_refused: clients.upgrades_refused.get(),
            samples_dropped: clients.samples_dropped.get(),
        }
    }
}

/// The log of the process.
#[derive(Debug, Serialize, ToSchema)]
struct Log {
    /// Lines that nobody got: their reader stood still or had no room.
    lines_dropped: u64,
}

/// One change of level, canary, class, rate or concurrency.
#[derive(Debug, Serialize, ToSchema)]
struct Retune {
    #[schema(format = DateTime)]
    at: String,
    what: Retuned,
    from: String,
    to: String,
    /// What it follows from.
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
                from: retune.from,
                to: retune.to,
                why: retune.why,
            })
            .collect()
    }
}
