//! What one direction of a link is like.

use serde::{Deserialize, Serialize};

use super::loss::Loss;
use crate::units::{BitRate, Span};

/// One direction of a link.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Time on the wire, one way.
    pub delay: Span,
    /// The delay wanders between `delay - jitter` and `delay + jitter`; packets are never reordered.
    #[serde(default)]
    pub jitter: Span,
    /// The bottleneck. Counts whole IP packets.
    pub rate: BitRate,
    /// Longest wait before the bottleneck; a packet that would wait longer is dropped (drop-tail).
    pub queue: Span,
    /// Packets that go missing, before the bottleneck.
    #[serde(default)]
    pub loss: Loss,
}

/// Both directions of a link between host A (the client's side) and host B.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Largest IP packet in bytes. 1500 on slow links, so that a percent of loss means what it does elsewhere.
    pub mtu: u32,
    /// From A to B: requests.
    pub up: Shape,
    /// From B to A: files.
    pub down: Shape,
}

impl Link {
    /// The mean round trip time of an empty link, in milliseconds, without the time to send the packet itself.
    #[must_use]
    pub fn round_trip_ms(&self) -> f64 {
        self.up.delay.millis() + self.down.delay.millis()
    }
}
