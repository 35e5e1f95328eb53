//! `[store]`: what is stored, how much, and for how long.

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
    /// Memory limit for all objects, with heads and index.
    #[serde(with = "crate::units::sized")]
    pub memory: ByteSize,
    /// Directory of the disk tier; empty: memory only.
    pub directory: PathBuf,
    /// Disk space limit there.
    #[serde(with = "crate::units::sized")]
    pub disk: ByteSize,
    /// Space to keep free on the file system: a size, or a share as in `"1%"`.
    pub keep_free: KeepFree,
    /// How long a stale response may be used while the origin fails, if nothing forbids it.
    #[serde(with = "humantime_serde")]
    pub stale_if_error: Duration,
    /// Longest heuristic freshness computed from Last-Modified; zero: none.
    #[serde(with = "humantime_serde")]
    pub heuristic_max: Duration,
    /// Longest time that an error is stored, if the origin declares its freshness.
    #[serde(with = "humantime_serde")]
    pub error_max: Duration,
    /// How long a target is remembered as not shareable.
    #[serde(with = "humantime_serde")]
    pub private_for: Duration,
    /// A fill without a reader continues if at most this much, or half, is left.
    #[serde(with = "crate::units::sized")]
    pub finish_bytes: ByteSize,
    /// HLS segments that are prefetched behind the one last requested, if the origin is fast; 0: none.
    pub prefetch: usize,
    /// Request fields that never affect the response.
    pub ignore_fields: Vec<String>,
    /// Targeted fields that override Cache-Control (RFC 9213).
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
    /// Checks the values.
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

    /// Settings of the disk tier; none without a directory.
    pub fn on_disk(&self) -> Option<disk::settings::Settings> {
        let directory = self.directory.clone();
        (!directory.as_os_str().is_empty())
            .then(|| disk::settings::Settings::new(directory, self.disk, self.keep_free))
    }

    /// The rules for freshness.
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

    /// Request fields that never affect the response.
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
