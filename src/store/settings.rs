//! `[store]`: what is kept, how much of it, and for how long.

use std::{path::PathBuf, time::Duration};

use actix_http::header::HeaderName;
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::{
    disk::{self, settings::KeepFree},
    freshness::Rules,
};
use crate::{reloadable::reloadable, units::OutOfRange};

/// `[store]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What all objects may take in memory, heads and index included.
    #[serde(with = "crate::units::sized")]
    pub memory: ByteSize,
    /// Where objects are kept on disk; empty: in memory alone.
    pub directory: PathBuf,
    /// What they may take there.
    #[serde(with = "crate::units::sized")]
    pub disk: ByteSize,
    /// What is left free on the file system, whoever fills it: a size, or a share of it as in `"1%"`.
    pub keep_free: KeepFree,
    /// How long a stale response helps where the origin fails and nothing forbids it.
    #[serde(with = "humantime_serde")]
    pub stale_if_error: Duration,
    /// The longest that a response stays fresh by a guess from Last-Modified; zero: never.
    #[serde(with = "humantime_serde")]
    pub heuristic_max: Duration,
    /// How long an error is kept at most, where the origin says for how long.
    #[serde(with = "humantime_serde")]
    pub error_max: Duration,
    /// How long a target is remembered as not for all.
    #[serde(with = "humantime_serde")]
    pub private_for: Duration,
    /// A fill that nobody reads goes on if at most so much is left, or half.
    #[serde(with = "crate::units::sized")]
    pub finish_bytes: ByteSize,
    /// Segments of an HLS stream that are fetched ahead of the one asked for last, where the origin is fast; 0: none.
    pub prefetch: usize,
    /// Request fields that never matter for what the answer is.
    pub ignore_fields: Vec<String>,
    /// Fields that go before Cache-Control (RFC 9213).
    pub targeted_fields: Vec<String>,
}

reloadable!(Settings {
    memory: AfterRestart,
    directory: AfterRestart,
    disk: AfterRestart,
    keep_free: AfterRestart,
    stale_if_error: AfterRestart,
    heuristic_max: AfterRestart,
    error_max: AfterRestart,
    private_for: AfterRestart,
    finish_bytes: AfterRestart,
    prefetch: AfterRestart,
    ignore_fields: AfterRestart,
    targeted_fields: AfterRestart,
});

impl Settings {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that makes no sense.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let most = ByteSize::tib(1);
        OutOfRange::unless(
            (ByteSize::mib(1)..=most).contains(&self.memory),
            "store.memory",
            "between 1MiB and 1TiB",
            crate::units::readable_size(self.memory),
        )?;
        if let Some(disk) = self.on_disk() {
            disk.check()?;
        }
        OutOfRange::unless(
            self.prefetch <= 16,
            "store.prefetch",
            "0 to 16",
            self.prefetch,
        )?;
        for (key, names) in [
            ("store.ignore_fields", &self.ignore_fields),
            ("store.targeted_fields", &self.targeted_fields),
        ] {
            let wrong = names.iter().find(|name| field(name).is_none());
            OutOfRange::unless(
                wrong.is_none(),
                key,
                "a list of names of fields",
                wrong.map_or("", String::as_str),
            )?;
        }
        Ok(())
    }

    /// The disk tier's; none where there is no directory.
    pub fn on_disk(&self) -> Option<disk::settings::Settings> {
        let directory = self.directory.clone();
        (!directory.as_os_str().is_empty())
            .then(|| disk::settings::Settings::new(directory, self.disk, self.keep_free))
    }

    /// What freshness is judged by.
    pub fn rules(&self) -> Rules {
        Rules {
            targeted: self
                .targeted_fields
                .iter()
                .filter_map(|name| field(name))
                .collect(),
            heuristic_max: self.heuristic_max,
            error_max: self.error_max,
            stale_if_error: self.stale_if_error,
        }
    }

    /// The fields that never matter.
    pub fn ignored(&self) -> Vec<HeaderName> {
        self.ignore_fields
            .iter()
            .filter_map(|name| field(name))
            .collect()
    }
}

fn field(name: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).ok()
}
