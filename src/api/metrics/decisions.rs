//! Metrics of what was decided: rate limit, level, canary, classes.

use std::time::Instant;

use crate::{
    api::exposition::{
        Exposition,
        Kind::{Counter, Gauge},
    },
    traffic::{level::Level, published::Published, quality::Class},
};

/// What stands for the class while there is none.
const UNKNOWN: &str = "unknown";

pub(in crate::api) fn write(out: &mut Exposition, published: &Published) {
    rate_limit(out, published);
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
        "The origin's class by its response time is 1; unknown while nobody knows how it answers.",
        "class",
        Class::ALL.map(Class::as_str).into_iter().chain([UNKNOWN]),
        published.quality().map_or(UNKNOWN, Class::as_str),
    );
    out.state(
        "fileproxy_origin_line_class",
        "The class of the line to the origin, by TCP_INFO, is 1.",
        "class",
        Class::ALL.map(Class::as_str),
        published.origin_line.load().class.as_str(),
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
