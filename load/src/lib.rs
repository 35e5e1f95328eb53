//! The load lab: proxies for files compared on bad networks, with real TCP over a link that really loses packets.

pub mod failure;
pub mod link;
pub mod namespace;
pub mod network;
pub mod random;
pub mod sys;
pub mod units;
