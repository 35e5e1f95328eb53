//! `GET /stats`: what the process did, and what it decided and why.

use std::time::Instant;

use actix_web::{HttpResponse, http::StatusCode, web};
use serde_json::{Map, Value, json};

use super::{State, answer, canary::Canary, health, millis, rounded};
use crate::traffic::{
    published::Published,
    quality::Class,
    sample::Outcome,
    summary::{Figures, Summary, Times},
};

pub(super) async fn stats(state: web::Data<State>) -> HttpResponse {
    let published = &state.published;
    let summary = published.summary.load();
    let tuning = published.tuning.load();
    answer(
        StatusCode::OK,
        &json!({
            "performance_optimizer": {
                "metrics": metrics(&summary),
                "current_rate_limit": current_rate(published),
                "optimization_level": tuning.level,
            },
            "total": numbers(&summary.total),
            "window": window(&summary),
            "outcomes": outcomes(&summary.total),
            "network_quality": {
                "quality": tuning.class,
                "origin": published.origin,
                "origin_status": **published.origin_status.load(),
                "median_origin_response_time_ms": summary.origin.median.map(millis),
                "samples": summary.origin.samples,
            },
            "rate_limiter": rate_limiter(published),
            "concurrency": concurrency(published),
            "limited_by": limited_by(published),
            "origin_pool": origin_pool(published),
            "transfers": transfers(published),
            "network": network(published),
            "workers": workers(published),
            "redis": health::redis(published),
            "canary": Canary::of(published),
            "retunes": retunes(published),
            "uptime_seconds": published.started.elapsed().as_secs(),
        }),
    )
}

/// Since the start, as strings: scripts that read the Python service's /stats read this.
fn metrics(summary: &Summary) -> Value {
    let figures = &summary.total;
    let ms = |duration| format!("{:.2}", millis(duration));
    json!({
        "total_requests": figures.requests,
        "error_count": figures.errors,
        "error_rate": format!("{:.2}%", figures.error_share() * 100.0),
        "avg_response_time_ms": ms(figures.total.avg),
        "min_response_time_ms": ms(figures.total.min),
        "max_response_time_ms": ms(figures.total.max),
        "p50_response_time_ms": ms(figures.total.p50),
        "p95_response_time_ms": ms(figures.total.p95),
        "p99_response_time_ms": ms(figures.total.p99),
        "total_bytes_transferred": figures.bytes,
        "throughput_mbps": format!("{:.2}", summary.throughput_mbps()),
        "uvloop_enabled": false,
    })
}

/// The same over the sliding window, as numbers.
pub(super) fn window(summary: &Summary) -> Value {
    let mut window = numbers(&summary.window);
    window.insert(
        "window_seconds".into(),
        json!(rounded(summary.covers.as_secs_f64(), 3)),
    );
    window.insert(
        "throughput_mbps".into(),
        json!(rounded(summary.throughput_mbps(), 3)),
    );
    window.insert("outcomes".into(), outcomes(&summary.window));
    Value::Object(window)
}

fn numbers(figures: &Figures) -> Map<String, Value> {
    let mut numbers = Map::new();
    numbers.insert("total_requests".into(), json!(figures.requests));
    numbers.insert("error_count".into(), json!(figures.errors));
    numbers.insert(
        "error_rate_percent".into(),
        json!(rounded(figures.error_share() * 100.0, 3)),
    );
    numbers.insert("total_bytes_transferred".into(), json!(figures.bytes));
    times(&mut numbers, "response_time_ms", &figures.total);
    times(&mut numbers, "ttfb_ms", &figures.ttfb);
    times(&mut numbers, "origin_ttfb_ms", &figures.origin_ttfb);
    numbers
}

fn times(numbers: &mut Map<String, Value>, what: &str, times: &Times) {
    for (which, duration) in [
        ("avg", times.avg),
        ("min", times.min),
        ("max", times.max),
        ("p50", times.p50),
        ("p95", times.p95),
        ("p99", times.p99),
    ] {
        numbers.insert(format!("{which}_{what}"), json!(millis(duration)));
    }
}

fn outcomes(figures: &Figures) -> Value {
    Outcome::ALL
        .iter()
        .zip(figures.outcomes)
        .map(|(outcome, count)| (outcome.as_str().to_owned(), json!(count)))
        .collect::<Map<_, _>>()
        .into()
}

/// A whole number, as it ever was.
fn current_rate(published: &Published) -> u64 {
    published.gate.rate().per_second().round() as u64
}

fn rate_limiter(published: &Published) -> Value {
    let gate = &published.gate;
    let done = gate.admissions();
    json!({
        "enabled": gate.is_on(),
        "rate_per_second": gate.rate(),
        "burst": gate.burst(),
        "waiting": gate.waiting(Instant::now()),
        "queue": gate.queue(),
        "admitted": done.admitted,
        "delayed": done.delayed,
        "rejected": done.rejected,
    })
}

/// How many exchanges the origin is given at once.
fn concurrency(published: &Published) -> Value {
    let origin = &published.counters.origin;
    let most = published.tuning.load().connections_at_once();
    let seen = published.concurrency.seen();
    json!({
        "enabled": published.concurrency.is_on(),
        "limit": published.concurrency.limit(most),
        "most": most,
        "in_use": origin.in_use.get(),
        "waiting": origin.waiting.get(),
        "median_answer_ms": seen.map(|(median, _)| millis(median)),
        "recent_best_ms": seen.map(|(_, reference)| millis(reference)),
    })
}

/// What requests wait for just now before they go to the origin, if they do.
fn limited_by(published: &Published) -> &'static str {
    let most = published.tuning.load().connections_at_once();
    if published.gate.waiting(Instant::now()) > 0 {
        "rate"
    } else if published.counters.origin.waiting.get() == 0 {
        "nothing"
    } else if published.concurrency.limit(most) < most {
        "concurrency"
    } else {
        "connections"
    }
}

fn origin_pool(published: &Published) -> Value {
    let origin = &published.counters.origin;
    let tuning = published.tuning.load();
    json!({
        "limit": tuning.connections,
        "limit_per_host": tuning.connections_per_host,
        "in_use": origin.in_use.get(),
        "waiting": origin.waiting.get(),
        "open": origin.open.get(),
        "idle": origin.idle.get(),
        "connects": origin.connects.get(),
        "spares": origin.spares.get(),
        "connect_failures": origin.connect_failures.get(),
        "reuses": origin.reuses.get(),
        "retries": origin.retries.get(),
        "reaped": origin.reaped.get(),
        "slot_timeouts": origin.slot_timeouts.get(),
    })
}

/// How bodies were kept going.
fn transfers(published: &Published) -> Value {
    let origin = &published.counters.origin;
    let tuning = published.tuning.load();
    json!({
        "resume_enabled": tuning.resume,
        "parallel_enabled": tuning.parallel,
        "resumes": origin.resumes.get(),
        "resumed": origin.resumed.get(),
        "resumes_given_up": origin.resumes_given_up.get(),
        "resumes_denied": origin.resumes_denied.get(),
        "stalls": origin.stalls.get(),
        "stalls_mended": origin.stalls_mended.get(),
        "stalls_denied": origin.stalls_denied.get(),
        "parallel": origin.parallel_transfers.get(),
        "first_parts": origin.first_parts.get(),
        "parts": origin.parts.get(),
        "parts_given_up": origin.parts_given_up.get(),
    })
}

/// The lines by what the kernel knows of them, whatever the applications behind them do.
fn network(published: &Published) -> Value {
    let clients = &published.counters.clients;
    let by_class: Map<_, _> = Class::ALL
        .iter()
        .zip(&clients.by_class)
        .map(|(class, connections)| (class.as_str().to_owned(), json!(connections.get())))
        .collect();
    json!({
        "origin": **published.origin_line.load(),
        "clients": {
            "connections_by_class": by_class,
            "congestion_switches": clients.congestion_switches.get(),
        },
    })
}

fn workers(published: &Published) -> Value {
    let clients = &published.counters.clients;
    json!({
        "count": published.workers,
        "connections_open": clients.open.get(),
        "connections_accepted": clients.accepted.get(),
        "connections_over_limit": clients.over_limit.get(),
        "tls_handshakes": clients.handshakes.get(),
        "tls_handshakes_failed": clients.handshakes_failed.get(),
        "tls_handshakes_refused": clients.handshakes_refused.get(),
        "http2_connections_accepted": clients.http2.get(),
        "http2_reset_floods": clients.reset_floods.get(),
        "requests_in_flight": clients.requests.get(),
        "head_timeouts": clients.head_timeouts.get(),
        "bad_heads": clients.bad_heads.get(),
        "body_timeouts": clients.body_timeouts.get(),
        "send_timeouts": clients.send_timeouts.get(),
        "samples_dropped": clients.samples_dropped.get(),
    })
}

fn retunes(published: &Published) -> Vec<Value> {
    published
        .retunes
        .last()
        .into_iter()
        .map(|retune| {
            json!({
                "at": humantime::format_rfc3339_millis(retune.at).to_string(),
                "what": retune.what,
                "from": retune.from,
                "to": retune.to,
                "why": retune.why,
            })
        })
        .collect()
}
