//! `GET /health`, `/health/live`, `/health/ready`: whether the process works, and what it works with.

use std::time::{Duration, Instant, SystemTime};

use actix_web::{HttpResponse, http::StatusCode, web};
use serde_json::{Map, Value, json};

use super::{State, answer, millis};
use crate::{
    traffic::{
        level::Level,
        published::{ActorStatus, OriginStatus, Published, RedisLink},
        tuning::Tuning,
    },
    units::{readable, readable_size},
};

/// An actor that was started anew counts as a blemish for so long.
const RECENTLY: Duration = Duration::from_secs(60);

pub(super) async fn health(state: web::Data<State>) -> HttpResponse {
    let published = &state.published;
    let status = status(published, Instant::now());
    let code = match status {
        "draining" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    let tuning = published.tuning.load();
    let origin = **published.origin_status.load();
    answer(
        code,
        &json!({
            "status": status,
            "timestamp": humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            "version": env!("CARGO_PKG_VERSION"),
            "uptime_seconds": published.started.elapsed().as_secs(),
            "redis": redis(published),
            "http_client": {
                "status": match origin {
                    OriginStatus::Unreachable => "degraded",
                    OriginStatus::Reachable | OriginStatus::Unknown => "healthy",
                },
            },
            "origins": [{
                "url": published.origin,
                "status": origin,
                "quality": tuning.class,
            }],
            "actors": actors(published),
            "performance_optimization": {
                "uvloop_enabled": false,
                "event_loop": "tokio",
                "optimizer_enabled": tuning.level != Level::Low,
                "optimization_level": tuning.level,
            },
            "config": config(&tuning),
        }),
    )
}

/// Whether the process runs at all.
pub(super) async fn live() -> HttpResponse {
    answer(StatusCode::OK, &json!({ "status": "live" }))
}

/// Whether the process takes new work.
pub(super) async fn ready(state: web::Data<State>) -> HttpResponse {
    if state.published.is_draining() {
        answer(
            StatusCode::SERVICE_UNAVAILABLE,
            &json!({ "status": "draining" }),
        )
    } else {
        answer(StatusCode::OK, &json!({ "status": "ready" }))
    }
}

fn status(published: &Published, now: Instant) -> &'static str {
    if published.is_draining() {
        return "draining";
    }
    let blemished = |actor: &ActorStatus| {
        let recently = |at| now.saturating_duration_since(at) < RECENTLY;
        !actor.running || actor.restarted.is_some_and(recently)
    };
    let degraded = published.redis.load().link == RedisLink::Disconnected
        || **published.origin_status.load() == OriginStatus::Unreachable
        || published.actors.load().values().any(blemished);
    if degraded { "degraded" } else { "healthy" }
}

fn actors(published: &Published) -> Map<String, Value> {
    let actors = published.actors.load();
    actors
        .iter()
        .map(|(name, actor)| {
            let status = if actor.running { "running" } else { "down" };
            let value = json!({ "status": status, "restarts": actor.restarts });
            ((*name).to_owned(), value)
        })
        .collect()
}

pub(super) fn redis(published: &Published) -> Value {
    let redis = published.redis.load();
    json!({
        "status": redis.link,
        "latency_ms": redis.latency.map(millis),
        "pool": {
            "size": redis.pool_size,
            "in_use": redis.in_use,
        },
    })
}

/// The tuning in force: as people write it, and where it has a unit as a number beside it.
pub(super) fn config(tuning: &Tuning) -> Value {
    let mut config = Map::new();
    let mut plain = |key: &str, value: Value| config.insert(key.to_owned(), value);
    plain("optimization_level", json!(tuning.level));
    plain("quality", json!(tuning.class));
    plain("connections", json!(tuning.connections));
    plain("connections_per_host", json!(tuning.connections_per_host));
    for (key, duration) in [
        ("keep_alive", tuning.keep_alive),
        ("connect_timeout", tuning.connect_timeout),
        ("exchange_timeout", tuning.exchange_timeout),
        ("idle_read", tuning.idle_read),
        ("dns_cache", tuning.dns_cache),
    ] {
        plain(key, json!(readable(duration)));
        plain(&format!("{key}_seconds"), seconds(duration));
    }
    for (key, size) in [("chunk", tuning.chunk), ("buffer", tuning.buffer)] {
        plain(key, json!(readable_size(size)));
        plain(&format!("{key}_bytes"), json!(size.as_u64()));
    }
    plain("redis_pool", json!(tuning.redis_pool));
    plain("tcp_options", json!(tuning.tcp_options));
    plain("tcp_buffers", json!(tuning.tcp_buffers));
    plain("resume", json!(tuning.resume));
    plain("parallel", json!(tuning.parallel));
    plain("follow_lines", json!(tuning.follow_lines));
    plain("rate_limit", json!(tuning.rate_limit));
    plain("warm_connections", json!(tuning.warm_connections));
    plain("concurrency_limit", json!(tuning.concurrency_limit));
    Value::Object(config)
}

/// Seconds: whole ones without a point.
fn seconds(duration: Duration) -> Value {
    if duration.subsec_nanos() == 0 {
        json!(duration.as_secs())
    } else {
        json!(duration.as_secs_f64())
    }
}
