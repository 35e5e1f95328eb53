//! How requests of an HTTP/1.1 connection are served.

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use super::worker::Worker;

/// How requests of a connection are served.
pub struct Served {
    /// The worker that answers them; none on the operators' own address.
    pub worker: Option<Rc<Worker>>,
    /// Completes when the process drains and idle connections are to be closed.
    pub leaving: LocalBoxFuture<'static, ()>,
    /// Whether received body bytes are acknowledged at once (TCP_QUICKACK).
    pub quickack: bool,
}
