//! `GET /metrics`: the same numbers as /stats for Prometheus, in base units, with labels that take few values.

use std::time::{Instant, UNIX_EPOCH};

use actix_web::{HttpResponse, http::header::CACHE_CONTROL, web};

use super::{
    State,
    exposition::{
        Exposition,
        Kind::{Counter, Gauge},
    },
    process::Usage,
};
use crate::{
    problem::Problem,
    traffic::{
        counters::LOG,
        level::Level,
        published::{OriginStatus, Published, RedisLink},
        quality::Class,
        sample::Outcome,
        summary::Summary,
    },
};

/// The endpoint's path.
pub(super) const PATH: &str = "/metrics";

/// The numbers for Prometheus.
#[utoipa::path(get, path = PATH, tag = "numbers", responses(
    (status = 200, description = "The Prometheus text format", body = String, content_type = "text/plain"),
    (status = "default", description = "Any error", body = Problem, content_type = Problem::MEDIA_TYPE),
))]
pub(super) async fn metrics(state: web::Data<State>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(Exposition::MEDIA_TYPE)
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(exposition(&state.published).into_text())
}

fn exposition(published: &Published) -> Exposition {
    let mut out = Exposition::default();
    process(&mut out, published);
    requests(&mut out, &published.summary.load());
    clients(&mut out, published);
    origin(&mut out, published);
    transfers(&mut out, published);
    rate_limit(&mut out, published);
    decisions(&mut out, published);
    parts(&mut out, published);
    out
}

fn process(out: &mut Exposition, published: &Published) {
    out.by(
        Gauge,
        "fileproxy_build_info",
        "Always 1; the version is the label.",
        "version",
        [(env!("CARGO_PKG_VERSION"), 1)],
    );
    let started = published.started_at.duration_since(UNIX_EPOCH);
    out.one(
        Gauge,
        "process_start_time_seconds",
        "When the process started, since 1970.",
        started.unwrap_or_default().as_secs_f64(),
    );
    if let Some(usage) = Usage::now() {
        out.one(
            Counter,
            "process_cpu_seconds_total",
            "Processor time of the process.",
            usage.cpu.as_secs_f64(),
        );
        out.one(
            Gauge,
            "process_resident_memory_bytes",
            "Memory of the process that is in RAM.",
            usage.resident,
        );
    }
    out.one(
        Gauge,
        "fileproxy_workers",
        "Threads that serve.",
        published.workers,
    );
    out.one(
        Gauge,
        "fileproxy_draining",
        "1 while no new work is taken.",
        u8::from(published.is_draining()),
    );
    if let Some(validity) = published.certificate.load().as_deref() {
        let end = validity.not_after.duration_since(UNIX_EPOCH);
        out.one(
            Gauge,
            "fileproxy_certificate_expiry_timestamp_seconds",
            "Until when the certificate that clients see is valid, since 1970.",
            end.unwrap_or_default().as_secs(),
        );
    }
    out.one(
        Counter,
        "fileproxy_log_lines_dropped_total",
        "Log lines that nobody got: their reader stood still or had no room.",
        LOG.dropped.get(),
    );
}

fn requests(out: &mut Exposition, summary: &Summary) {
    out.by(
        Counter,
        "fileproxy_requests_total",
        "Requests that ended, by how.",
        "outcome",
        Outcome::ALL
            .iter()
            .zip(summary.total.outcomes)
            .map(|(outcome, count)| (outcome.as_str(), count)),
    );
    out.histogram(
        "fileproxy_request_duration_seconds",
        "From a request's head to its end.",
        &summary.spread.total,
    );
    out.histogram(
        "fileproxy_time_to_first_byte_seconds",
        "From a request's head to the first byte for the client.",
        &summary.spread.ttfb,
    );
    out.histogram(
        "fileproxy_origin_time_to_first_byte_seconds",
        "From the request sent to the origin to its response head.",
        &summary.spread.origin_ttfb,
    );
    out.histogram(
        "fileproxy_response_size_bytes",
        "Response body that the client got.",
        &summary.spread.bytes,
    );
}

fn clients(out: &mut Exposition, published: &Published) {
    let clients = &published.counters.clients;
    out.one(
        Gauge,
        "fileproxy_requests_in_flight",
        "Requests in a handler or with a body under way.",
        clients.requests.get(),
    );
    out.one(
        Counter,
        "fileproxy_sent_bytes_total",
        "Response body bytes handed to clients, as they go.",
        clients.sent_bytes.get(),
    );
    out.one(
        Gauge,
        "fileproxy_client_connections",
        "Client connections open.",
        clients.open.get(),
    );
    out.one(
        Gauge,
        "fileproxy_tls_handshakes",
        "TLS handshakes under way, from the client's first message on.",
        clients.handshakes.get(),
    );
    out.one(
        Gauge,
        "fileproxy_upgraded_connections",
        "Connections that speak another protocol with the origin.",
        clients.upgraded.get(),
    );
    out.by(
        Gauge,
        "fileproxy_client_lines",
        "Client connections by the class of their line.",
        "class",
        Class::ALL
            .iter()
            .zip(&clients.by_class)
            .map(|(class, open)| (class.as_str(), open.get())),
    );
    for (name, help, counter) in [
        (
            "fileproxy_client_connections_accepted_total",
            "Client connections accepted.",
            &clients.accepted,
        ),
        (
            "fileproxy_client_connections_refused_total",
            "Client connections answered 503 because there were too many.",
            &clients.over_limit,
        ),
        (
            "fileproxy_tls_handshakes_failed_total",
            "TLS handshakes that failed or took too long.",
            &clients.handshakes_failed,
        ),
        (
            "fileproxy_tls_handshakes_refused_total",
            "Connections closed before their TLS handshake was done, to make room for others.",
            &clients.handshakes_refused,
        ),
        (
            "fileproxy_http2_connections_accepted_total",
            "Client connections that chose HTTP/2.",
            &clients.http2,
        ),
        (
            "fileproxy_http2_reset_floods_total",
            "HTTP/2 connections ended because the client gave up too many requests.",
            &clients.reset_floods,
        ),
        (
            "fileproxy_http2_frame_floods_total",
            "HTTP/2 connections ended because the client sent too many frames that brought nothing.",
            &clients.frame_floods,
        ),
        (
            "fileproxy_interim_responses_total",
            "Interim responses (1xx) passed on.",
            &clients.interim,
        ),
        (
            "fileproxy_interim_responses_dropped_total",
            "Interim responses left out: too many, or half of another answer was out.",
            &clients.interim_dropped,
        ),
        (
            "fileproxy_upgrades_total",
            "Connections that switched to another protocol.",
            &clients.upgrades,
        ),
        (
            "fileproxy_upgrades_refused_total",
            "Offers to switch answered 503 because too many connections had.",
            &clients.upgrades_refused,
        ),
        (
            "fileproxy_congestion_switches_total",
            "Client connections given another congestion control.",
            &clients.congestion_switches,
        ),
        (
            "fileproxy_samples_dropped_total",
            "Requests that the counting actor was too busy for.",
            &clients.samples_dropped,
        ),
    ] {
        out.one(Counter, name, help, counter.get());
    }
    out.by(
        Counter,
        "fileproxy_client_faults_total",
        "Clients that were cut off, by why.",
        "fault",
        [
            ("slow_head", clients.head_timeouts.get()),
            ("bad_head", clients.bad_heads.get()),
            ("bad_body", clients.bad_bodies.get()),
            ("slow_body", clients.body_timeouts.get()),
            ("stopped_reading", clients.send_timeouts.get()),
        ],
    );
}

fn origin(out: &mut Exposition, published: &Published) {
    let origin = &published.counters.origin;
    let tuning = published.tuning.load();
    for (name, help, value) in [
        (
            "fileproxy_origin_connections",
            "Sockets open to the origin, idle ones included.",
            origin.open.get(),
        ),
        (
            "fileproxy_origin_connections_idle",
            "Idle sockets kept.",
            origin.idle.get(),
        ),
        (
            "fileproxy_origin_exchanges",
            "Exchanges with the origin under way.",
            origin.in_use.get(),
        ),
        (
            "fileproxy_origin_exchanges_limit",
            "Exchanges that may be under way.",
            tuning.connections as u64,
        ),
        (
            "fileproxy_origin_exchanges_per_host_limit",
            "Exchanges with one host that may be under way.",
            tuning.connections_per_host as u64,
        ),
        (
            "fileproxy_origin_exchanges_adaptive_limit",
            "Exchanges that the origin is given at once, by how fast it answers.",
            published.concurrency.limit(tuning.connections_at_once()) as u64,
        ),
        (
            "fileproxy_origin_requests_waiting",
            "Requests that wait for a free connection.",
            origin.waiting.get(),
        ),
    ] {
        out.one(Gauge, name, help, value);
    }
    for (name, help, counter) in [
        (
            "fileproxy_origin_connects_total",
            "Connections to the origin opened.",
            &origin.connects,
        ),
        (
            "fileproxy_origin_spares_total",
            "Connections to the origin opened before anybody needed them.",
            &origin.spares,
        ),
        (
            "fileproxy_origin_connect_failures_total",
            "Connects to the origin that failed.",
            &origin.connect_failures,
        ),
        (
            "fileproxy_origin_reuses_total",
            "Requests on a kept connection.",
            &origin.reuses,
        ),
        (
            "fileproxy_origin_retries_total",
            "Requests sent once more because a kept connection was dead.",
            &origin.retries,
        ),
        (
            "fileproxy_origin_reaped_total",
            "Idle connections that the origin closed.",
            &origin.reaped,
        ),
        (
            "fileproxy_origin_collapsed_total",
            "Requests answered by what another one for the same got.",
            &origin.collapsed,
        ),
        (
            "fileproxy_origin_wait_timeouts_total",
            "Requests that found no free connection in time.",
            &origin.slot_timeouts,
        ),
    ] {
        out.one(Counter, name, help, counter.get());
    }
    let line = published.origin_line.load();
    out.one(
        Gauge,
        "fileproxy_origin_line_round_trip_seconds",
        "Round trip to the origin, by TCP_INFO.",
        line.round_trip_ms / 1e3,
    );
    if let Some(loss) = line.loss_percent {
        out.one(
            Gauge,
            "fileproxy_origin_line_loss_ratio",
            "Share of lost segments on the line to the origin, by TCP_INFO.",
            loss / 100.0,
        );
    }
}

fn transfers(out: &mut Exposition, published: &Published) {
    let origin = &published.counters.origin;
    out.one(
        Gauge,
        "fileproxy_parallel_held_bytes",
        "Bytes that are kept for the parts of bodies.",
        origin.parts_held.get(),
    );
    for (name, help, counter) in [
        (
            "fileproxy_resume_requests_total",
            "Requests for the rest of a body that broke.",
            &origin.resumes,
        ),
        (
            "fileproxy_reread_bytes_total",
            "Bytes of bodies that were read once more and thrown away, to get past what was sent already.",
            &origin.reread_bytes,
        ),
        (
            "fileproxy_stall_requests_total",
            "Second connections for bodies that stalled.",
            &origin.stalls,
        ),
        (
            "fileproxy_parallel_transfers_total",
            "Bodies fetched over several connections.",
            &origin.parallel_transfers,
        ),
        (
            "fileproxy_parallel_parts_total",
            "Parts that they were fetched in.",
            &origin.parts,
        ),
        (
            "fileproxy_parallel_parts_refused_total",
            "Parts that the origin turned away or was late with.",
            &origin.parts_refused,
        ),
        (
            "fileproxy_parallel_parts_given_up_total",
            "Parts that could not be had.",
            &origin.parts_given_up,
        ),
    ] {
        out.one(Counter, name, help, counter.get());
    }
    out.by(
        Counter,
        "fileproxy_breaks_total",
        "Bodies that broke, by what became of it.",
        "result",
        [
            ("mended", origin.resumed.get()),
            ("given_up", origin.resumes_given_up.get()),
            ("denied", origin.resumes_denied.get()),
        ],
    );
    out.by(
        Counter,
        "fileproxy_stalls_total",
        "Bodies that stalled, by what became of it.",
        "result",
        [
            ("mended", origin.stalls_mended.get()),
            ("denied", origin.stalls_denied.get()),
        ],
    );
}

fn rate_limit(out: &mut Exposition, published: &Published) {
    let gate = &published.gate;
    let done = gate.admissions();
    out.one(
        Gauge,
        "fileproxy_rate_limit_enabled",
        "Whether the limit on requests to the origin is on.",
        u8::from(gate.is_on()),
    );
    out.one(
        Gauge,
        "fileproxy_rate_limit_requests_per_second",
        "Requests per second that may go to the origin.",
        gate.rate().per_second(),
    );
    out.one(
        Gauge,
        "fileproxy_rate_limit_requests_waiting",
        "Requests that wait for the rate limit.",
        gate.waiting(Instant::now()),
    );
    for (name, help, count) in [
        (
            "fileproxy_rate_limit_admitted_total",
            "Requests let through, at once or after a wait.",
            done.admitted,
        ),
        (
            "fileproxy_rate_limit_delayed_total",
            "Requests let through after a wait.",
            done.delayed,
        ),
        (
            "fileproxy_rate_limit_rejected_total",
            "Requests turned away.",
            done.rejected,
        ),
    ] {
        out.one(Counter, name, help, count);
    }
}

fn decisions(out: &mut Exposition, published: &Published) {
    let tuning = published.tuning.load();
    out.state(
        "fileproxy_optimization_level",
        "The level in force is 1.",
        "level",
        Level::ALL.map(Level::as_str),
        tuning.level.as_str(),
    );
    let candidate = published.canary.load().candidate;
    out.by(
        Gauge,
        "fileproxy_canary_clients_ratio",
        "Share of the clients that have another level than the one in force, by that level.",
        "level",
        Level::ALL.map(|level| {
            let candidate = candidate.filter(|candidate| candidate.level == level);
            let percent = candidate.map_or(0, |candidate| candidate.percent.get());
            (level.as_str(), f64::from(percent) / 100.0)
        }),
    );
    out.state(
        "fileproxy_origin_class",
        "The origin's class by its response time is 1.",
        "class",
        Class::ALL.map(Class::as_str),
        tuning.class.as_str(),
    );
    out.state(
        "fileproxy_origin_line_class",
        "The class of the line to the origin, by TCP_INFO, is 1.",
        "class",
        Class::ALL.map(Class::as_str),
        published.origin_line.load().class.as_str(),
    );
}

fn parts(out: &mut Exposition, published: &Published) {
    out.one(
        Gauge,
        "fileproxy_origin_up",
        "0 while the origin cannot be reached.",
        u8::from(**published.origin_status.load() != OriginStatus::Unreachable),
    );
    let redis = published.redis.load();
    if redis.link != RedisLink::Disabled {
        out.one(
            Gauge,
            "fileproxy_redis_up",
            "0 while Redis does not answer.",
            u8::from(redis.link == RedisLink::Connected),
        );
    }
    if let Some(latency) = redis.latency {
        out.one(
            Gauge,
            "fileproxy_redis_ping_seconds",
            "How long the last ping took.",
            latency.as_secs_f64(),
        );
    }
    let actors = published.actors.load();
    out.by(
        Gauge,
        "fileproxy_actor_up",
        "0 while an actor does not answer.",
        "actor",
        actors
            .iter()
            .map(|(name, actor)| (name, u8::from(actor.running))),
    );
    out.by(
        Counter,
        "fileproxy_actor_restarts_total",
        "How often an actor had to be started anew.",
        "actor",
        actors.iter().map(|(name, actor)| (name, actor.restarts)),
    );
}
