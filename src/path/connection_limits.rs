//! The limits that a client connection must keep.

use std::time::Duration;

/// Limits that a client connection must keep, over any version of HTTP.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Longest request head, in bytes.
    pub max_head: usize,
    /// Longest time for one request head.
    pub head: Duration,
    /// Longest time between two requests.
    pub idle: Duration,
    /// Longest time in which the client's socket takes nothing.
    pub send: Duration,
    /// Whether a client that is refused gets an access line.
    pub log: bool,
}
