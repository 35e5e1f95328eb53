//! All settings: the sum of each module's own, from three layers that lie over each other.
//!
//! 1. `settings/base.toml`, which is also inside the binary: every key with its default.
//! 2. `settings/<name>.toml`, the name from `FILEPROXY_ENV` (default `local`).
//! 3. The environment: `FILEPROXY__ORIGIN__URL`, two underscores between the parts.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use config::{Config, Environment, File, FileFormat};
use serde::{Deserialize, Serialize};

use crate::{
    actors::{self, Supervision, redis_pool},
    api::{admin, feed},
    path::{
        cors, http2, line, origin, policy::Terms, server, tcp, tls, trace, transfers, upgrades,
    },
    store, telemetry,
    traffic::{
        canary, concurrency,
        level::Level,
        quality, rate,
        tuning::{ClassTable, LevelTable, Tables},
        window,
    },
    units::OutOfRange,
};

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

/// `[optimization]`: how much is on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimization {
    /// The level at the start; one that Redis keeps wins.
    pub level: Level,
}

/// Where settings are looked for.
#[derive(Clone, Debug)]
pub struct Place {
    /// The folder of the files.
    pub folder: PathBuf,
    /// The name of the file that is laid over the base.
    pub name: String,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file cannot be read, or is no TOML.
    #[error("{}", without_quotes(&.0.to_string()))]
    Source(#[from] config::ConfigError),
    /// A key is unknown, missing or holds what it cannot hold.
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
    /// A file is there and cannot be read. Without it other settings would be in force than those in it.
    #[error("{} cannot be read: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The named file is not there.
    #[error("there is no {0}: FILEPROXY_ENV or --env names it")]
    NoFile(PathBuf),
}

impl Settings {
    /// Reads all layers and checks the outcome.
    ///
    /// # Errors
    ///
    /// [`SettingsError`], with the key, what it must be and what it is.
    pub fn read(place: &Place) -> Result<Self, SettingsError> {
        let file = place.folder.join(format!("{}.toml", place.name));
        let base = place.folder.join("base.toml");
        is_there(&base)?;
        // Only a name that somebody gave must be there.
        if !is_there(&file)? && place.name != "local" {
            return Err(SettingsError::NoFile(file));
        }
        let layers = Config::builder()
            .add_source(File::from_str(BASE, FileFormat::Toml))
            .add_source(optional(&base))
            .add_source(optional(&file))
            .add_source(
                Environment::with_prefix("FILEPROXY")
                    .prefix_separator("__")
                    .separator("__"),
            )
            .build()?;
        Self::checked(layers)
    }

    /// The defaults alone.
    ///
    /// # Errors
    ///
    /// None, unless `settings/base.toml` was broken when this was compiled.
    pub fn base() -> Result<Self, SettingsError> {
        Self::checked(
            Config::builder()
                .add_source(File::from_str(BASE, FileFormat::Toml))
                .build()?,
        )
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
    pub fn terms(&self) -> Terms<'_> {
        Terms {
            server: &self.server,
            tcp: &self.tcp,
            lines: &self.lines,
            tls: &self.tls,
            http2: &self.http2,
            upgrades: &self.upgrades,
            origin: &self.origin,
            transfers: &self.transfers,
            access_log: self.log.access,
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
            origin: self.origin.url.to_string(),
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

/// What is wrong with a file, without the lines of it that the library quotes: they may hold a secret.
fn without_quotes(reason: &str) -> String {
    let quotes = |line: &&str| {
        let line = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        !line.starts_with('|')
    };
    let lines: Vec<_> = reason.lines().filter(quotes).map(str::trim).collect();
    lines.join(" ")
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

/// Whether the file is there. The library takes one that it cannot read for one that is not.
fn is_there(file: &Path) -> Result<bool, SettingsError> {
    match fs::read(file) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(SettingsError::File {
            file: file.to_owned(),
            source,
        }),
    }
}

fn optional(path: &Path) -> File<config::FileSourceFile, FileFormat> {
    File::new(&path.to_string_lossy(), FileFormat::Toml).required(false)
}
