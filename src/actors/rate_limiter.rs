//! Sets the rate limit, and the limit on concurrent exchanges with the origin.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use actix::{Actor, ActorContext, Context, Handler};
use tracing::{info, warn};

use super::{
    directory::Directory,
    lease::Lease,
    messages::{NewSettings, NewSummary, NewTuning},
    supervised_actor::supervised,
};
use crate::traffic::{
    answers::Heard,
    binding_limit::{BindingLimit, Look as Bound, Watch},
    concurrency::{self, ConcurrencyPolicy, FEW, Look},
    published::{self, Retune},
    rate::{RateChange, RatePolicy, Settings},
    rate_gate::Admissions,
    summary::Summary,
    tuning::Tuning,
};

/// Sets the rate of the gate and the limit on concurrent exchanges, by each summary of the window. Both values lie in
/// what is published, so that a successor goes on with them.
pub(super) struct RateLimiter {
    policy: RatePolicy,
    concurrency: ConcurrencyPolicy,
    /// Whether a maximum of the settings holds requests back.
    watch: Watch,
    /// What the gate had let in and turned away at the last tick, and when that was.
    admitted: (Admissions, Instant),
    directory: Arc<Directory>,
    lease: Lease,
}

supervised!(RateLimiter, hears limiter_summary, limiter_tuning, limiter_settings);

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
        let limit = published.concurrency.limit(most);
        Self {
            concurrency: ConcurrencyPolicy::new(concurrency, limit, now),
            policy: RatePolicy::new(settings, published.gate.rate(), so_far, now),
            watch: Watch::default(),
            admitted: (published.gate.admissions(), now),
            directory,
            lease,
        }
    }

    /// Turns both limits on or off, as the tuning says.
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

    /// Adjusts the limit on concurrent exchanges by the response times of the last tick.
    fn judge_concurrency(&mut self, summary: &Summary) {
        let now = summary.at;
        let published = &self.directory.published;
        let concurrency = &published.concurrency;
        // Where few targets or one client have most of the requests, these say how fast only those are answered.
        let heard = concurrency.answers.take(FEW).map(|heard| Heard {
            median: (summary.origin.median).map_or(heard.median, |all| all.min(heard.median)),
            ..heard
        });
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

    /// Tells where requests wait, or are turned away, for a maximum of the settings and not for the origin.
    fn judge_binding(&mut self, now: Instant) {
        let published = &self.directory.published;
        let admissions = published.gate.admissions();
        let (before, at) = std::mem::replace(&mut self.admitted, (admissions, now));
        let seconds = now.saturating_duration_since(at).as_secs_f64().max(0.001);
        let tuning = published.tuning.load();
        let most = tuning.connections_at_once();
        let origin = &published.counters.origin;
        let held = (admissions.delayed - before.delayed) + (admissions.rejected - before.rejected);
        let look = if published.gate.is_on() && self.policy.is_at_most() && held > 0 {
            let asked =
                (admissions.admitted - before.admitted) + (admissions.rejected - before.rejected);
            Bound {
                key: Some("rate_limit.max".to_owned()),
                value: self.policy.rate().per_second(),
                // Who waits would come at once.
                needed: asked as f64 / seconds + published.gate.waiting(now) as f64,
            }
        } else if origin.waiting.get() > 0 && published.concurrency.limit(most) >= most {
            let name = match tuning.connections < tuning.connections_per_host {
                true => "connections",
                false => "connections_per_host",
            };
            Bound {
                key: Some(format!("levels.{}.{name}", tuning.level)),
                value: most as f64,
                needed: (origin.in_use.get() + origin.waiting.get()) as f64,
            }
        } else {
            Bound {
                key: None,
                value: 0.0,
                needed: 0.0,
            }
        };
        let bound = self.watch.observe(look, now, SystemTime::now());
        if let Some((limit, true)) = &bound {
            let BindingLimit {
                key, value, needed, ..
            } = limit;
            let (value, needed) = (value.round(), needed.round());
            warn!(
                key,
                value, needed, "a limit of the settings holds requests back, not the origin"
            );
        }
        let published = &self.directory.published;
        published
            .binding_limit
            .store(bound.map(|(limit, _)| Arc::new(limit)));
    }

    /// Puts a rate in force and notes it.
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

impl Handler<NewSummary> for RateLimiter {
    type Result = ();

    fn handle(&mut self, NewSummary(summary): NewSummary, ctx: &mut Self::Context) {
        if self.lease.is_revoked() {
            return ctx.stop();
        }
        let published = &self.directory.published;
        // A message about the tuning that got lost is made up for here.
        self.switch(&published.tuning.load());
        self.judge_concurrency(&summary);
        self.judge_binding(summary.at);
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

impl Handler<NewSettings> for RateLimiter {
    type Result = ();

    fn handle(&mut self, NewSettings(settings): NewSettings, ctx: &mut Self::Context) {
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

impl Handler<NewTuning> for RateLimiter {
    type Result = ();

    fn handle(&mut self, NewTuning(tuning): NewTuning, ctx: &mut Self::Context) {
        if self.lease.is_revoked() {
            return ctx.stop();
        }
        self.switch(&tuning);
    }
}
