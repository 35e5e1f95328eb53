//! Metrics of bodies that were continued, or fetched over several connections.

use std::time::Instant;

use crate::{
    api::exposition::{
        Exposition, Family,
        Kind::{Counter, Gauge},
    },
    traffic::{counters::OriginCounters, published::Published},
};

pub(in crate::api) fn write(out: &mut Exposition, published: &Published) {
    let origins = &published.origins;
    out.of_each(
        Gauge,
        "fileproxy_parallel_held_bytes",
        "Bytes that are kept for the parts of bodies.",
        origins,
        |origin| origin.counters.parts_held.get(),
    );
    let now = Instant::now();
    let bears = origins.iter().filter_map(|origin| {
        let most = origin.ceiling.most(now)?;
        Some((&origin.name, most))
    });
    out.by(
        Gauge,
        "fileproxy_origin_bears_exchanges",
        "Exchanges at once that the origin bore when it turned one away lately.",
        "origin",
        bears,
    );
    let counters: [Family<OriginCounters>; 11] = [
        (
            "fileproxy_resume_requests_total",
            "Requests for the rest of a body that broke.",
            |origin| origin.resumes.get(),
        ),
        (
            "fileproxy_reread_bytes_total",
            "Bytes of bodies that were read once more and thrown away, to get past what was sent already.",
            |origin| origin.reread_bytes.get(),
        ),
        (
            "fileproxy_stall_requests_total",
            "Second connections for bodies that stalled.",
            |origin| origin.stalls.get(),
        ),
        (
            "fileproxy_parallel_transfers_total",
            "Bodies fetched over several connections.",
            |origin| origin.parallel_transfers.get(),
        ),
        (
            "fileproxy_parallel_parts_total",
            "Parts that they were fetched in.",
            |origin| origin.parts.get(),
        ),
        (
            "fileproxy_parallel_parts_refused_total",
            "Parts that the origin turned away or was late with.",
            |origin| origin.parts_refused.get(),
        ),
        (
            "fileproxy_parallel_parts_given_up_total",
            "Parts that could not be had.",
            |origin| origin.parts_given_up.get(),
        ),
        (
            "fileproxy_parallel_parts_yielded_total",
            "Parts given up because others needed the room.",
            |origin| origin.parts_yielded.get(),
        ),
        (
            "fileproxy_parallel_wasted_bytes_total",
            "Bytes of first responses that were thrown away, because parts had brought them.",
            |origin| origin.parts_wasted.get(),
        ),
        (
            "fileproxy_parallel_firsts_lost_total",
            "First responses that broke while parts brought the body.",
            |origin| origin.firsts_lost.get(),
        ),
        (
            "fileproxy_crowded_out_requests_total",
            "Requests made again because the origin turned them away while parts were under way.",
            |origin| origin.crowded_out.get(),
        ),
    ];
    for (name, help, value) in counters {
        out.of_each(Counter, name, help, origins, |origin| {
            value(&origin.counters)
        });
    }
    out.of_each_by(
        Counter,
        "fileproxy_breaks_total",
        "Bodies that broke, by what became of it.",
        origins,
        "result",
        |origin| {
            let counters = &origin.counters;
            [
                ("mended", counters.resumed.get()),
                ("given_up", counters.resumes_given_up.get()),
                ("denied", counters.resumes_denied.get()),
            ]
        },
    );
    out.of_each_by(
        Counter,
        "fileproxy_stalls_total",
        "Bodies that stalled, by what became of it.",
        origins,
        "result",
        |origin| {
            let counters = &origin.counters;
            [
                ("mended", counters.stalls_mended.get()),
                ("denied", counters.stalls_denied.get()),
            ]
        },
    );
}
