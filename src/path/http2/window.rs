//! Flow-control window for request bodies. It starts small and doubles each time the origin took a whole window, so that only
//! clients that use it get a large one. A connection has twice the window of a body, so that one body that the origin does not take
//! does not block the others. What all connections use beyond the initial window comes out of one budget of the process.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
};

use crate::traffic::published::Published;

/// Initial window of every body, in bytes (RFC 9113 §6.9.2).
pub const FIRST: u32 = 65_535;
/// The connection's window as a multiple of a body's window.
pub const BODIES: u32 = 2;

/// The window for request bodies of one connection.
#[derive(Debug)]
pub struct UploadWindow {
    size: Cell<u32>,
    most: u32,
    /// The most bytes by which all windows of the process may exceed their initial size.
    budget: u64,
    /// Bytes that the origin took since the window last grew.
    taken: Cell<u64>,
    /// Whether h2 has not been told of the new size yet.
    grown: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
    published: Arc<Published>,
}

impl UploadWindow {
    /// A window that grows up to `most` for one body, while all windows together stay within `budget`.
    pub fn new(most: u32, budget: u64, published: Arc<Published>) -> Self {
        UploadWindow {
            size: Cell::new(FIRST),
            most,
            budget,
            taken: Cell::new(0),
            grown: Cell::new(false),
            waiting: RefCell::default(),
            published,
        }
    }

    /// Counts bytes that the origin took.
    pub fn took(&self, bytes: usize) {
        let (size, taken) = (self.size.get(), self.taken.get() + bytes as u64);
        self.taken.set(taken);
        if taken < u64::from(size) || size >= self.most {
            return;
        }
        self.taken.set(0);
        let wider = size.saturating_mul(2).min(self.most);
        let windows = &self.published.clients.upload_windows;
        if windows.up_within(beyond(size, wider), self.budget) {
            self.size.set(wider);
            self.grown.set(true);
            if let Some(waiting) = self.waiting.borrow_mut().take() {
                waiting.wake();
            }
        }
    }

    /// Completes when the window has grown, with the new size.
    pub async fn grown(&self) -> u32 {
        poll_fn(|cx| {
            if self.grown.take() {
                return Poll::Ready(self.size.get());
            }
            *self.waiting.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Drop for UploadWindow {
    fn drop(&mut self) {
        let windows = &self.published.clients.upload_windows;
        windows.down_by(beyond(FIRST, self.size.get()));
    }
}

/// Bytes of the budget that a connection needs when its body window grows from `size` to `wider`.
fn beyond(size: u32, wider: u32) -> u64 {
    u64::from(wider - size) * u64::from(BODIES)
}
