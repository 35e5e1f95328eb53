//! All settings: the sum of each module's own, from three layers that lie over each other.
//!
//! 1. `settings/base.toml`, which is also inside the binary: every key with its default.
//! 2. `settings/<name>.toml`, the name from `FILEPROXY_ENV` (default `local`).
//! 3. The environment: `FILEPROXY__ORIGIN__URL`, two underscores between the parts.

use config::{Config, File, FileFormat};
use serde::{Deserialize, Serialize};

use crate::{
    actors::{self, Supervision, redis_pool},
    api::{admin, feed},
    path::{
        cors, http2, line, origin, policy::PolicySettings, server, tcp, tls, trace, transfers,
        upgrades,
    },
    reloadable::{Reloadable as _, reloadable},
    store, telemetry,
    traffic::{
        canary, concurrency,
        level::Level,
        origin::NamedOrigin,
        quality, rate,
        tuning::{ClassTable, LevelTable, Tables},
        window,
    },
    units::OutOfRange,
};

pub mod layers;
mod spelling;

use layers::{Layers, LayersError, SettingsFiles, Stray, UnknownKey};

/// Every key with its default, its unit and why.
pub const BASE: &str = include_str!("../settings/base.toml");

/// All settings, checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What clients meet.
    pub server: server::Settings,
    /// TLS to clients.
    pub tls: tls::Settings,
    /// What clients that speak HTTP/2 must keep to.
    pub http2: http2::settings::Settings,
    /// `[upgrades]`
    pub upgrades: upgrades::Settings,
    /// Where the files are.
    pub origin: origin::Settings,
    /// Which TCP options are set.
    pub tcp: tcp::Settings,
    /// How a body that breaks or stalls is kept going.
    pub transfers: transfers::Settings,
    /// What is kept of the origin's responses.
    pub store: store::Settings,
    /// What a connection over a bad line gets.
    pub lines: line::Settings,
    /// The level at the start.
    pub optimization: Optimization,
    /// What each level sets.
    pub levels: LevelTable,
    /// What each class sets.
    pub classes: ClassTable,
    /// Over how long it is measured.
    pub metrics: window::Settings,
    /// How the network is classified.
    pub quality: quality::Settings,
    /// How the rate follows the origin's errors.
    pub rate_limit: rate::Settings,
    /// How many exchanges go on at once.
    pub concurrency: concurrency::Settings,
    /// How a canary of levels is judged.
    pub canary: canary::Settings,
    /// When an actor counts as stuck.
    pub supervision: Supervision,
    /// Where the level is kept for all instances.
    pub redis: redis_pool::Settings,
    /// Who may change the level.
    pub admin: admin::Settings,
    /// What dashboards get.
    pub monitor: feed::Settings,
    /// Where spans go.
    pub traces: trace::Settings,
    /// Which web pages may read.
    pub cors: cors::Settings,
    /// What is logged.
    pub log: telemetry::Settings,
}

reloadable!(Settings {
    server: Nested,
    tls: Nested,
    http2: Nested,
    upgrades: Nested,
    origin: Nested,
    tcp: Nested,
    transfers: Nested,
    store: Nested,
    lines: Nested,
    optimization: Nested,
    levels: Nested,
    classes: Nested,
    metrics: Nested,
    quality: Nested,
    rate_limit: Nested,
    concurrency: Nested,
    canary: Nested,
    supervision: Nested,
    redis: Nested,
    admin: Nested,
    monitor: Nested,
    traces: Nested,
    cors: Nested,
    log: Nested,
});

/// `[optimization]`: how much is on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimization {
    /// The level at the start; one that Redis keeps wins.
    pub level: Level,
}

reloadable!(Optimization {
    level: AfterRestart,
});

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file is not there, cannot be read, or is no TOML.
    #[error(transparent)]
    Layers(#[from] LayersError),
    /// A key that no setting has.
    #[error(transparent)]
    Unknown(#[from] UnknownKey),
    /// The layers do not fit over each other.
    #[error(transparent)]
    Library(#[from] config::ConfigError),
    /// A key is missing or holds what it cannot hold.
    #[error("{key}: {reason}")]
    Key {
        /// The whole key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A value out of range.
    #[error(transparent)]
    Range(#[from] OutOfRange),
    /// Any of these, with the file or the variable that the value is from.
    #[error("{error} ({place})")]
    Placed {
        /// What is wrong.
        error: Box<SettingsError>,
        /// `in` a file, or `by` a variable.
        place: String,
    },
}

impl SettingsError {
    /// Adds where the value at fault is from.
    fn placed(self, layers: &Layers) -> Self {
        let key = match &self {
            Self::Key { key, .. } => key,
            Self::Range(OutOfRange { key, .. }) => key,
            _ => return self,
        };
        // Of a list, the place of the whole.
        let key = key.split('[').next().unwrap_or_default();
        match layers.place_of(key) {
            None => self,
            Some(place) => Self::Placed {
                error: Box::new(self),
                place,
            },
        }
    }
}

impl Settings {
    /// Reads all layers and checks the outcome.
    ///
    /// # Errors
    ///
    /// [`SettingsError`], with the key, what it must be and what it is.
    pub fn read(files: &SettingsFiles) -> Result<Self, SettingsError> {
        Self::from_layers(&Layers::read(files)?)
    }

    /// The same, of layers that were read.
    ///
    /// # Errors
    ///
    /// [`SettingsError`], with the key, what it must be, what it is, and where it is from.
    pub fn from_layers(layers: &Layers) -> Result<Self, SettingsError> {
        layers.check(&Self::base()?.all_keys())?;
        Self::checked(layers.over(BASE)?).map_err(|error| error.placed(layers))
    }

    /// The variables of this process that look like those of settings and are none.
    pub fn strays(&self) -> Vec<Stray> {
        layers::strays(&self.all_keys())
    }

    fn all_keys(&self) -> Vec<String> {
        self.keys().into_iter().map(|(key, _)| key).collect()
    }

    /// The defaults alone.
    ///
    /// # Errors
    ///
    /// None, unless `settings/base.toml` was broken when this was compiled.
    pub fn base() -> Result<Self, SettingsError> {
        let base = File::from_str(BASE, FileFormat::Toml);
        Self::checked(Config::builder().add_source(base).build()?)
    }

    fn checked(layers: Config) -> Result<Self, SettingsError> {
        let settings: Self = serde_path_to_error::deserialize(layers).map_err(|error| {
            let key = error.path().to_string();
            let reason = without_value(&key, explained(&error.into_inner().to_string()));
            SettingsError::Key { key, reason }
        })?;
        settings.check()?;
        Ok(settings)
    }

    /// Checks what no single value shows.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that makes no sense.
    pub fn check(&self) -> Result<(), SettingsError> {
        self.server.check()?;
        self.tls.check()?;
        self.http2.check()?;
        self.upgrades.check()?;
        self.origin.check()?;
        self.transfers.check()?;
        self.store.check()?;
        self.lines.check()?;
        self.tables().check()?;
        self.metrics.check()?;
        self.quality.check()?;
        self.rate_limit.check()?;
        self.concurrency.check()?;
        self.canary.check()?;
        self.supervision.check()?;
        self.redis.check()?;
        self.admin.check()?;
        self.monitor.check()?;
        self.traces.check()?;
        self.log.filter().map_err(|error| SettingsError::Key {
            key: "log.filter".to_owned(),
            reason: format!("`{}` is no filter: {error}", self.log.filter),
        })?;
        Ok(())
    }

    /// What connections and requests meet.
    pub fn policy_settings(&self) -> PolicySettings<'_> {
        PolicySettings {
            server: &self.server,
            tcp: &self.tcp,
            lines: &self.lines,
            tls: &self.tls,
            http2: &self.http2,
            upgrades: &self.upgrades,
            origin: &self.origin,
            transfers: &self.transfers,
            access_log: self.log.access,
            access_details: self.log.access_details,
        }
    }

    /// What the actors decide by.
    pub fn for_actors(&self) -> actors::Settings {
        actors::Settings {
            tables: self.tables(),
            metrics: self.metrics.clone(),
            quality: self.quality.clone(),
            rate_limit: self.rate_limit.clone(),
            concurrency: self.concurrency.clone(),
            redis: self.redis.clone(),
            canary: self.canary.clone(),
            supervision: self.supervision.clone(),
            origin: NamedOrigin {
                name: "default".to_owned(),
                url: self.origin.url.to_string(),
            },
            others: Vec::new(),
        }
    }

    /// The tables that tunings are derived from.
    pub fn tables(&self) -> Tables {
        Tables {
            levels: self.levels.clone(),
            classes: self.classes.clone(),
        }
    }
}

/// The sections with secrets.
const SECRET: [&str; 3] = ["admin", "redis", "traces"];

/// What is wrong with a value of the wrong type, without the value where that may be a secret.
fn without_value(key: &str, reason: String) -> String {
    let section = key.split('.').next().unwrap_or_default();
    match reason.strip_prefix("invalid type: ") {
        Some(rest) if SECRET.contains(&section) => match rest.rsplit_once(", expected ") {
            Some((_, expected)) => format!("invalid type: expected {expected}"),
            None => "invalid type".to_owned(),
        },
        _ => reason,
    }
}

/// What is wrong in the words of the library that saw it, with what it leaves out, and without the key once more.
fn explained(reason: &str) -> String {
    let reason = reason
        .rsplit_once(" for key `")
        .map_or(reason, |(reason, _)| reason);
    let hint = if reason.contains("expected a duration") {
        " with its unit, like \"15s\" or \"500ms\""
    } else if reason.ends_with("invalid socket address syntax") {
        ": give an address and a port, like \"127.0.0.1:10081\""
    } else {
        ""
    };
    format!("{reason}{hint}")
}
