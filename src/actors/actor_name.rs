//! The names of the actors.

/// The name of an actor, as `/health`, `/stats`, `/metrics` and the log show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the actors themselves")]
pub enum ActorName {
    MetricsWindow,
    QualityClassifier,
    RateLimiter,
    RedisPool,
    Tuner,
}

impl ActorName {
    /// Every actor.
    pub const ALL: [ActorName; 5] = [
        ActorName::MetricsWindow,
        ActorName::QualityClassifier,
        ActorName::RateLimiter,
        ActorName::RedisPool,
        ActorName::Tuner,
    ];

    /// The name in snake_case.
    pub fn as_str(self) -> &'static str {
        match self {
            ActorName::MetricsWindow => "metrics_window",
            ActorName::QualityClassifier => "quality_classifier",
            ActorName::RateLimiter => "rate_limiter",
            ActorName::RedisPool => "redis_pool",
            ActorName::Tuner => "tuner",
        }
    }
}
