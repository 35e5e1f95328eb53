//! fileproxy: a reverse proxy for files that keeps delivering when the network is bad.

pub mod demo;
pub mod traffic;
pub mod units;
