//! Metrics of the process's dependencies: origin, Redis, actors.

use crate::{
    api::exposition::{
        Exposition,
        Kind::{Counter, Gauge},
    },
    traffic::{
        origin::OriginStatus,
        published::{Published, RedisLink},
    },
};

pub(in crate::api) fn write(out: &mut Exposition, published: &Published) {
    out.of_each(
        Gauge,
        "fileproxy_origin_up",
        "0 while the origin cannot be reached.",
        &published.origins,
        |origin| u8::from(**origin.status.load() != OriginStatus::Unreachable),
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
