//! The origin: deterministic files and a live stream over HTTP/1.1, and, when asked, a server that misbehaves.
//!
//! [`request`] reads what is asked, [`answer`] decides what to say, [`fault`] where to break it, [`server`] does it.

pub mod answer;
pub mod fault;
pub mod request;
pub mod server;
