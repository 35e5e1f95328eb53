//! One origin in /stats.

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    limits::{Concurrency, LimitedBy, RateLimiter},
    origin_pool::OriginPool,
    transfers::Transfers,
};
use crate::{
    api::{binding_limit::BindingLimit, numbers::millis},
    traffic::{
        line::LineStatus,
        origin::{OriginState, OriginStatus},
        published::Published,
        quality::Class,
        summary::Summary,
    },
};

/// The network to an origin, by response time.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct NetworkQuality {
    /// The class, by the median time to the origin's first byte; null without enough samples.
    quality: Option<Class>,
    /// Its URL, without user and password.
    origin: String,
    origin_status: OriginStatus,
    /// The median that the class is based on; null without samples.
    median_origin_response_time_ms: Option<f64>,
    /// Number of samples of the median.
    samples: u64,
}

impl NetworkQuality {
    pub(in crate::api) fn of(origin: &OriginState, summary: &Summary) -> Self {
        let pace = summary.of(origin.id).pace;
        Self {
            quality: origin.quality(),
            origin: origin.url.clone(),
            origin_status: **origin.status.load(),
            median_origin_response_time_ms: pace.median.map(millis),
            samples: pace.samples,
        }
    }
}

/// The state of one origin, and the decisions for it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Origin {
    network_quality: NetworkQuality,
    /// The line to it, by TCP_INFO.
    line: LineStatus,
    /// Finished requests to it, since the start.
    requests: u64,
    /// How many of them failed because of the origin: a 5xx, a failed connect, a timeout, a broken body.
    errors: u64,
    rate_limiter: RateLimiter,
    concurrency: Concurrency,
    limited_by: LimitedBy,
    /// Null if there is none.
    binding_limit: Option<BindingLimit>,
    pool: OriginPool,
    transfers: Transfers,
}

impl Origin {
    pub(in crate::api) fn of(
        origin: &OriginState,
        published: &Published,
        summary: &Summary,
    ) -> Self {
        let ended = summary.of(origin.id).judged.all;
        Self {
            network_quality: NetworkQuality::of(origin, summary),
            line: **origin.line.load(),
            requests: ended.requests,
            errors: ended.errors,
            rate_limiter: RateLimiter::of(origin),
            concurrency: Concurrency::of(origin),
            limited_by: LimitedBy::of(origin),
            binding_limit: BindingLimit::of(origin),
            pool: OriginPool::of(origin, &published.clients),
            transfers: Transfers::of(origin),
        }
    }
}
