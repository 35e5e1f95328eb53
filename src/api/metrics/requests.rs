//! Metrics of finished requests: counts and times.

use crate::{
    api::exposition::{Exposition, Kind::Counter},
    traffic::{counters::ClientCounters, sample::Outcome, summary::Summary},
};

pub(in crate::api) fn write(out: &mut Exposition, summary: &Summary, clients: &ClientCounters) {
    out.by(
        Counter,
        "fileproxy_responses_total",
        "Responses by the class of their status.",
        "class",
        clients.responses(),
    );
    out.by(
        Counter,
        "fileproxy_requests_total",
        "Requests that ended, by how.",
        "outcome",
        Outcome::ALL
            .iter()
            .zip(summary.total.outcomes)
            .map(|(outcome, count)| (outcome.as_str(), count)),
    );
    out.histogram(
        "fileproxy_request_duration_seconds",
        "From a request's head to its end.",
        &summary.spread.total,
    );
    out.histogram(
        "fileproxy_time_to_first_byte_seconds",
        "From a request's head to the first byte for the client.",
        &summary.spread.ttfb,
    );
    out.histogram(
        "fileproxy_origin_time_to_first_byte_seconds",
        "From the request sent to the origin to its response head.",
        &summary.spread.origin_ttfb,
    );
    out.histogram(
        "fileproxy_response_size_bytes",
        "Response body that the client got.",
        &summary.spread.bytes,
    );
}
