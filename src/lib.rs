//! fileproxy: a reverse proxy for files that keeps delivering when the network is bad.

pub mod actors;
pub mod api;
pub mod app;
pub mod demo;
pub mod path;
pub mod problem;
pub mod settings;
pub mod telemetry;
pub mod traffic;
pub mod units;
