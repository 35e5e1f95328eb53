//! HTTP/2 to clients (RFC 9113), over the `h2` library: a [`connection`] with its [`transport`] below, and for each
//! stream a [`request`], the [`intake`] of its body, and an [`answer`].
//!
//! actix-http could speak it too, but sets no limit on streams, resets and header lists, lets a handler run on when its
//! client has left, and cannot say GOAWAY. So this stands in its place; the application behind is the same.

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
