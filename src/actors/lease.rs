//! The right of an actor to act.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// The right of one actor to write published state and to send messages. The watchdog revokes it when it replaces the actor: one
/// that only hung may wake up later, and must not act beside its successor. Clones share the lease.
#[derive(Clone, Debug, Default)]
pub(super) struct Lease(Arc<AtomicBool>);

impl Lease {
    pub fn revoke(&self) {
        self.0.store(true, Relaxed);
    }

    pub fn is_revoked(&self) -> bool {
        self.0.load(Relaxed)
    }
}
