//! State that outlives its actor.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// State of an actor that its successor continues with after a panic or a hang. Clones share it.
///
/// The mutex is needed only because the successor may run on another thread: normally a single actor locks it.
#[derive(Debug, Default)]
pub(super) struct Survivor<T>(Arc<Mutex<T>>);

impl<T> Clone for Survivor<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Survivor<T> {
    pub fn new(state: T) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    /// Locks the state. It stays usable after a panic while it was locked: it only contains counts and last values.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
