//! What an exchange asks the queue for.

use crate::path::network::Network;

/// What an exchange is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Who asks.
    pub network: Network,
    /// What for: hashes of the target's path and of its directory; zero where it is the topmost.
    pub target: [u64; 2],
    /// Whether it will bring more than most, or take longer.
    pub is_large: bool,
}

/// Whether somebody who waits may have any slot, or none of the reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::path::origin) enum Kind {
    Small,
    Large,
}

/// For whom a slot is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    pub(super) network: Network,
    pub(super) kind: Kind,
    /// It has waited for very long.
    pub(super) starved: bool,
    /// It is not the reserve alone that is in its way.
    pub(super) full: bool,
}
