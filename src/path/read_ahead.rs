//! Reading on from the origin while the client's socket is full.

use std::task::Context;

/// A response body on its way to a client, as that client's connection sees it.
pub trait ReadAhead {
    /// Called while the client's socket takes nothing: reads on, as far as the buffer for its line allows, so that a body
    /// that fits does not hold an origin connection.
    fn poll_ahead(&mut self, cx: &mut Context<'_>);
}
