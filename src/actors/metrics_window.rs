//! Counts samples, and says once a tick what it counted.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};

use super::{
    Resettled,
    directory::{Directory, Lease, supervised},
    lock,
    tuner::RollBack,
};
use crate::traffic::{canary::referee::Referee, sample::Sample, summary::Summary, window::Window};

/// Owns the window.
pub(super) struct MetricsWindow {
    // a mutex only so that the counts outlive a panic here: nobody else locks it
    window: Arc<Mutex<Window>>,
    referee: Arc<Mutex<Referee>>,
    tick: Duration,
    directory: Arc<Directory>,
    lease: Lease,
}

/// From a worker: some requests that ended.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Samples(pub Vec<Sample>);

/// From the window, once a tick: what it counted so far.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(super) struct Tick(pub Arc<Summary>);

impl MetricsWindow {
    /// So many batches may wait: four seconds of a worker at 4,000 requests per second.
    const MAILBOX: usize = 256;

    pub fn new(
        window: Arc<Mutex<Window>>,
        referee: Arc<Mutex<Referee>>,
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
        let summary = Arc::new(lock(&self.window).summary(Instant::now()));
        self.directory.published.summary.store(summary.clone());
        // one that is full or dead hears the next
        _ = self.directory.classifier.tell(Tick(summary.clone()));
        _ = self.directory.limiter.tell(Tick(summary));
        self.judge(Instant::now());
    }

    /// Compares the canary's groups. A candidate that is worse is told of until it is gone.
    fn judge(&mut self, now: Instant) {
        let published = &self.directory.published;
        let canary = published.canary.load();
        let mut referee = lock(&self.referee);
        referee.follow(&canary, now);
        published
            .comparison
            .store(referee.comparison(now).map(Arc::new));
        if let Some(reason) = referee.verdict() {
            let (stage, reason) = (canary.stage, reason.to_owned());
            _ = self.directory.tuner.tell(RollBack { stage, reason });
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
        let mut window = lock(&self.window);
        let mut referee = lock(&self.referee);
        if samples.iter().any(|sample| sample.canary.is_some()) {
            // the canary may have begun since the last tick
            referee.follow(&self.directory.published.canary.load(), Instant::now());
        }
        for sample in &samples {
            window.record(sample);
            referee.record(sample);
        }
    }
}

impl Handler<Resettled> for MetricsWindow {
    type Result = ();

    fn handle(&mut self, Resettled(settings): Resettled, _: &mut Self::Context) {
        lock(&self.window).judge_after(settings.rate_limit.window);
    }
}

supervised!(MetricsWindow);
