//! Reloads the settings while the process runs: applies what can change, and reports what needs a restart.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use tokio::sync::mpsc;

use super::{certificate::Certificate, systemd};
use crate::{
    actors::Actors,
    api::{
        AdminToken,
        reload::{NotReloaded, ReloadRequest, Reloaded, SettingChange},
    },
    path::{
        policy::{InForce, Policy},
        tls::Pair,
    },
    reloadable::Reloadable,
    settings::{Settings, SettingsError},
    telemetry::refilter,
};

/// Reads the settings as at startup: from files and environment.
pub type Source = Box<dyn Fn() -> Result<Settings, SettingsError>>;

/// Performs reloads, and owns everything that they change.
pub struct Reloader {
    pub(super) source: Source,
    pub(super) settings: Settings,
    pub(super) policy: InForce,
    pub(super) actors: Actors,
    pub(super) token: AdminToken,
    pub(super) certificate: Option<Certificate>,
}

impl Reloader {
    /// Performs requested reloads one after the other, and checks the certificate's files every `tls.watch` meanwhile. Ends when
    /// the last [`Reloads`](crate::api::reload::Reloads) is dropped.
    pub async fn run(mut self, mut asked: mpsc::Receiver<ReloadRequest>) {
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
            let Some(ReloadRequest { who, answer }) = ask else {
                return;
            };
            systemd::reloading();
            let outcome = self.reload().await;
            systemd::ready();
            told(&who, &outcome);
            // Fails if the requester has left.
            _ = answer.send(outcome);
        }
    }

    async fn reload(&mut self) -> Result<Reloaded, NotReloaded> {
        // The origin's address may have changed, whatever the settings say.
        self.policy.load().origin.resolve_anew();
        let wanted = (self.source)().map_err(refused)?;
        let taken = taken(&self.settings, &wanted);
        // Steps that can fail come first, so that either everything changes or nothing.
        let policy = self
            .policy
            .load()
            .next(taken.policy_settings())
            .map_err(refused)?;
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
        self.actors.reconfigure(settings.for_actors()).await;
        if settings.log.filter != self.settings.log.filter {
            refilter(&settings.log);
        }
        self.settings = settings;
    }
}

fn refused(error: impl std::fmt::Display) -> NotReloaded {
    NotReloaded(error.to_string())
}

/// Logs the result of a reload.
fn told(who: &str, outcome: &Result<Reloaded, NotReloaded>) {
    match outcome {
        Ok(reloaded) => {
            for SettingChange { key, before, after } in &reloaded.changed {
                tracing::info!(who, key, %before, %after, "admin: setting changed");
            }
            for SettingChange { key, before, after } in &reloaded.needs_restart {
                tracing::warn!(who, key, in_force = %before, wanted = %after, "admin: this setting needs a restart");
            }
            let (changed, needs_restart) = (reloaded.changed.len(), reloaded.needs_restart.len());
            tracing::info!(who, changed, needs_restart, "admin: settings read again");
        }
        Err(error) => tracing::error!(who, %error, "admin: the settings cannot be taken"),
    }
}

/// The settings in force after a reload of `wanted`: everything that does not need a restart.
fn taken(running: &Settings, wanted: &Settings) -> Settings {
    let mut taken = wanted.clone();
    taken.keep_until_restart(running);
    // Clients depend on whether TLS is used: it cannot be switched while running.
    if running.tls.is_on() != wanted.tls.is_on() {
        taken.tls = running.tls.clone();
    }
    taken
}

/// The keys whose values differ. Secret values are hidden.
fn changes(before: &Settings, after: &Settings) -> Vec<SettingChange> {
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
        .map(|key| SettingChange {
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
            changes.push(SettingChange {
                key: key.to_owned(),
                before: shown(&old, key),
                after: shown(&new, key),
            });
        }
    }
    changes
}

/// All settings by their full key, with values that may be shown.
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
    // Settings have string keys, and can always be serialized.
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
