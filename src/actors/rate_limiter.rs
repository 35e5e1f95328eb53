//! Sets the rate at which requests go to the origin, and how many exchanges it is given at once.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use actix::{Actor, ActorContext, Context, Handler};
use tracing::info;

use super::{
    Resettled,
    directory::{Directory, Lease, supervised},
    metrics_window::Tick,
    tuner::Retuned,
};
use crate::traffic::{
    concurrency::{self, ConcurrencyPolicy, FEW, Look},
    published::{self, Retune},
    rate::{RateChange, RatePolicy, Settings},
    tuning::Tuning,
};

/// Owns the gate's rate and the limit on exchanges at once.
pub(super) struct RateLimiter {
    policy: RatePolicy,
    concurrency: ConcurrencyPolicy,
    directory: Arc<Directory>,
    lease: Lease,
}

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
        let so_far = &summary.judged;
        let most = published.tuning.load().connections_at_once();
        // the limit lives in what is published, so it survives this actor
        let limit = published.concurrency.limit(most);
        Self {
            concurrency: ConcurrencyPolicy::new(concurrency, limit, now),
            // the rate lives in the gate, so it survives this actor
            policy: RatePolicy::new(settings, published.gate.rate(), so_far, now),
            directory,
            lease,
        }
    }

    fn switch(&mut self, tuning: &Tuning) {
        let concurrency = &self.directory.published.concurrency;
        if concurrency.is_on() != tuning.concurrency_limit {
            concurrency.set_on(tuning.concurrency_limit);
            let most = tuning.connections_at_once();
            self.concurrency.restart(most, Instant::now());
            concurrency.set(&self.concurrency, None);
        }
        let gate = &self.directory.published.gate;
        if gate.is_on() != tuning.rate_limit {
            gate.set_on(tuning.rate_limit);
            let (from, to) = if tuning.rate_limit {
                ("off", "on")
            } else {
                ("on", "off")
            };
            let why = format!("level {}", tuning.level);
            info!(from, to, why, "rate limit switched");
        }
    }

    /// Judges how many exchanges the origin is given at once.
    fn judge_concurrency(&mut self, now: Instant) {
        let published = &self.directory.published;
        let concurrency = &published.concurrency;
        let heard = concurrency.answers.take(FEW);
        let ended = heard.and_then(|_| published.counters.origin.exchanges.take(FEW));
        if !concurrency.is_on() {
            return;
        }
        let origin = &published.counters.origin;
        let most = published.tuning.load().connections_at_once();
        let change = if let Some(heard) = heard {
            let look = Look {
                heard,
                ended,
                demand: origin.in_use.get() + origin.waiting.get(),
                most,
                round_trip: published.origin_line.load().round_trip(),
            };
            let change = self.concurrency.observe(look, now);
            concurrency.set(&self.concurrency, Some(heard.median));
            change
        } else {
            let (answers, waiting) = (concurrency.answers.count(), origin.waiting.get() > 0);
            let change = self.concurrency.wait(answers, waiting, most, now);
            concurrency.set(&self.concurrency, None);
            change
        };
        if let Some(change) = change {
            let (from, to, why) = (change.from, change.to, change.why);
            info!(from, to, why, "limit on exchanges at once changed");
            published.retunes.push(Retune {
                at: SystemTime::now(),
                what: published::Retuned::Concurrency,
                from: from.to_string(),
                to: to.to_string(),
                why,
            });
        }
    }

    fn set(&self, change: RateChange) {
        let published = &self.directory.published;
        published.gate.set_rate(change.to);
        let (from, to, why) = (change.from.to_string(), change.to.to_string(), change.why);
        info!(from, to, why, "rate limit changed");
        published.retunes.push(Retune {
            at: SystemTime::now(),
            what: published::Retuned::Rate,
            from,
            to,
            why,
        });
    }
}

impl Actor for RateLimiter {
    type Context = Context<Self>;
}

impl Handler<Tick> for RateLimiter {
    type Result = ();

    fn handle(&mut self, Tick(summary): Tick, ctx: &mut Self::Context) {
        if self.lease.is_revoked() {
            return ctx.stop();
        }
        let published = &self.directory.published;
        // a retune that got lost is made good here
        self.switch(&published.tuning.load());
        self.judge_concurrency(summary.at);
        let published = &self.directory.published;
        if !published.gate.is_on() {
            return self.policy.skip(&summary.judged, summary.at);
        }
        if let Some(change) = self.policy.observe(&summary.judged, summary.at) {
            self.set(change);
        }
        let published = &self.directory.published;
        published.gate.set_only(self.policy.blamed());
    }
}

impl Handler<Resettled> for RateLimiter {
    type Result = ();

    fn handle(&mut self, Resettled(settings): Resettled, ctx: &mut Self::Context) {
        if self.lease.is_revoked() {
            return ctx.stop();
        }
        let published = &self.directory.published;
        let from = published.gate.rate();
        self.policy.resettle(&settings.rate_limit);
        let most = published.tuning.load().connections_at_once();
        let limit = published.concurrency.limit(most);
        self.concurrency = ConcurrencyPolicy::new(&settings.concurrency, limit, Instant::now());
        let to = self.policy.rate();
        if to != from {
            let why = "other bounds in the settings".to_owned();
            self.set(RateChange { from, to, why });
        }
    }
}

impl Handler<Retuned> for RateLimiter {
    type Result = ();

    fn handle(&mut self, Retuned(tuning): Retuned, ctx: &mut Self::Context) {
        if self.lease.is_revoked() {
            return ctx.stop();
        }
        self.switch(&tuning);
    }
}

supervised!(RateLimiter);
