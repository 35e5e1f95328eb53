//! Sets each origin's rate limit and concurrency limit.

use std::{sync::Arc, time::Instant};

use actix::{Actor, ActorContext, Context, Handler};

use super::{
    directory::Directory,
    lease::Lease,
    messages::{NewLevel, NewSettings, NewSummary},
    origin_limiter::OriginLimiter,
    supervised_actor::supervised,
};
use crate::traffic::{concurrency, rate::Settings};

/// Sets the limits of each origin by the window's summaries.
pub(super) struct RateLimiter {
    limiters: Vec<OriginLimiter>,
    directory: Arc<Directory>,
    lease: Lease,
}

supervised!(RateLimiter, hears limiter_summary, limiter_level, limiter_settings);

impl RateLimiter {
    pub fn new(
        settings: &Settings,
        concurrency: &concurrency::Settings,
        directory: Arc<Directory>,
        lease: Lease,
        now: Instant,
    ) -> Self {
        let published = &directory.published;
        let summary = published.summary.load();
        let limiter = |origin| OriginLimiter::new(origin, settings, concurrency, &summary, now);
        Self {
            limiters: published.origins.iter().map(limiter).collect(),
            directory,
            lease,
        }
    }
}

impl Actor for RateLimiter {
    type Context = Context<Self>;
}

impl Handler<NewSummary> for RateLimiter {
    type Result = ();

    fn handle(&mut self, NewSummary(summary): NewSummary, ctx: &mut Self::Context) {
        if self.lease.is_revoked() {
            return ctx.stop();
        }
        for limiter in &mut self.limiters {
            // Makes up for a lost message about the level.
            limiter.switch();
            let of = summary.of(limiter.id());
            limiter.observe(of, summary.at, &self.directory.published);
        }
    }
}

impl Handler<NewSettings> for RateLimiter {
    type Result = ();

    fn handle(&mut self, NewSettings(settings): NewSettings, ctx: &mut Self::Context) {
        if self.lease.is_revoked() {
            return ctx.stop();
        }
        for limiter in &mut self.limiters {
            let (rate, concurrency) = (&settings.rate_limit, &settings.concurrency);
            limiter.resettle(rate, concurrency, &self.directory.published);
        }
    }
}

impl Handler<NewLevel> for RateLimiter {
    type Result = ();

    fn handle(&mut self, _: NewLevel, ctx: &mut Self::Context) {
        if self.lease.is_revoked() {
            return ctx.stop();
        }
        self.limiters.iter_mut().for_each(OriginLimiter::switch);
    }
}
