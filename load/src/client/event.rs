//! What the clients tell the run, one JSON line each.

use std::io::Write as _;

use serde::{Deserialize, Serialize};

use super::tally::Summary;

/// Something happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The proxy gave its first right answer.
    Ready,
    /// Counting begins.
    Begin,
    /// So far.
    Progress {
        /// Requests completed.
        completed: u64,
        /// Bytes of body.
        bytes: u64,
    },
    /// Counting ends; requests under way may still finish.
    End,
    /// It is over.
    Result {
        /// What they saw.
        summary: Box<Summary>,
    },
    /// It did not work.
    Broken {
        /// Why.
        why: String,
    },
}

impl Event {
    /// Writes the line.
    pub fn tell(&self) {
        if let Ok(line) = serde_json::to_string(self) {
            let mut out = std::io::stdout().lock();
            // Nobody listens any more: the run is over, and this process ends with it.
            _ = writeln!(out, "{line}");
            _ = out.flush();
        }
    }
}
