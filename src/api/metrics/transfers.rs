//! Metrics of bodies that were continued, or came over several connections.

use std::time::Instant;

use crate::{
    api::exposition::{
        Exposition,
        Kind::{Counter, Gauge},
    },
    traffic::published::Published,
};

pub(in crate::api) fn write(out: &mut Exposition, published: &Published) {
    let origin = &published.counters.origin;
    out.one(
        Gauge,
        "fileproxy_parallel_held_bytes",
        "Bytes that are kept for the parts of bodies.",
        origin.parts_held.get(),
    );
    if let Some(most) = published.ceiling.most(Instant::now()) {
        out.one(
            Gauge,
            "fileproxy_origin_bears_exchanges",
            "Exchanges at once that the origin bore when it turned one away lately.",
            most as u64,
        );
    }
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
        (
            "fileproxy_parallel_parts_yielded_total",
            "Parts given up because others needed the room.",
            &origin.parts_yielded,
        ),
        (
            "fileproxy_parallel_wasted_bytes_total",
            "Bytes of first responses that were thrown away, because parts had brought them.",
            &origin.parts_wasted,
        ),
        (
            "fileproxy_parallel_firsts_lost_total",
            "First responses that broke while parts brought the body.",
            &origin.firsts_lost,
        ),
        (
            "fileproxy_crowded_out_requests_total",
            "Requests made again because the origin turned them away while parts were under way.",
            &origin.crowded_out,
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
