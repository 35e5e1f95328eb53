//! A request for an exchange slot, and its meaning for the queue.

use crate::path::network::Network;

/// A request for a slot.
#[derive(Clone, Copy, Debug)]
pub struct SlotRequest {
    /// The client's network: slots are shared fairly between networks.
    pub network: Network,
    /// Hashes of the target's path and of its directory; zero for the root.
    pub target: [u64; 2],
    /// Whether the response will be large or slow.
    pub is_large: bool,
}

/// Which slots a request may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::path::origin) enum Kind {
    /// Any.
    Small,
    /// All but the reserve.
    Large,
}

/// A request for which a slot is to be taken from another exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    pub(super) network: Network,
    pub(super) kind: Kind,
    /// Whether it has waited for more than 5 s.
    pub(super) starved: bool,
    /// Whether no slot is free at all; otherwise one of the reserve is, which it must not use.
    pub(super) full: bool,
}
