//! Metrics of the store: how requests were answered, what it contains, and what it fetched.

use std::time::Instant;

use crate::{
    api::exposition::{
        Exposition,
        Kind::{Counter, Gauge},
    },
    store::{Store, counters::Kind},
    traffic::published::Published,
};

pub(in crate::api) fn write(out: &mut Exposition, published: &Published) {
    // Set before the first request.
    if let Some(store) = published.store.get() {
        of(out, store);
    }
}

fn of(out: &mut Exposition, store: &Store) {
    let counters = &store.counters;
    out.by(
        Counter,
        "fileproxy_store_requests_total",
        "Requests that the store was asked for, by how they were answered.",
        "answer",
        Kind::ALL.map(|kind| (kind.as_str(), counters.requests(kind))),
    );
    let (served, filled) = counters.bytes();
    out.one(
        Counter,
        "fileproxy_store_served_bytes_total",
        "Bytes of bodies that clients got out of objects.",
        served,
    );
    out.one(
        Counter,
        "fileproxy_store_filled_bytes_total",
        "Bytes of bodies that the origin sent into objects.",
        filled,
    );
    let [running, finished, stopped, failed] = counters.fills();
    out.one(
        Gauge,
        "fileproxy_store_fills_running",
        "Requests to the origin that fill objects now.",
        running,
    );
    out.by(
        Counter,
        "fileproxy_store_fills_total",
        "Requests to the origin that filled objects, by how they ended.",
        "end",
        [
            ("finished", finished),
            ("stopped", stopped),
            ("failed", failed),
        ],
    );
    out.one(
        Counter,
        "fileproxy_store_readers_left_behind_total",
        "Clients that went on by a request of their own: what they needed next had been evicted, or was fetched much later.",
        counters.readers_left_behind(),
    );
    let [_, used, unused] = store.prefetch.counts(Instant::now());
    out.by(
        Counter,
        "fileproxy_store_prefetched_total",
        "Segments of HLS streams that were fetched ahead, by whether they were asked for within a minute.",
        "outcome",
        [("used", used), ("unused", unused)],
    );
    let memory = store.shelf.memory();
    out.one(
        Gauge,
        "fileproxy_store_memory_bytes",
        "Memory that the store uses, heads and index included.",
        memory.used(),
    );
    out.one(
        Gauge,
        "fileproxy_store_memory_limit_bytes",
        "Most memory that the store may use.",
        memory.limit(),
    );
    out.one(
        Gauge,
        "fileproxy_store_objects",
        "Responses that are kept, in memory or on disk.",
        store.shelf.objects(),
    );
    out.one(
        Counter,
        "fileproxy_store_evictions_total",
        "Parts of bodies that were pushed out for others.",
        store.shelf.evictions(),
    );
    out.one(
        Gauge,
        "fileproxy_store_serving_stale",
        "1 while stale responses go out, because the origin fails or is late.",
        u8::from(store.serving_stale_for().is_some()),
    );
}
