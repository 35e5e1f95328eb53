//! Tests over real sockets.

mod demo;
