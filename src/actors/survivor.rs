//! State that outlives the actor that works on it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// State of an actor that its successor goes on with after a panic or a hang. Clones are the same state.
///
/// The mutex is there only because the successor may run on another thread: while all is well, one actor locks it alone.
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

    /// The state. A panic while it was locked does not make it useless: it holds counts and last values.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
