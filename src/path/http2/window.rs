//! How much of its request bodies a client may bring before the origin has taken it: little to begin with, and twice as
//! much each time the origin took as much, so that a wide window is only for who uses it. A connection has twice what
//! one body has, so that one that the origin does not take holds up no other. What all connections have beyond the first
//! step comes out of one budget for the process.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    sync::Arc,
    task::{Poll, Waker},
};

use crate::traffic::published::Published;

/// What every body has from the beginning, in bytes (RFC 9113 §6.9.2).
pub const FIRST: u32 = 65_535;
/// So many times of it a connection has.
pub const BODIES: u32 = 2;

/// The window of the bodies of one connection.
#[derive(Debug)]
pub struct UploadWindow {
    size: Cell<u32>,
    most: u32,
    /// What all connections may have beyond what they begin with, in bytes.
    budget: u64,
    /// What the origin took since the window last grew, in bytes.
    taken: Cell<u64>,
    /// Whether the library does not know of its size yet.
    grown: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
    published: Arc<Published>,
}

impl UploadWindow {
    /// Grows up to `most` for one body, as long as all have at most `budget` beyond the first step.
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

    /// The origin took so many bytes.
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

    /// The size that the library is to be told of, once it has grown.
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

/// What a connection has more when its bodies' window grows, in bytes.
fn beyond(size: u32, wider: u32) -> u64 {
    u64::from(wider - size) * u64::from(BODIES)
}
