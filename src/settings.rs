//! All settings: the sum of the modules' own settings, from three layers.
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

/// All keys with default, unit and reason.
pub const BASE: &str = include_str!("../settings/base.toml");

/// All settings, checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Addresses and limits for clients.
    pub server: server::Settings,
    /// TLS for clients.
    pub tls: tls::Settings,
    /// Limits of HTTP/2.
    pub http2: http2::settings::Settings,
    /// Connections that switch to another protocol.
    pub upgrades: upgrades::Settings,
    /// The origin server.
    pub origin: origin::Settings,
    /// Which TCP options are set.
    pub tcp: tcp::Settings,
    /// How broken and stalled bodies are continued.
    pub transfers: transfers::Settings,
    /// The store.
    pub store: store::Settings,
    /// Socket options for clients with a poor line.
    pub lines: line::Settings,
    /// The level at startup.
    pub optimization: Optimization,
    /// The parameters of each level.
    pub levels: LevelTable,
    /// The parameters of each class.
    pub classes: ClassTable,
    /// How requests are counted.
    pub metrics: window::Settings,
    /// How the network is classified.
    pub quality: quality::Settings,
    /// The rate limit.
    pub rate_limit: rate::Settings,
    /// The limit on concurrent exchanges.
    pub concurrency: concurrency::Settings,
    /// How a canary of levels is judged.
    pub canary: canary::Settings,
    /// When an actor counts as stuck.
    pub supervision: Supervision,
    /// Sharing the level between instances.
    pub redis: redis_pool::Settings,
    /// The admin endpoints.
    pub admin: admin::Settings,
    /// The stream for dashboards.
    pub monitor: feed::Settings,
    /// Tracing.
    pub traces: trace::Settings,
    /// Cross-origin requests from web pages.
    pub cors: cors::Settings,
    /// Logging.
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

/// `[optimization]`: the level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimization {
    /// The level at startup; a level stored in Redis overrides it.
    pub level: Level,
}

reloadable!(Optimization {
    level: AfterRestart,
});

/// Why the settings cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file is missing, unreadable, or invalid TOML.
    #[error(transparent)]
    Layers(#[from] LayersError),
    /// An unknown key.
    #[error(transparent)]
    Unknown(#[from] UnknownKey),
    /// The layers cannot be merged.
    #[error(transparent)]
    Library(#[from] config::ConfigError),
    /// A key is missing or has an invalid value.
    #[error("{key}: {reason}")]
    Key {
        /// The full key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A value out of range.
    #[error(transparent)]
    Range(#[from] OutOfRange),
    /// One of these errors, with the file or variable that the value is from.
    #[error("{error} ({place})")]
    Placed {
        /// The error.
        error: Box<SettingsError>,
        /// `in` a file, or `by` a variable.
        place: String,
    },
}

impl SettingsError {
    /// Adds where the wrong value comes from.
    fn placed(self, layers: &Layers) -> Self {
        let key = match &self {
            Self::Key { key, .. } => key,
            Self::Range(OutOfRange { key, .. }) => key,
            _ => return self,
        };
        // For a list item, the place of the whole list.
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
    /// Reads all layers and checks the result.
    ///
    /// # Errors
    ///
    /// [`SettingsError`], with the key, the allowed values and the actual one.
    pub fn read(files: &SettingsFiles) -> Result<Self, SettingsError> {
        Self::from_layers(&Layers::read(files)?)
    }

    /// As [`Settings::read`], from layers already read.
    ///
    /// # Errors
    ///
    /// [`SettingsError`], with the key, the allowed values, the actual one, and its source.
    pub fn from_layers(layers: &Layers) -> Result<Self, SettingsError> {
        layers.check(&Self::base()?.all_keys())?;
        Self::checked(layers.over(BASE)?).map_err(|error| error.placed(layers))
    }

    /// Environment variables of this process that look like settings but are none.
    pub fn strays(&self) -> Vec<Stray> {
        layers::strays(&self.all_keys())
    }

    fn all_keys(&self) -> Vec<String> {
        self.keys().into_iter().map(|(key, _)| key).collect()
    }

    /// The defaults only.
    ///
    /// # Errors
    ///
    /// Only if `settings/base.toml` was invalid at compile time.
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

    /// Checks the values.
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

    /// The settings for connections and requests.
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

    /// The settings of the actors.
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

    /// The tables of level and class parameters.
    pub fn tables(&self) -> Tables {
        Tables {
            levels: self.levels.clone(),
            classes: self.classes.clone(),
        }
    }
}

/// Sections with secrets.
const SECRET: [&str; 3] = ["admin", "redis", "traces"];

/// The message for a value of the wrong type, without the value if it may be a secret.
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

/// The config library's message, completed, and without repeating the key.
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
