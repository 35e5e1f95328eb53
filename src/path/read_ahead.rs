//! Reads ahead from the origin while the client's socket is blocked.

use std::task::Context;

/// A response body on its way to a client, as the client's connection sees it.
pub trait ReadAhead {
    /// Called while the client's socket is blocked: reads on, up to the buffer size for its line, so that a body that fits does not
    /// occupy an origin connection.
    fn poll_ahead(&mut self, cx: &mut Context<'_>);
}
