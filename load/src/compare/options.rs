//! What to compare.

use std::time::Duration;

use crate::units::ByteSize;

/// The name under which the origin itself is measured, without a proxy.
pub const DIRECT: &str = "direct";

/// What to compare.
#[derive(Clone, Debug)]
pub struct Options {
    /// Contestants, in this order.
    pub peers: Vec<String>,
    /// Body sizes.
    pub sizes: Vec<ByteSize>,
    /// Connections at the same time.
    pub connections: u32,
    /// How long each measurement lasts.
    pub lasting: Duration,
    /// Rounds.
    pub repeat: u32,
    /// Workers of each proxy.
    pub workers: usize,
    /// So many slow readers of the largest size, instead of full speed.
    pub slow_readers: Option<usize>,
    /// Whether the origin forbids caches to keep its responses: what a store costs where it is of no use.
    pub no_store: bool,
    /// Only that it works, and that bodies are right.
    pub short: bool,
}
