//! The operators' endpoints: state, figures, and the level.
//!
//! Only these exact paths belong to the proxy; all others, even an encoded `/%68ealth`, are forwarded to the origin.

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
