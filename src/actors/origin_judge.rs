//! The classifier's state for one origin: its class, and whether it is reachable.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use actix_web::http::Uri;
use tracing::{info, warn};

use super::messages::NewClass;
use crate::traffic::{
    origin::{OriginState, OriginStatus},
    origin_id::OriginId,
    origin_summary::{Contact, OriginPace},
    published::{Published, Retune, Retuned},
    quality::{Classifier, Settings},
};

/// Judges one origin by the summaries of its samples, and by probes while there are no samples.
pub(super) struct OriginJudge {
    origin: Arc<OriginState>,
    classifier: Classifier,
    /// Why the class last changed, for the tuner.
    why: String,
    /// Host and port for probes; none: no probes.
    probed: Option<(String, u16)>,
    /// `quality.probe`: time without a request after which the origin is probed.
    probe_after: Duration,
    /// Whether a probe is under way.
    probing: bool,
    /// When a request or probe last showed whether the origin is reachable.
    known_at: Instant,
}

impl OriginJudge {
    /// Continues from the published state of the origin.
    pub fn new(origin: &Arc<OriginState>, settings: &Settings, now: Instant) -> Self {
        let class = origin.tuning.load().class;
        Self {
            classifier: Classifier::new(settings, class),
            why: String::new(),
            probed: host_and_port(&origin.url).filter(|_| !settings.probe.is_zero()),
            probe_after: settings.probe,
            probing: false,
            known_at: now,
            origin: Arc::clone(origin),
        }
    }

    /// The origin.
    pub fn id(&self) -> OriginId {
        self.origin.id
    }

    /// Applies new settings: the class stays until samples show another.
    pub fn resettle(&mut self, settings: &Settings) {
        self.classifier = Classifier::new(settings, self.classifier.class());
        self.probe_after = settings.probe;
        self.probed = host_and_port(&self.origin.url).filter(|_| !settings.probe.is_zero());
    }

    /// Judges the class. If it is not in force yet, returns it for the tuner, at each tick.
    pub fn classify(&mut self, pace: OriginPace) -> Option<NewClass> {
        if let Some(change) = self.classifier.observe(pace) {
            self.why = change.why;
        }
        let class = self.classifier.class();
        if class != self.origin.tuning.load().class {
            let (origin, why) = (self.origin.id, self.why.clone());
            return Some(NewClass { origin, class, why });
        }
        if self.classifier.is_judged() {
            self.origin.set_judged();
        }
        None
    }

    /// Learns from the requests since the last tick whether the origin is reachable.
    pub fn hear(&mut self, contact: Contact, published: &Published) {
        /// Failed requests in a row after which the origin counts as unreachable.
        const IN_A_ROW: u64 = 3;
        let Some(at) = contact.answered.max(contact.failed) else {
            return;
        };
        if at <= self.known_at {
            return;
        }
        self.known_at = at;
        let (to, why) = if contact.failures == 0 {
            (OriginStatus::Reachable, "it answered a request")
        } else if contact.refused {
            (OriginStatus::Unreachable, "it took no connection")
        } else if self.status() == OriginStatus::Unknown {
            (OriginStatus::Unreachable, "it has answered nothing yet")
        } else if contact.failures >= IN_A_ROW {
            let why = "three requests in a row got no answer";
            (OriginStatus::Unreachable, why)
        } else {
            return;
        };
        self.set_status(to, why, published);
    }

    /// Host and port to probe now, if no request has shown for `quality.probe` whether the origin is reachable. Six times less
    /// often while it is reachable. The probe counts as under way until [`OriginJudge::probed`].
    pub fn begin_probe(&mut self, now: Instant) -> Option<(String, u16)> {
        let after = match self.status() {
            OriginStatus::Reachable => self.probe_after * 6,
            OriginStatus::Unknown | OriginStatus::Unreachable => self.probe_after,
        };
        if self.probing || now.saturating_duration_since(self.known_at) < after {
            return None;
        }
        let probed = self.probed.clone()?;
        self.probing = true;
        Some(probed)
    }

    /// A probe has ended: the origin accepted the connection, or not.
    pub fn probed(&mut self, is_there: bool, published: &Published) {
        self.probing = false;
        self.known_at = Instant::now();
        let (to, why) = match is_there {
            true => (OriginStatus::Reachable, "it took a connection"),
            false => (OriginStatus::Unreachable, "it took no connection"),
        };
        self.set_status(to, why, published);
    }

    fn status(&self) -> OriginStatus {
        **self.origin.status.load()
    }

    fn set_status(&mut self, to: OriginStatus, why: &str, published: &Published) {
        let from = self.status();
        if from == to {
            return;
        }
        self.origin.status.store(Arc::new(to));
        let (origin, url) = (&self.origin.name, &self.origin.url);
        // Reachable at startup is not worth a retune.
        if from != OriginStatus::Unknown || to == OriginStatus::Unreachable {
            published.retunes.push(Retune {
                at: SystemTime::now(),
                what: Retuned::Origin,
                origin: Some(self.origin.name.clone()),
                from: from.to_string(),
                to: to.to_string(),
                why: why.to_owned(),
            });
        }
        match to {
            OriginStatus::Unreachable => warn!(origin, url, %from, %to, why, "origin away"),
            _ => info!(origin, url, %from, %to, why, "origin there"),
        }
    }
}

/// Host without brackets, and port, of an http or https URL. None if it is invalid.
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
