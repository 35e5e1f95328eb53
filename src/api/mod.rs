//! The operators' endpoints: how the process is, what it did, and the level.
//!
//! Only these exact paths are the proxy's own; whatever else comes, an encoded `/%68ealth` too, is the origin's.

pub mod admin;
mod assets;
mod attempts;
mod authorization;
mod binding_limit;
mod canary;
mod client_network;
mod config;
mod docs;
mod endpoints;
mod examples;
mod exposition;
pub mod feed;
mod figures;
mod health;
mod history;
mod metrics;
mod monitor;
mod numbers;
mod openapi;
mod optimization;
mod past;
mod process;
mod purge;
pub mod reload;
mod request_body;
mod resource;
mod response;
mod stats;
mod store;
mod stored;
mod stream;
mod stream_permits;

pub use admin::AdminToken;
pub use endpoints::{PATHS, State, configure, is_endpoint};
pub use feed::Feed;
pub use resource::nothing_here;
