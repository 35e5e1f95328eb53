//! Permits for client connections: at most `server.max_connections` of them at once.

use std::sync::Arc;

use crate::traffic::published::Published;

/// Counts one client connection as open while this lives. Taken when the connection is accepted.
#[derive(Debug)]
pub struct ConnectionPermit {
    published: Arc<Published>,
    /// Whether the connection is over the limit. It is counted, but must be refused.
    pub over: bool,
}

impl ConnectionPermit {
    /// Counts one more connection; `limit` may be open.
    pub fn take(published: Arc<Published>, limit: u64) -> Self {
        let counters = &published.clients;
        counters.accepted.increment();
        let over = counters.open.up() > limit;
        ConnectionPermit { published, over }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.published.clients.open.down();
    }
}
