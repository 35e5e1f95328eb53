//! HTTP/2 to clients (RFC 9113), over the `h2` library: a [`connection`] with its [`transport`] below, and for each
//! stream a [`request`], the [`intake`] of its body, and an [`answer`].
//!
//! actix-http supports HTTP/2 too, but without limits on streams, resets and header lists; it lets a handler run on after its
//! client has left, and cannot send GOAWAY. This module replaces it; the application behind is the same.

pub mod answer;
pub mod connection;
pub mod frame_budget;
pub mod frame_scan;
pub mod intake;
pub mod linger;
pub mod outgoing;
pub mod request;
pub mod settings;
mod stream;
pub mod transport;
pub mod window;
