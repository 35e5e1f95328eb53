//! The limits of a client connection.

use std::time::Duration;

/// The limits of a client connection, for every HTTP version.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Longest request head, in bytes.
    pub max_head: usize,
    /// Longest time for receiving one request head.
    pub head: Duration,
    /// Longest time between two requests (keep-alive).
    pub idle: Duration,
    /// Longest time in which the client may read nothing of a response.
    pub send: Duration,
    /// Whether refused requests write an access line.
    pub log: bool,
}
