//! How the requests of a connection over HTTP/1.1 are served.

use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use super::worker::Worker;

/// How the requests of a connection are served.
pub struct Served {
    /// The worker that answers them; none on the operators' own address.
    pub worker: Option<Rc<Worker>>,
    /// Ready once the process drains and idle connections are to end.
    pub leaving: LocalBoxFuture<'static, ()>,
    /// Whether what comes of a body is acknowledged at once.
    pub quickack: bool,
}
