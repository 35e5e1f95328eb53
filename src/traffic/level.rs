//! How much optimization is on.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How much optimization is on. `low` behaves like a plain proxy, and serves as the control group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum Level {
    /// The system's TCP options, no rate limit; the network is only measured.
    Low,
    /// TCP options and the adaptive rate limit on; the network is only measured.
    Medium,
    /// Everything on: timeouts and chunk size follow the class of the network.
    #[default]
    High,
}

/// A string that is not a level.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a level: give low, medium or high")]
pub struct NotALevel(pub String);

impl Level {
    /// Every level, lowest first.
    pub const ALL: [Level; 3] = [Level::Low, Level::Medium, Level::High];

    /// The level's name in settings, JSON and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Low => "low",
            Level::Medium => "medium",
            Level::High => "high",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TryFrom<String> for Level {
    type Error = NotALevel;

    fn try_from(word: String) -> Result<Self, Self::Error> {
        word.parse()
    }
}

impl FromStr for Level {
    type Err = NotALevel;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Level::ALL
            .into_iter()
            .find(|level| level.as_str() == word)
            .ok_or_else(|| NotALevel(word.to_owned()))
    }
}
