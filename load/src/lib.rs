//! The load lab: proxies for files compared on bad networks, with real TCP over a link that really loses packets.

pub mod cli;
pub mod client;
pub mod compare;
pub mod content;
pub mod failure;
pub mod host;
pub mod lab;
pub mod link;
pub mod namespace;
pub mod network;
pub mod peer;
pub mod process;
pub mod random;
pub mod spread;
pub mod sys;
pub mod units;
pub mod usage;
