//! A request for a slot, and what it means for the queue.

use crate::path::network::Network;

/// A request for a slot.
#[derive(Clone, Copy, Debug)]
pub struct SlotRequest {
    /// The client's network: networks share the slots evenly.
    pub network: Network,
    /// Hashes of the target's path and of its directory; zero where that is the topmost.
    pub target: [u64; 2],
    /// Whether it will bring more than most, or take longer.
    pub is_large: bool,
}

/// Which slots a request may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::path::origin) enum Kind {
    /// Any.
    Small,
    /// Those that are not of the reserve.
    Large,
}

/// A request for which a slot is to be taken from an exchange that can do without.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    pub(super) network: Network,
    pub(super) kind: Kind,
    /// Whether it has waited for more than 5 s.
    pub(super) starved: bool,
    /// Whether no slot is free at all; else one of the reserve is, which it may not have.
    pub(super) full: bool,
}
