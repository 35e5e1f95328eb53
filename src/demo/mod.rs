//! The demo: an origin to try the proxy with, a simulated network in front of it, and viewers.
//!
//! ```text
//! Viewers ──> (the proxy) ──> line ──> Origin
//! playback                   network    catalogue ── content, hls ── mpegts ── picture
//!                                       answer
//! ```
//!
//! - [`origin`] serves what [`catalogue`] contains, with the HTTP semantics of [`answer`];
//! - [`mod@line`] sends each response as the [`network`] allows: late, slowly, and sometimes broken;
//! - [`content`] and [`hls`] compute every byte from path and offset, so nothing is stored and everything can be verified;
//! - [`viewers`] watch the stream through the proxy and verify every byte, as others do through a plain one: a [`comparison`];
//! - [`show`] combines them for the command line, with the [`tour`] and the [`live`] line.

pub mod answer;
pub mod catalogue;
pub mod comparison;
pub mod content;
pub mod hls;
pub mod line;
pub mod live;
pub mod mpegts;
pub mod network;
pub mod origin;
pub mod picture;
pub mod playback;
pub mod show;
pub mod tour;
pub mod viewers;

pub use network::Network;
pub use origin::Origin;
pub use show::{Demo, Options};
pub use viewers::Viewers;
