//! The limit on concurrent Redis commands.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Limits concurrent Redis commands. They share one connection, so this is not a pool of sockets. Clones share the limit.
#[derive(Clone, Debug)]
pub(super) struct CommandLimit(Arc<Count>);

#[derive(Debug)]
struct Count {
    most: AtomicUsize,
    in_use: AtomicUsize,
}

/// Permits one command; released on drop.
pub(super) struct CommandPermit(CommandLimit);

impl CommandLimit {
    /// A limit of `most` commands.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Count {
            most: AtomicUsize::new(most),
            in_use: AtomicUsize::new(0),
        }))
    }

    /// A permit for one command; none if the limit is reached.
    pub fn acquire(&self) -> Option<CommandPermit> {
        let most = self.most();
        self.0
            .in_use
            .fetch_update(Relaxed, Relaxed, |used| (used < most).then_some(used + 1))
            .ok()
            .map(|_| CommandPermit(self.clone()))
    }

    /// The limit.
    pub fn most(&self) -> usize {
        self.0.most.load(Relaxed)
    }

    /// Changes the limit. Running commands continue.
    pub fn set_most(&self, most: usize) {
        self.0.most.store(most, Relaxed);
    }

    /// Running commands.
    pub fn in_use(&self) -> usize {
        self.0.in_use.load(Relaxed)
    }
}

impl Drop for CommandPermit {
    fn drop(&mut self) {
        self.0.0.in_use.fetch_sub(1, Relaxed);
    }
}
