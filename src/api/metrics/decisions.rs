//! Metrics of the actors' decisions: rate limit, level, canary, classes.

use std::time::Instant;

use crate::{
    api::exposition::{
        Exposition, Family,
        Kind::{Counter, Gauge},
    },
    traffic::{
        level::Level, origins::Origins, published::Published, quality::Class, rate_gate::Admissions,
    },
};

/// Label value while there is no class.
const UNKNOWN: &str = "unknown";

pub(in crate::api) fn write(out: &mut Exposition, published: &Published) {
    let origins = &published.origins;
    rate_limit(out, origins);
    out.state(
        "fileproxy_optimization_level",
        "The level in force is 1.",
        "level",
        Level::ALL.map(Level::as_str),
        published.level.load().level.as_str(),
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
    let classes = |names: &[&'static str], now: &'static str| {
        let is = |name: &&'static str| (*name, u8::from(*name == now));
        names.iter().map(is).collect::<Vec<_>>()
    };
    let known = Class::ALL.map(Class::as_str);
    let or_unknown = [known.as_slice(), &[UNKNOWN]].concat();
    out.of_each_by(
        Gauge,
        "fileproxy_origin_class",
        "The origin's class by its response time is 1; unknown while nobody knows how it answers.",
        origins,
        "class",
        |origin| classes(&or_unknown, origin.quality().map_or(UNKNOWN, Class::as_str)),
    );
    out.of_each_by(
        Gauge,
        "fileproxy_origin_line_class",
        "The class of the line to the origin, by TCP_INFO, is 1.",
        origins,
        "class",
        |origin| classes(&known, origin.line.load().class.as_str()),
    );
}

fn rate_limit(out: &mut Exposition, origins: &Origins) {
    out.of_each(
        Gauge,
        "fileproxy_rate_limit_enabled",
        "Whether the limit on requests to the origin is on.",
        origins,
        |origin| u8::from(origin.gate.is_on()),
    );
    out.of_each(
        Gauge,
        "fileproxy_rate_limit_requests_per_second",
        "Requests per second that may go to the origin.",
        origins,
        |origin| origin.gate.rate().per_second(),
    );
    let now = Instant::now();
    out.of_each(
        Gauge,
        "fileproxy_rate_limit_requests_waiting",
        "Requests that wait for the rate limit.",
        origins,
        |origin| origin.gate.waiting(now),
    );
    let counts: [Family<Admissions>; 3] = [
        (
            "fileproxy_rate_limit_admitted_total",
            "Requests let through, at once or after a wait.",
            |done| done.admitted,
        ),
        (
            "fileproxy_rate_limit_delayed_total",
            "Requests let through after a wait.",
            |done| done.delayed,
        ),
        (
            "fileproxy_rate_limit_rejected_total",
            "Requests turned away.",
            |done| done.rejected,
        ),
    ];
    for (name, help, count) in counts {
        out.of_each(Counter, name, help, origins, |origin| {
            count(&origin.gate.admissions())
        });
    }
}
