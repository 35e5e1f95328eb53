//! The demo: an origin to try the proxy with, a simulated network in front of it, and viewers.
//!
//! ```text
//! Viewers ──> (the proxy) ──> line ──> Origin
//!                            network    catalogue ── hls ── mpegts ── picture
//!                                       answer
//! ```
//!
//! - [`origin`] serves what [`catalogue`] names, and [`answer`] gives it over actix-web;
//! - [`mod@line`] carries each answer as the [`network`] allows: late, slowly, and now and then broken;
//! - [`fileproxy_testbed`] and [`hls`] make every byte from its path and offset, so nothing is stored and all can be checked;
//! - [`viewers`] watch the stream through the proxy and check every byte, as many others through a plain one: a [`comparison`];
//! - [`show`] brings them together for the command line, with the [`tour`] and the [`live`] line.

pub mod answer;
pub mod catalogue;
pub mod comparison;
pub mod hls;
pub mod line;
pub mod live;
pub mod mpegts;
pub mod network;
pub mod origin;
pub mod picture;
pub mod show;
pub mod tour;
pub mod viewers;

pub use network::Network;
pub use origin::Origin;
pub use show::{Demo, Options};
pub use viewers::Viewers;
