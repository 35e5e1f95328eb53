//! Limits the frames that carry almost nothing: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, unknown types, DATA with hardly a byte.
//! The h2 library answers or keeps each of them and does not limit them.
//!
//! A token bucket per connection: each frame costs a token. Body bytes in both directions and requests earn as many tokens as a
//! fair client may need for them; a slow refill covers the rest.

use std::{cell::Cell, future::poll_fn, task::Poll, time::Instant};

use super::frame_scan::Passed;
use crate::traffic::token_bucket::TokenBucket;

/// Body bytes that pay for one frame. A client that opens its windows in small steps needs two frames (WINDOW_UPDATE for stream and
/// connection) for each piece.
const BYTES: f64 = 128.0;
/// Frames that one request pays for: its HEADERS, window updates, priorities, a cancellation.
const REQUEST: f64 = 16.0;

/// The frame budget of one connection.
#[derive(Debug)]
pub struct FrameBudget {
    bucket: TokenBucket,
    spent: Cell<bool>,
}

impl FrameBudget {
    /// A budget that allows `frames` at once, and a tenth as many each second after that.
    pub fn new(frames: u32, now: Instant) -> Self {
        let frames = f64::from(frames);
        FrameBudget {
            bucket: TokenBucket::new(frames, frames / 10.0, now),
            spent: Cell::new(false),
        }
    }

    /// Charges frames that arrived. Returns false once the budget is exceeded; that is final.
    pub fn came(&self, passed: Passed, now: Instant) -> bool {
        let cost = passed.frames as f64 - passed.data as f64 / BYTES;
        if cost <= 0.0 {
            self.bucket.earn(-cost);
        } else if !self.bucket.pay(cost, now) {
            self.spent.set(true);
        }
        !self.spent.get()
    }

    /// Earns tokens for body bytes that the client received.
    pub fn went(&self, bytes: usize) {
        self.bucket.earn(bytes as f64 / BYTES);
    }

    /// Earns tokens for an accepted request.
    pub fn asked(&self) {
        self.bucket.earn(REQUEST);
    }

    /// Completes when the budget is exceeded. Registers no waker: the task that polls it is the one that reads the frames.
    pub async fn spent(&self) {
        poll_fn(|_| {
            if self.spent.get() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frames(frames: u64, data: u64) -> Passed {
        Passed {
            frames,
            data,
            ..Passed::default()
        }
    }

    #[test]
    fn frames_that_bring_nothing_come_out_of_a_bucket_that_fills_slowly() {
        let now = Instant::now();
        let budget = FrameBudget::new(100, now);
        assert!(budget.came(frames(100, 0), now));
        // A tenth is refilled each second.
        assert!(budget.came(frames(10, 0), now + Duration::from_secs(1)));
        assert!(!budget.came(frames(1, 0), now + Duration::from_secs(1)));
        // Exceeding the budget is final.
        assert!(!budget.came(frames(1, 0), now + Duration::from_secs(1000)));
    }

    #[test]
    fn bytes_both_ways_and_requests_pay_for_frames() {
        let now = Instant::now();
        let budget = FrameBudget::new(100, now);
        for _ in 0..10_000 {
            // An upload in pieces of 128 bytes, and a download whose windows are opened twice for each 256.
            assert!(budget.came(frames(1, 128), now));
            budget.went(256);
            assert!(budget.came(frames(2, 0), now));
            budget.asked();
            assert!(budget.came(frames(16, 0), now));
        }
        // Each request earned tokens, so that the bucket is full but for the last frames.
        assert!(budget.came(frames(84, 0), now));
        assert!(!budget.came(frames(1, 1), now));
    }
}
