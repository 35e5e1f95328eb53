//! The class of a network, by the origin's response time.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// The quality of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Under 50 ms to the origin's first byte.
    #[default]
    Good,
    /// 50 to 150 ms.
    Medium,
    /// 150 to 300 ms.
    Poor,
    /// Over 300 ms.
    VeryPoor,
}

impl Class {
    /// The class of a median time to the origin's first byte.
    pub fn of(response_time: Duration) -> Self {
        match response_time.as_micros() {
            0..50_000 => Class::Good,
            50_000..150_000 => Class::Medium,
            150_000..=300_000 => Class::Poor,
            _ => Class::VeryPoor,
        }
    }

    /// The class's name as in settings, JSON and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Good => "good",
            Class::Medium => "medium",
            Class::Poor => "poor",
            Class::VeryPoor => "very_poor",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
