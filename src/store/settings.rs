//! `[store]`: what is kept, how much of it, and for how long.

use std::time::Duration;

use actix_http::header::HeaderName;
use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::freshness::Rules;
use crate::units::OutOfRange;

/// `[store]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What all objects may take in memory, heads and index included.
    #[serde(with = "crate::units::sized")]
    pub memory: ByteSize,
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
    /// Request fields that never matter for what the answer is.
    pub ignore_fields: Vec<String>,
    /// Fields that go before Cache-Control (RFC 9213).
    pub targeted_fields: Vec<String>,
}

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
