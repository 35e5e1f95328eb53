//! `[redis]`: sharing the level between instances.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::target::Target;
use crate::{reloadable::reloadable, units::OutOfRange};

/// `[redis]`: sharing the level between instances. Optional.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `redis://`, `rediss://`, `redis+cluster://` or `rediss+cluster://`; empty for none.
    pub url: Target,
    /// Prefix of all keys and channels.
    pub prefix: String,
    /// How often this instance writes its heartbeat, and reads the level in case a message was lost.
    #[serde(with = "humantime_serde")]
    pub heartbeat: Duration,
    /// Timeout for a reply.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
}

reloadable!(Settings {
    url: AfterRestart,
    prefix: AfterRestart,
    heartbeat: AfterRestart,
    timeout: AfterRestart,
});

impl Settings {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that is outside of its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        OutOfRange::unless(
            !self.prefix.is_empty() && !self.prefix.contains(char::is_whitespace),
            "redis.prefix",
            "a word",
            format_args!("`{}`", self.prefix),
        )?;
        OutOfRange::unless_between(
            "redis.heartbeat",
            Duration::from_millis(100),
            self.heartbeat,
            Duration::from_secs(3600),
        )?;
        OutOfRange::unless_between(
            "redis.timeout",
            Duration::from_millis(10),
            self.timeout,
            Duration::from_secs(60),
        )
    }
}
