//! The load lab: proxies for files compared on bad networks, with real TCP over a link that really loses packets.

pub mod catalog;
pub mod cli;
pub mod client;
pub mod compare;
pub mod congestion;
pub mod failure;
pub mod host;
pub mod lab;
pub mod link;
pub mod live;
pub mod moment;
pub mod namespace;
pub mod network;
pub mod origin;
pub mod page;
pub mod peer;
pub mod process;
pub mod record;
pub mod report;
pub mod run;
pub mod scenario;
pub mod spread;
pub mod sys;
pub mod units;
pub mod usage;
