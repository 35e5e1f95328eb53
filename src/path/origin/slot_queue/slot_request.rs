//! A request for a slot, and what it means for the queue.

use crate::path::network::Network;

/// A request for a slot.
#[derive(Clone, Copy, Debug)]
pub struct SlotRequest {
    /// Who asks.
    pub network: Network,
    /// What for: hashes of the target's path and of its directory; zero where it is the topmost.
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
    /// It has waited for very long.
    pub(super) starved: bool,
    /// It is not the reserve alone that is in its way.
    pub(super) full: bool,
}
