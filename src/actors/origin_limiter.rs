//! The limits towards one origin: request rate and concurrent exchanges.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use tracing::{info, warn};

use crate::traffic::{
    answers::Heard,
    binding_limit::{BindingLimit, Look as Bound, Watch},
    concurrency::{self, ConcurrencyPolicy, FEW, Look},
    knee::{self, Knee},
    origin::OriginState,
    origin_id::OriginId,
    origin_summary::OriginSummary,
    published::{Published, Retune, Retuned},
    rate::{RateChange, RatePolicy, Settings},
    rate_gate::Admissions,
    summary::Summary,
    tuning::Tuning,
};

/// Sets the rate of one origin's gate and the limit on its concurrent exchanges, by each summary of the window. Both values are
/// published, so that a successor continues with them.
pub(super) struct OriginLimiter {
    origin: Arc<OriginState>,
    policy: RatePolicy,
    concurrency: ConcurrencyPolicy,
    /// How many exchanges fill the line, and the bytes moved at the last tick.
    knee: Knee,
    moved: u64,
    /// Detects a maximum of the settings that holds requests back.
    watch: Watch,
    /// The gate's counts at the last tick, and its time.
    admitted: (Admissions, Instant),
}

impl OriginLimiter {
    /// Continues from the published state of the origin.
    pub fn new(
        origin: &Arc<OriginState>,
        settings: &Settings,
        concurrency: &concurrency::Settings,
        summary: &Summary,
        now: Instant,
    ) -> Self {
        let so_far = &summary.of(origin.id).judged;
        let limit = origin.concurrency.by_answers(origin.most_at_once());
        Self {
            concurrency: ConcurrencyPolicy::new(concurrency, limit, now),
            policy: RatePolicy::new(settings, origin.gate.rate(), so_far, now),
            knee: Knee::new(now),
            moved: origin.counters.moved.get(),
            watch: Watch::default(),
            admitted: (origin.gate.admissions(), now),
            origin: Arc::clone(origin),
        }
    }

    /// The origin.
    pub fn id(&self) -> OriginId {
        self.origin.id
    }

    /// Switches both limits on or off, by the tuning.
    pub fn switch(&mut self) {
        let tuning = self.origin.tuning.load();
        let concurrency = &self.origin.concurrency;
        if concurrency.is_on() != tuning.concurrency_limit {
            concurrency.set_on(tuning.concurrency_limit);
            let most = tuning.connections_at_once();
            self.concurrency.restart(most, Instant::now());
            concurrency.set(&self.concurrency, None);
        }
        let gate = &self.origin.gate;
        if gate.is_on() != tuning.rate_limit {
            gate.set_on(tuning.rate_limit);
            let (from, to) = if tuning.rate_limit {
                ("off", "on")
            } else {
                ("on", "off")
            };
            let (origin, why) = (&self.origin.name, format!("level {}", tuning.level));
            info!(origin, from, to, why, "rate limit switched");
        }
    }

    /// Adjusts both limits by the last tick's measurements.
    pub fn observe(&mut self, summary: &OriginSummary, now: Instant, published: &Published) {
        self.judge_concurrency(summary, now, published);
        self.judge_line(now, published);
        self.judge_binding(now);
        if !self.origin.gate.is_on() {
            return self.policy.skip(&summary.judged, now);
        }
        if let Some(change) = self.policy.observe(&summary.judged, now) {
            self.set(change, published);
        }
        self.origin.gate.set_only(self.policy.blamed());
    }

    /// Applies new settings: the limits stay, within the new bounds.
    pub fn resettle(
        &mut self,
        settings: &Settings,
        concurrency: &concurrency::Settings,
        published: &Published,
    ) {
        let from = self.origin.gate.rate();
        self.policy.resettle(settings);
        let most = self.origin.most_at_once();
        let limit = self.origin.concurrency.by_answers(most);
        self.concurrency = ConcurrencyPolicy::new(concurrency, limit, Instant::now());
        let to = self.policy.rate();
        if to != from {
            let why = "other bounds in the settings".to_owned();
            self.set(RateChange { from, to, why }, published);
        }
    }

    /// Adjusts the limit on concurrent exchanges by the response times of the last tick.
    fn judge_concurrency(&mut self, summary: &OriginSummary, now: Instant, published: &Published) {
        let concurrency = &self.origin.concurrency;
        let counters = &self.origin.counters;
        // If a few targets or one client make most of the requests, the overall median would only describe them.
        let heard = concurrency.answers.take(FEW).map(|heard| Heard {
            median: (summary.pace.median).map_or(heard.median, |all| all.min(heard.median)),
            ..heard
        });
        let ended = heard.and_then(|_| counters.exchanges.take(FEW));
        if !concurrency.is_on() {
            return;
        }
        let most = self.origin.most_at_once();
        let change = if let Some(heard) = heard {
            let look = Look {
                heard,
                ended,
                demand: counters.in_use.get() + counters.waiting.get(),
                most,
                round_trip: self.origin.line.load().round_trip(),
            };
            let change = self.concurrency.observe(look, now);
            concurrency.set(&self.concurrency, Some(heard.median));
            change
        } else {
            let (answers, waiting) = (concurrency.answers.count(), counters.waiting.get() > 0);
            let change = self.concurrency.wait(answers, waiting, most, now);
            concurrency.set(&self.concurrency, None);
            change
        };
        if let Some(change) = change {
            self.tell_concurrency(change, published);
        }
    }

    fn tell_concurrency(&self, change: knee::Change, published: &Published) {
        let (origin, from, to, why) = (&self.origin.name, change.from, change.to, &change.why);
        info!(origin, from, to, why, "limit on exchanges at once changed");
        let (from, to) = (from.to_string(), to.to_string());
        self.note(Retuned::Concurrency, from, to, change.why, published);
    }

    /// Adjusts the limit that the line to the origin needs.
    fn judge_line(&mut self, now: Instant, published: &Published) {
        let origin = &self.origin;
        let (concurrency, counters) = (&origin.concurrency, &origin.counters);
        let total = counters.moved.get();
        let moved = total - std::mem::replace(&mut self.moved, total);
        if !concurrency.is_on() {
            return;
        }
        let line = origin.line.load();
        let look = knee::Look {
            moved,
            in_use: counters.in_use.get() as usize,
            waiting: counters.waiting.get(),
            line: concurrency.is_line_known().then_some(line.class),
            round_trip: line.round_trip(),
            most: origin.most_at_once(),
        };
        let change = self.knee.observe(look, now);
        let limit = self.knee.limit();
        concurrency.set_line(limit);
        if let Some(change) = change {
            self.tell_concurrency(change, published);
        }
    }

    /// Detects when requests wait or are refused because of a maximum of the settings, not because of the origin.
    fn judge_binding(&mut self, now: Instant) {
        let origin = &self.origin;
        let admissions = origin.gate.admissions();
        let (before, at) = std::mem::replace(&mut self.admitted, (admissions, now));
        let seconds = now.saturating_duration_since(at).as_secs_f64().max(0.001);
        let tuning = origin.tuning.load();
        let held = (admissions.delayed - before.delayed) + (admissions.rejected - before.rejected);
        let look = if origin.gate.is_on() && self.policy.is_at_most() && held > 0 {
            let asked =
                (admissions.admitted - before.admitted) + (admissions.rejected - before.rejected);
            Bound {
                key: Some("rate_limit.max".to_owned()),
                value: self.policy.rate().per_second(),
                // Waiting requests would be sent at once.
                needed: asked as f64 / seconds + origin.gate.waiting(now) as f64,
            }
        } else {
            self.slots_binding(&tuning)
        };
        let bound = self.watch.observe(look, now, SystemTime::now());
        if let Some((limit, true)) = &bound {
            let BindingLimit {
                key, value, needed, ..
            } = limit;
            let (origin, value, needed) = (&origin.name, value.round(), needed.round());
            warn!(
                origin,
                key, value, needed, "a limit of the settings holds requests back, not the origin"
            );
        }
        origin
            .binding_limit
            .store(bound.map(|(limit, _)| Arc::new(limit)));
    }

    /// Whether requests wait because of a maximum on connections.
    fn slots_binding(&self, tuning: &Tuning) -> Bound {
        let (counters, most) = (&self.origin.counters, tuning.connections_at_once());
        if counters.waiting.get() == 0 || self.origin.concurrency.limit(most) < most {
            return Bound {
                key: None,
                value: 0.0,
                needed: 0.0,
            };
        }
        let name = match tuning.connections < tuning.connections_per_host {
            true => "connections",
            false => "connections_per_host",
        };
        Bound {
            key: Some(format!("levels.{}.{name}", tuning.level)),
            value: most as f64,
            needed: (counters.in_use.get() + counters.waiting.get()) as f64,
        }
    }

    /// Sets a rate and records the change.
    fn set(&self, change: RateChange, published: &Published) {
        self.origin.gate.set_rate(change.to);
        let (from, to, why) = (change.from.to_string(), change.to.to_string(), change.why);
        let origin = &self.origin.name;
        info!(origin, from, to, why, "rate limit changed");
        self.note(Retuned::Rate, from, to, why, published);
    }

    fn note(&self, what: Retuned, from: String, to: String, why: String, published: &Published) {
        published.retunes.push(Retune {
            at: SystemTime::now(),
            what,
            origin: Some(self.origin.name.clone()),
            from,
            to,
            why,
        });
    }
}
