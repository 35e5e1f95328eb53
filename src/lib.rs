//! fileproxy: a reverse proxy for files that keeps delivering when the network is bad.

pub mod actors;
pub mod api;
pub mod problem;
pub mod traffic;
pub mod units;
