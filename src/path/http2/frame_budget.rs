//! How many frames a client may send that bring next to nothing: PING, SETTINGS, PRIORITY, WINDOW_UPDATE, frames of
//! unknown types, DATA with hardly a byte. The library answers or keeps each of them, and counts none.
//!
//! Every frame is paid for. Bytes of bodies, both ways, and requests pay for as many as a fair client may need to bring
//! or take them; the rest comes out of a token bucket that fills slowly.

use std::{cell::Cell, future::poll_fn, task::Poll, time::Instant};

use super::frame_scan::Passed;
use crate::traffic::token_bucket::TokenBucket;

/// So many bytes of a body pay for a frame: a client that opens its windows by little steps needs two for each piece.
const BYTES: f64 = 128.0;
/// So many frames a request pays for: its own, windows, priorities, a cancellation.
const REQUEST: f64 = 16.0;

/// The frames of one connection.
#[derive(Debug)]
pub struct FrameBudget {
    bucket: TokenBucket,
    spent: Cell<bool>,
}

impl FrameBudget {
    /// So many frames in one go, and a tenth as many each second.
    pub fn new(frames: u32, now: Instant) -> Self {
        let frames = f64::from(frames);
        FrameBudget {
            bucket: TokenBucket::new(frames, frames / 10.0, now),
            spent: Cell::new(false),
        }
    }

    /// Frames came. Whether all so far are paid for.
    pub fn came(&self, passed: Passed, now: Instant) -> bool {
        let cost = passed.frames as f64 - passed.data as f64 / BYTES;
        if cost <= 0.0 {
            self.bucket.earn(-cost);
        } else if !self.bucket.pay(cost, now) {
            self.spent.set(true);
        }
        !self.spent.get()
    }

    /// The client took so many bytes.
    pub fn went(&self, bytes: usize) {
        self.bucket.earn(bytes as f64 / BYTES);
    }

    /// A request was let in.
    pub fn asked(&self) {
        self.bucket.earn(REQUEST);
    }

    /// Ready when more came than was paid for. It wakes nobody: the task that reads is woken by who reads.
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
        // A tenth of it each second.
        assert!(budget.came(frames(10, 0), now + Duration::from_secs(1)));
        assert!(!budget.came(frames(1, 0), now + Duration::from_secs(1)));
        // It is never forgiven.
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
        // All of it was paid for: the bucket is as full as a request's frames leave it.
        assert!(budget.came(frames(84, 0), now));
        assert!(!budget.came(frames(1, 1), now));
    }
}
