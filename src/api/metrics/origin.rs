//! Metrics of connections and exchanges with the origin.

use crate::{
    api::exposition::{
        Exposition, Family,
        Kind::{Counter, Gauge},
    },
    traffic::{counters::OriginCounters, origin::OriginState, published::Published},
};

pub(in crate::api) fn write(out: &mut Exposition, published: &Published) {
    let origins = &published.origins;
    let gauges: [Family<OriginState>; 9] = [
        (
            "fileproxy_origin_connections",
            "Sockets open to the origin, idle ones included.",
            |origin| origin.counters.open.get(),
        ),
        (
            "fileproxy_origin_connections_idle",
            "Idle sockets kept.",
            |origin| origin.counters.idle.get(),
        ),
        (
            "fileproxy_origin_exchanges",
            "Exchanges with the origin under way.",
            |origin| origin.counters.in_use.get(),
        ),
        (
            "fileproxy_origin_exchanges_beyond_limit",
            "Exchanges beyond the limits that only wait for their clients, or for a silent origin.",
            |origin| origin.counters.beyond.get(),
        ),
        (
            "fileproxy_origin_exchanges_parked",
            "Exchanges that wait for nothing but their clients.",
            |origin| origin.counters.parked.get(),
        ),
        (
            "fileproxy_origin_exchanges_limit",
            "Exchanges that may be under way.",
            |origin| origin.tuning.load().connections as u64,
        ),
        (
            "fileproxy_origin_exchanges_per_host_limit",
            "Exchanges with one host that may be under way.",
            |origin| origin.tuning.load().connections_per_host as u64,
        ),
        (
            "fileproxy_origin_exchanges_adaptive_limit",
            "Exchanges that the origin is given at once, by how fast it answers.",
            |origin| origin.concurrency.limit(origin.most_at_once()) as u64,
        ),
        (
            "fileproxy_origin_requests_waiting",
            "Requests that wait for a free connection.",
            |origin| origin.counters.waiting.get(),
        ),
    ];
    for (name, help, value) in gauges {
        out.of_each(Gauge, name, help, origins, value);
    }
    let counters: [Family<OriginCounters>; 9] = [
        (
            "fileproxy_origin_connects_total",
            "Connections to the origin opened.",
            |origin| origin.connects.get(),
        ),
        (
            "fileproxy_origin_spares_total",
            "Connections to the origin opened before anybody needed them.",
            |origin| origin.spares.get(),
        ),
        (
            "fileproxy_origin_connect_failures_total",
            "Connects to the origin that failed.",
            |origin| origin.connect_failures.get(),
        ),
        (
            "fileproxy_origin_reuses_total",
            "Requests on a kept connection.",
            |origin| origin.reuses.get(),
        ),
        (
            "fileproxy_origin_retries_total",
            "Requests sent once more because a kept connection was dead.",
            |origin| origin.retries.get(),
        ),
        (
            "fileproxy_origin_reaped_total",
            "Idle connections that the origin closed.",
            |origin| origin.reaped.get(),
        ),
        (
            "fileproxy_origin_connections_given_up_total",
            "Connections given up while their clients read nothing; the bodies go on by Range.",
            |origin| origin.given_up.get(),
        ),
        (
            "fileproxy_origin_unread_bodies_cut_total",
            "Bodies ended because their clients read nothing and others had no connection left.",
            |origin| origin.cut.get(),
        ),
        (
            "fileproxy_origin_wait_timeouts_total",
            "Requests that found no free connection in time.",
            |origin| origin.slot_timeouts.get(),
        ),
    ];
    for (name, help, value) in counters {
        out.of_each(Counter, name, help, origins, |origin| {
            value(&origin.counters)
        });
    }
    let summary = published.summary.load();
    out.of_each(
        Counter,
        "fileproxy_origin_requests_total",
        "Requests that went to the origin and ended.",
        origins,
        |origin| summary.of(origin.id).judged.all.requests,
    );
    out.of_each(
        Counter,
        "fileproxy_origin_errors_total",
        "Those of them that failed by the origin: a 5xx, a failed connect, a timeout, a broken body.",
        origins,
        |origin| summary.of(origin.id).judged.all.errors,
    );
    out.of_each(
        Gauge,
        "fileproxy_origin_line_round_trip_seconds",
        "Round trip to the origin, by TCP_INFO.",
        origins,
        |origin| origin.line.load().round_trip_ms / 1e3,
    );
    let losses = origins.iter().filter_map(|origin| {
        let loss = origin.line.load().loss_percent?;
        Some((&origin.name, loss / 100.0))
    });
    out.by(
        Gauge,
        "fileproxy_origin_line_loss_ratio",
        "Share of lost segments on the line to the origin, by TCP_INFO.",
        "origin",
        losses,
    );
}
