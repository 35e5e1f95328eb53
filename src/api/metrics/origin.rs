//! Metrics of connections and exchanges with the origin.

use crate::{
    api::exposition::{
        Exposition,
        Kind::{Counter, Gauge},
    },
    traffic::published::Published,
};

pub(in crate::api) fn write(out: &mut Exposition, published: &Published) {
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
            "fileproxy_origin_exchanges_beyond_limit",
            "Exchanges beyond the limits that only wait for their clients, or for a silent origin.",
            origin.beyond.get(),
        ),
        (
            "fileproxy_origin_exchanges_parked",
            "Exchanges that wait for nothing but their clients.",
            origin.parked.get(),
        ),
        (
            "fileproxy_origin_uploads_held_bytes",
            "Bytes of small request bodies that wait to be whole.",
            origin.uploads_held.get(),
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
            "fileproxy_origin_connections_given_up_total",
            "Connections given up while their clients read nothing; the bodies go on by Range.",
            &origin.given_up,
        ),
        (
            "fileproxy_origin_unread_bodies_cut_total",
            "Bodies ended because their clients read nothing and others had no connection left.",
            &origin.cut,
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
