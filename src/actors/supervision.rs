//! `[supervision]`: when an actor counts as stuck.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{reloadable::reloadable, units::OutOfRange};

/// `[supervision]`: when an actor counts as stuck. Read by the watchdog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supervision {
    /// Time without a reply to a ping after which an actor is replaced. 100 ms to 5 min.
    #[serde(with = "humantime_serde")]
    pub patience: Duration,
}

reloadable!(Supervision {
    patience: AfterRestart,
});

impl Supervision {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that is outside of its range.
    pub fn check(&self) -> Result<(), OutOfRange> {
        OutOfRange::unless_between(
            "supervision.patience",
            Duration::from_millis(100),
            self.patience,
            Duration::from_secs(300),
        )
    }
}
