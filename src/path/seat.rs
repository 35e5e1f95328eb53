//! A client connection's place among those that may be open.

use std::sync::Arc;

use crate::traffic::published::Published;

/// One connection, counted as open for as long as this lives.
#[derive(Debug)]
pub struct Seat {
    published: Arc<Published>,
    /// Whether it is one too many.
    pub over: bool,
}

impl Seat {
    /// Takes a place among `limit`. Who gets one too many is to be refused.
    pub fn take(published: Arc<Published>, limit: u64) -> Self {
        let counters = &published.counters.clients;
        counters.accepted.increment();
        let over = counters.open.up() > limit;
        Seat { published, over }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.published.counters.clients.open.down();
    }
}
