//! The loopback comparison: the same requests through every contestant, all on the same CPUs before one nginx origin.
//!
//! No link here: this asks what a proxy costs when the network is perfect. [`measure`] walks through all of it.

pub mod comparison;
mod contestant;
pub mod measure;
pub mod options;
mod origin;
mod slow;
pub mod table;
mod wrk;
