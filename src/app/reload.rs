//! The settings, read again while the process runs: what can change at once does, the rest is named.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use tokio::sync::mpsc;

use super::{certificate::Certificate, systemd};
use crate::{
    actors::Actors,
    api::{
        AdminToken,
        reload::{Ask, Change, NotReloaded, Reloaded},
    },
    path::{
        policy::{InForce, Policy},
        tls::Pair,
    },
    settings::{Settings, SettingsError},
    telemetry::refilter,
};

/// Reads the settings as at the start: files and environment.
pub type Source = Box<dyn Fn() -> Result<Settings, SettingsError>>;

/// Everything that can take other settings while it runs.
pub struct Reloader {
    pub(super) source: Source,
    pub(super) settings: Settings,
    pub(super) policy: InForce,
    pub(super) actors: Actors,
    pub(super) token: AdminToken,
    pub(super) certificate: Option<Certificate>,
}

impl Reloader {
    /// Does one reload after the other, for as long as somebody can ask, and looks after the certificate meanwhile.
    pub async fn run(mut self, mut asked: mpsc::Receiver<Ask>) {
        loop {
            let ask = match &mut self.certificate {
                None => asked.recv().await,
                Some(certificate) => tokio::select! {
                    ask = asked.recv() => ask,
                    () = tokio::time::sleep(self.settings.tls.watch) => {
                        certificate.look(&self.settings);
                        continue;
                    }
                },
            };
            let Some(Ask { who, answer }) = ask else {
                return;
            };
            systemd::reloading();
            let outcome = self.reload().await;
            systemd::ready();
            told(&who, &outcome);
            // Whoever asked may have left.
            _ = answer.send(outcome);
        }
    }

    async fn reload(&mut self) -> Result<Reloaded, NotReloaded> {
        // Whatever the settings say, whoever asks may have moved the origin.
        self.policy.load().origin.resolve_anew();
        let wanted = (self.source)().map_err(refused)?;
        let taken = taken(&self.settings, &wanted);
        // What can fail comes first: then all of it changes, or nothing.
        let policy = self.policy.load().next(taken.terms()).map_err(refused)?;
        let pair = match &self.certificate {
            Some(_) => Some(Pair::read(&taken.tls).map_err(refused)?),
            None => None,
        };
        let reloaded = Reloaded {
            changed: changes(&self.settings, &taken),
            needs_restart: changes(&taken, &wanted),
        };
        if let (Some(certificate), Some(pair)) = (&mut self.certificate, pair) {
            let differs = certificate
                .take(pair, taken.http2.enabled)
                .map_err(refused)?;
            if !differs {
                certificate.tell_anew();
            }
        }
        if taken.admin.token != self.settings.admin.token {
            self.token.renew(&taken.admin).map_err(refused)?;
        }
        self.take(policy, taken).await;
        Ok(reloaded)
    }

    async fn take(&mut self, policy: Policy, settings: Settings) {
        self.policy.store(Arc::new(policy));
        self.actors.resettle(settings.for_actors()).await;
        if settings.log.filter != self.settings.log.filter {
            refilter(&settings.log);
        }
        self.settings = settings;
    }
}

fn refused(error: impl std::fmt::Display) -> NotReloaded {
    NotReloaded(error.to_string())
}

fn told(who: &str, outcome: &Result<Reloaded, NotReloaded>) {
    match outcome {
        Ok(reloaded) => {
            for Change { key, before, after } in &reloaded.changed {
                tracing::info!(who, key, %before, %after, "admin: setting changed");
            }
            for Change { key, before, after } in &reloaded.needs_restart {
                tracing::warn!(who, key, in_force = %before, wanted = %after, "admin: this setting needs a restart");
            }
            let (changed, needs_restart) = (reloaded.changed.len(), reloaded.needs_restart.len());
            tracing::info!(who, changed, needs_restart, "admin: settings read again");
        }
        Err(error) => tracing::error!(who, %error, "admin: the settings cannot be taken"),
    }
}

/// What a running process takes of the `wanted` settings: all but what it was built on at its start.
fn taken(now: &Settings, wanted: &Settings) -> Settings {
    let mut taken = wanted.clone();
    // The sockets, the threads and the room for connections.
    taken.server.listen = now.server.listen.clone();
    taken.server.workers = now.server.workers;
    taken.server.backlog = now.server.backlog;
    taken.server.max_connections = now.server.max_connections;
    taken.server.keep_alive = now.server.keep_alive;
    taken.server.drain_timeout = now.server.drain_timeout;
    taken.admin.listen = now.admin.listen;
    taken.admin.local = now.admin.local;
    // Whether there is TLS is known to whoever connects.
    if now.tls.is_on() != wanted.tls.is_on() {
        taken.tls = now.tls.clone();
    }
    // All that was measured is about this origin.
    taken.origin.url = now.origin.url.clone();
    // The beginning of what then moves by itself.
    taken.optimization = now.optimization.clone();
    taken.rate_limit.initial = now.rate_limit.initial;
    // The shape of what is counted.
    taken.rate_limit.queue = now.rate_limit.queue;
    taken.metrics = now.metrics.clone();
    taken.canary = now.canary.clone();
    taken.quality.window = now.quality.window;
    taken.quality.min_samples = now.quality.min_samples;
    // What is connected or running.
    taken.redis = now.redis.clone();
    taken.supervision = now.supervision.clone();
    taken.monitor = now.monitor.clone();
    taken.traces = now.traces.clone();
    taken.cors = now.cors.clone();
    taken.log.format = now.log.format;
    taken
}

/// The settings that differ, by their keys. Secrets differ too, but are not shown.
fn changes(before: &Settings, after: &Settings) -> Vec<Change> {
    let (old, new) = (flat(before), flat(after));
    let mut keys: Vec<_> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    let shown = |values: &BTreeMap<String, Value>, key: &str| {
        values.get(key).cloned().unwrap_or(Value::Null)
    };
    let mut changes: Vec<_> = keys
        .into_iter()
        .filter(|key| old.get(*key) != new.get(*key))
        .map(|key| Change {
            key: key.clone(),
            before: shown(&old, key),
            after: shown(&new, key),
        })
        .collect();
    for (key, differs) in [
        ("admin.token", before.admin.token != after.admin.token),
        ("redis.url", before.redis.url != after.redis.url),
    ] {
        if differs && !changes.iter().any(|change| change.key == key) {
            changes.push(Change {
                key: key.to_owned(),
                before: shown(&old, key),
                after: shown(&new, key),
            });
        }
    }
    changes
}

/// Every setting by its whole key, as it is shown to people.
fn flat(settings: &Settings) -> BTreeMap<String, Value> {
    fn walk(key: String, value: Value, flat: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(parts) => {
                for (name, part) in parts {
                    let whole = match key.as_str() {
                        "" => name,
                        key => format!("{key}.{name}"),
                    };
                    walk(whole, part, flat);
                }
            }
            value => _ = flat.insert(key, value),
        }
    }
    let mut all = BTreeMap::new();
    // Settings always serialize.
    let whole = serde_json::to_value(settings).unwrap_or_default();
    walk(String::new(), whole, &mut all);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Settings {
        Settings::base().unwrap()
    }

    #[test]
    fn a_change_is_told_by_its_whole_key_with_both_values() {
        let mut after = base();
        after.levels.high.buffer = bytesize::ByteSize::kib(256);
        after.rate_limit.initial = after.rate_limit.max.into();
        let changes = changes(&base(), &after);
        let told: Vec<_> = changes
            .iter()
            .map(|c| (c.key.as_str(), c.before.to_string(), c.after.to_string()))
            .collect();
        assert_eq!(
            told,
            [
                (
                    "levels.high.buffer",
                    "\"128KiB\"".into(),
                    "\"256KiB\"".into()
                ),
                ("rate_limit.initial", "null".into(), "1000.0".into()),
            ]
        );
    }

    #[test]
    fn a_changed_secret_is_told_and_not_shown() {
        let mut before = base();
        before.admin.token = "first-secret".into();
        before.redis.url = "redis://:one-secret@host".to_owned().try_into().unwrap();
        let mut after = before.clone();
        after.admin.token = "other-secret".into();
        after.redis.url = "redis://:two-secret@host".to_owned().try_into().unwrap();
        let changes = changes(&before, &after);
        let keys: Vec<_> = changes.iter().map(|change| change.key.as_str()).collect();
        assert_eq!(keys, ["admin.token", "redis.url"]);
        assert!(!format!("{changes:?}").contains("secret"), "{changes:?}");
    }
}
