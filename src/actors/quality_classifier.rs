//! Classifies the network to each origin, and determines whether the origin is reachable.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use tokio::{net::TcpStream, time::timeout};

use super::{
    directory::Directory,
    lease::Lease,
    messages::{NewSettings, NewSummary},
    origin_judge::OriginJudge,
    supervised_actor::supervised,
};
use crate::traffic::{origin_id::OriginId, quality::Settings};

/// Connect timeout of a probe.
const PATIENCE: Duration = Duration::from_secs(5);

/// Derives the class of the network to each origin from the window's summaries, and publishes whether the origin is reachable.
pub(super) struct QualityClassifier {
    judges: Vec<OriginJudge>,
    directory: Arc<Directory>,
    lease: Lease,
}

supervised!(QualityClassifier, hears classifier_summary, classifier_settings);

impl QualityClassifier {
    pub fn new(settings: &Settings, directory: Arc<Directory>, lease: Lease) -> Self {
        let now = Instant::now();
        let origins = directory.published.origins.iter();
        Self {
            judges: origins
                .map(|origin| OriginJudge::new(origin, settings, now))
                .collect(),
            directory,
            lease,
        }
    }

    /// Opens a connection to an origin and closes it again.
    fn probe(&self, id: OriginId, (host, port): (String, u16), ctx: &mut Context<Self>) {
        let connect = async move {
            let connect = TcpStream::connect((host.as_str(), port));
            matches!(timeout(PATIENCE, connect).await, Ok(Ok(_)))
        };
        ctx.spawn(connect.into_actor(self).map(move |is_there, this, _| {
            let judge = this.judges.iter_mut().find(|judge| judge.id() == id);
            if let Some(judge) = judge {
                judge.probed(is_there, &this.directory.published);
            }
        }));
    }
}

impl Actor for QualityClassifier {
    type Context = Context<Self>;
}

impl Handler<NewSummary> for QualityClassifier {
    type Result = ();

    fn handle(&mut self, NewSummary(summary): NewSummary, ctx: &mut Self::Context) {
        if self.lease.is_revoked() {
            return ctx.stop();
        }
        let published = &self.directory.published;
        let mut probes = Vec::new();
        for judge in &mut self.judges {
            let of = summary.of(judge.id());
            // Sent at each tick while it is not in force, to make up for a lost message.
            if let Some(new) = judge.classify(of.pace) {
                _ = self.directory.new_class.tell(new);
            }
            judge.hear(of.contact, published);
            probes.extend(judge.begin_probe(summary.at).map(|to| (judge.id(), to)));
        }
        for (id, to) in probes {
            self.probe(id, to, ctx);
        }
    }
}

impl Handler<NewSettings> for QualityClassifier {
    type Result = ();

    fn handle(&mut self, NewSettings(settings): NewSettings, ctx: &mut Self::Context) {
        if self.lease.is_revoked() {
            return ctx.stop();
        }
        for judge in &mut self.judges {
            judge.resettle(&settings.quality);
        }
    }
}
