//! Counts samples, and publishes their summary once a tick.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler};

use super::{
    directory::Directory,
    lease::Lease,
    messages::{NewSettings, NewSummary, RollBack, Samples},
    supervised_actor::supervised,
    survivor::Survivor,
};
use crate::traffic::{canary::referee::Referee, window::Window};

/// Counts samples in the sliding window, publishes their summary once a tick, and compares the two groups of a canary.
pub(super) struct MetricsWindow {
    window: Survivor<Window>,
    referee: Survivor<Referee>,
    /// `metrics.tick`.
    tick: Duration,
    directory: Arc<Directory>,
    lease: Lease,
}

supervised!(MetricsWindow, hears samples, window_settings);

impl MetricsWindow {
    /// Batches of samples that may be queued: four seconds of a worker with 4,000 requests per second.
    const MAILBOX: usize = 256;

    pub fn new(
        window: Survivor<Window>,
        referee: Survivor<Referee>,
        tick: Duration,
        directory: Arc<Directory>,
        lease: Lease,
    ) -> Self {
        Self {
            window,
            referee,
            tick,
            directory,
            lease,
        }
    }

    fn sum_up(&mut self) {
        let summary = Arc::new(self.window.lock().summary(Instant::now()));
        self.directory.published.summary.store(summary.clone());
        // An actor whose mailbox is full, or that is dead, gets the next one.
        let new = NewSummary(summary);
        _ = self.directory.classifier_summary.tell(new.clone());
        _ = self.directory.limiter_summary.tell(new);
        self.judge(Instant::now());
    }

    /// Publishes the comparison of the canary's two groups. If the candidate is worse, the tuner is told at each tick until the
    /// canary has ended.
    fn judge(&mut self, now: Instant) {
        let published = &self.directory.published;
        let canary = published.canary.load();
        let mut referee = self.referee.lock();
        referee.follow(&canary, now);
        published
            .comparison
            .store(referee.comparison(now).map(Arc::new));
        if let Some(reason) = referee.verdict() {
            let (stage, reason) = (canary.stage, reason.to_owned());
            _ = self.directory.roll_back.tell(RollBack { stage, reason });
        }
    }
}

impl Actor for MetricsWindow {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(Self::MAILBOX);
        ctx.run_interval(self.tick, |this, ctx| {
            if this.lease.is_revoked() {
                return ctx.stop();
            }
            this.sum_up();
        });
    }
}

impl Handler<Samples> for MetricsWindow {
    type Result = ();

    fn handle(&mut self, Samples(samples): Samples, _: &mut Self::Context) {
        let mut window = self.window.lock();
        let mut referee = self.referee.lock();
        if samples.iter().any(|sample| sample.canary.is_some()) {
            // The canary may have started since the last tick.
            referee.follow(&self.directory.published.canary.load(), Instant::now());
        }
        for sample in &samples {
            window.record(sample);
            referee.record(sample);
        }
    }
}

impl Handler<NewSettings> for MetricsWindow {
    type Result = ();

    fn handle(&mut self, NewSettings(settings): NewSettings, _: &mut Self::Context) {
        self.window.lock().judge_after(settings.rate_limit.window);
    }
}
