//! Counts of requests and percentiles of their times in /stats.

use serde::Serialize;
use utoipa::ToSchema;

use super::numbers::{millis, rounded};
use crate::traffic::{
    sample::Outcome,
    summary::{self, Summary},
};

/// Totals since the start, with numbers as strings, as scripts for the former Python service expect them.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Metrics {
    total_requests: u64,
    error_count: u64,
    /// Percent, with the sign.
    #[schema(example = "0.50%")]
    error_rate: String,
    #[schema(example = "45.23")]
    avg_response_time_ms: String,
    min_response_time_ms: String,
    max_response_time_ms: String,
    p50_response_time_ms: String,
    p95_response_time_ms: String,
    p99_response_time_ms: String,
    total_bytes_transferred: u64,
    /// In the sliding window, in Mbit/s (10^6).
    throughput_mbps: String,
    /// Always false: kept for existing dashboards.
    uvloop_enabled: bool,
}

impl Metrics {
    pub(super) fn of(summary: &Summary) -> Self {
        let figures = &summary.total;
        let ms = |duration| format!("{:.2}", millis(duration));
        Self {
            total_requests: figures.requests,
            error_count: figures.errors,
            error_rate: format!("{:.2}%", figures.error_share() * 100.0),
            avg_response_time_ms: ms(figures.total.avg),
            min_response_time_ms: ms(figures.total.min),
            max_response_time_ms: ms(figures.total.max),
            p50_response_time_ms: ms(figures.total.p50),
            p95_response_time_ms: ms(figures.total.p95),
            p99_response_time_ms: ms(figures.total.p99),
            total_bytes_transferred: figures.bytes,
            throughput_mbps: format!("{:.2}", summary.throughput_mbps()),
            uvloop_enabled: false,
        }
    }
}

/// Requests in a period. `response_time` is from a request's head to its end, `ttfb` to the first byte for the client,
/// `origin_ttfb` from the request sent to the origin to its response head.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Figures {
    /// Finished requests.
    total_requests: u64,
    /// Requests that failed because of the origin: 5xx, no connection, a timeout or a broken body.
    error_count: u64,
    error_rate_percent: f64,
    /// Response body bytes sent to clients.
    total_bytes_transferred: u64,
    avg_response_time_ms: f64,
    min_response_time_ms: f64,
    max_response_time_ms: f64,
    p50_response_time_ms: f64,
    p95_response_time_ms: f64,
    p99_response_time_ms: f64,
    avg_ttfb_ms: f64,
    min_ttfb_ms: f64,
    max_ttfb_ms: f64,
    p50_ttfb_ms: f64,
    p95_ttfb_ms: f64,
    p99_ttfb_ms: f64,
    avg_origin_ttfb_ms: f64,
    min_origin_ttfb_ms: f64,
    max_origin_ttfb_ms: f64,
    p50_origin_ttfb_ms: f64,
    p95_origin_ttfb_ms: f64,
    p99_origin_ttfb_ms: f64,
}

impl Figures {
    pub(super) fn of(figures: &summary::Figures) -> Self {
        let summary::Figures {
            total,
            ttfb,
            origin_ttfb,
            ..
        } = figures;
        Self {
            total_requests: figures.requests,
            error_count: figures.errors,
            error_rate_percent: rounded(figures.error_share() * 100.0, 3),
            total_bytes_transferred: figures.bytes,
            avg_response_time_ms: millis(total.avg),
            min_response_time_ms: millis(total.min),
            max_response_time_ms: millis(total.max),
            p50_response_time_ms: millis(total.p50),
            p95_response_time_ms: millis(total.p95),
            p99_response_time_ms: millis(total.p99),
            avg_ttfb_ms: millis(ttfb.avg),
            min_ttfb_ms: millis(ttfb.min),
            max_ttfb_ms: millis(ttfb.max),
            p50_ttfb_ms: millis(ttfb.p50),
            p95_ttfb_ms: millis(ttfb.p95),
            p99_ttfb_ms: millis(ttfb.p99),
            avg_origin_ttfb_ms: millis(origin_ttfb.avg),
            min_origin_ttfb_ms: millis(origin_ttfb.min),
            max_origin_ttfb_ms: millis(origin_ttfb.max),
            p50_origin_ttfb_ms: millis(origin_ttfb.p50),
            p95_origin_ttfb_ms: millis(origin_ttfb.p95),
            p99_origin_ttfb_ms: millis(origin_ttfb.p99),
        }
    }
}

/// The figures of the sliding window.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Window {
    #[serde(flatten)]
    figures: Figures,
    /// Length of the window: less than `metrics.window` just after the start.
    window_seconds: f64,
    /// Response body bits per second in the window, in Mbit/s (10^6).
    throughput_mbps: f64,
    outcomes: Outcomes,
}

impl Window {
    pub(super) fn of(summary: &Summary) -> Self {
        Self {
            figures: Figures::of(&summary.window),
            window_seconds: rounded(summary.covers.as_secs_f64(), 3),
            throughput_mbps: rounded(summary.throughput_mbps(), 3),
            outcomes: Outcomes::of(&summary.window),
        }
    }
}

/// Requests by outcome.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Outcomes {
    /// The whole response was sent, with a status below 400.
    completed: u64,
    /// The whole response was sent, with a 4xx status.
    refused: u64,
    /// The origin answered 5xx.
    origin_failed: u64,
    /// No connection to the origin could be opened.
    connect_failed: u64,
    /// The origin did not answer in time, or its body stalled for too long.
    origin_timeout: u64,
    /// The origin's response failed, or violated HTTP.
    origin_broken: u64,
    /// The client left before the end.
    client_left: u64,
    /// The client sent or read too slowly, or sent something invalid.
    client_fault: u64,
    /// Refused by the rate limit.
    rate_limited: u64,
    /// Refused because no origin connection became free in time.
    overloaded: u64,
}

impl Outcomes {
    pub(super) fn of(figures: &summary::Figures) -> Self {
        let count = |outcome: Outcome| figures.outcomes[outcome as usize];
        Self {
            completed: count(Outcome::Completed),
            refused: count(Outcome::Refused),
            origin_failed: count(Outcome::OriginFailed),
            connect_failed: count(Outcome::ConnectFailed),
            origin_timeout: count(Outcome::OriginTimeout),
            origin_broken: count(Outcome::OriginBroken),
            client_left: count(Outcome::ClientLeft),
            client_fault: count(Outcome::ClientFault),
            rate_limited: count(Outcome::RateLimited),
            overloaded: count(Outcome::Overloaded),
        }
    }
}
