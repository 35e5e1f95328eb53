//! Classifies the network to the origin, and finds out whether the origin is reachable.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, WrapFuture};
use actix_web::http::Uri;
use tokio::{net::TcpStream, time::timeout};
use tracing::{info, warn};

use super::{
    directory::Directory,
    lease::Lease,
    messages::{NewClass, NewSettings, NewSummary},
    supervised_actor::supervised,
};
use crate::traffic::{
    published::{OriginStatus, Retune, Retuned},
    quality::{Classifier, Settings},
    summary::{Contact, Summary},
};

/// Derives the class of the network from each summary of the window, and publishes whether the origin is reachable.
pub(super) struct QualityClassifier {
    classifier: Classifier,
    /// Why the class changed last, for the tuner.
    why: String,
    directory: Arc<Directory>,
    lease: Lease,
    /// Host and port that probes connect to; none: there are no probes.
    probed: Option<(String, u16)>,
    /// `quality.probe`: a probe is made when no request went to the origin for so long.
    probe_after: Duration,
    /// Whether a probe is under way.
    probing: bool,
    /// When a request or a probe last showed whether the origin is reachable.
    known_at: Instant,
}

supervised!(QualityClassifier, hears classifier_summary, classifier_settings);

impl QualityClassifier {
    pub fn new(settings: &Settings, origin: &str, directory: Arc<Directory>, lease: Lease) -> Self {
        let class = directory.published.tuning.load().class;
        Self {
            classifier: Classifier::new(settings, class),
            why: String::new(),
            directory,
            lease,
            probed: host_and_port(origin).filter(|_| !settings.probe.is_zero()),
            probe_after: settings.probe,
            probing: false,
            known_at: Instant::now(),
        }
    }

    /// Judges the class by a summary. A class that is not in force yet is told to the tuner at each tick.
    fn classify(&mut self, summary: &Summary) {
        if let Some(change) = self.classifier.observe(summary.origin) {
            self.why = change.why;
        }
        let class = self.classifier.class();
        if class != self.directory.published.tuning.load().class {
            let why = self.why.clone();
            _ = self.directory.new_class.tell(NewClass { class, why });
        } else if self.classifier.is_judged() {
            self.directory.published.set_judged();
        }
    }

    fn status(&self) -> OriginStatus {
        **self.directory.published.origin_status.load()
    }

    fn set_status(&mut self, to: OriginStatus, why: &str) {
        let from = self.status();
        if from == to {
            return;
        }
        self.directory.published.origin_status.store(Arc::new(to));
        let published = &self.directory.published;
        let origin = &published.origin;
        // That it is there at the start is what everybody expects.
        if from != OriginStatus::Unknown || to == OriginStatus::Unreachable {
            published.retunes.push(Retune {
                at: SystemTime::now(),
                what: Retuned::Origin,
                from: from.to_string(),
                to: to.to_string(),
                why: why.to_owned(),
            });
        }
        match to {
            OriginStatus::Unreachable => warn!(%origin, %from, %to, why, "origin away"),
            _ => info!(%origin, %from, %to, why, "origin there"),
        }
    }

    /// Learns from the requests since the last tick whether the origin is reachable.
    fn hear(&mut self, contact: Contact) {
        /// Requests in a row without an answer that make the origin unreachable.
        const IN_A_ROW: u64 = 3;
        let Some(at) = contact.answered.max(contact.failed) else {
            return;
        };
        if at <= self.known_at {
            return;
        }
        self.known_at = at;
        if contact.failures == 0 {
            self.set_status(OriginStatus::Reachable, "it answered a request");
        } else if contact.refused {
            self.set_status(OriginStatus::Unreachable, "it took no connection");
        } else if self.status() == OriginStatus::Unknown {
            self.set_status(OriginStatus::Unreachable, "it has answered nothing yet");
        } else if contact.failures >= IN_A_ROW {
            self.set_status(
                OriginStatus::Unreachable,
                "three requests in a row got no answer",
            );
        }
    }

    /// Opens a connection to the origin and closes it again, if no request has shown for `quality.probe` whether the
    /// origin is reachable. Six times more seldom while it is: an idle origin need not be bothered.
    fn probe(&mut self, now: Instant, ctx: &mut Context<Self>) {
        let after = match self.status() {
            OriginStatus::Reachable => self.probe_after * 6,
            OriginStatus::Unknown | OriginStatus::Unreachable => self.probe_after,
        };
        let Some((host, port)) = &self.probed else {
            return;
        };
        if self.probing || now.saturating_duration_since(self.known_at) < after {
            return;
        }
        /// Longest connect of a probe.
        const PATIENCE: Duration = Duration::from_secs(5);
        self.probing = true;
        let (host, port) = (host.clone(), *port);
        let connect = async move {
            matches!(
                timeout(PATIENCE, TcpStream::connect((host.as_str(), port))).await,
                Ok(Ok(_))
            )
        };
        ctx.spawn(connect.into_actor(self).map(|there, this, _| {
            this.probing = false;
            this.known_at = Instant::now();
            if there {
                this.set_status(OriginStatus::Reachable, "it took a connection");
            } else {
                this.set_status(OriginStatus::Unreachable, "it took no connection");
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
        self.classify(&summary);
        self.hear(summary.contact);
        self.probe(summary.at, ctx);
    }
}

impl Handler<NewSettings> for QualityClassifier {
    type Result = ();

    fn handle(&mut self, NewSettings(settings): NewSettings, ctx: &mut Self::Context) {
        if self.lease.is_revoked() {
            return ctx.stop();
        }
        let quality = &settings.quality;
        self.classifier = Classifier::new(quality, self.classifier.class());
        self.probe_after = quality.probe;
        self.probed = host_and_port(&settings.origin).filter(|_| !quality.probe.is_zero());
    }
}

/// Host without brackets, and port, of an http or https URL. None if it is no URL.
fn host_and_port(origin: &str) -> Option<(String, u16)> {
    let uri: Uri = origin.parse().ok()?;
    let default = if uri.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let host = uri.host()?.trim_matches(['[', ']']).to_owned();
    Some((host, uri.port_u16().unwrap_or(default)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_goes_to_the_origins_host_and_port() {
        for (origin, host, port) in [
            ("http://127.0.0.1:27804", "127.0.0.1", 27804),
            ("https://files.example/base", "files.example", 443),
            ("http://[::1]:81", "::1", 81),
        ] {
            assert_eq!(host_and_port(origin), Some((host.to_owned(), port)));
        }
    }
}
