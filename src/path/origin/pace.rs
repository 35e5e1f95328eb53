//! How fast a body comes, counted only over the time that the proxy waits for it: a client that reads slowly makes no
//! origin slow.

use std::{
    future::Future as _,
    pin::Pin,
    task::Context,
    time::{Duration, Instant},
};

use tokio::time::Sleep;

/// The pace of one body over the current period.
pub struct Pace {
    /// How much waiting makes a period.
    window: Duration,
    /// Waiting that ended, in this period.
    waited: Duration,
    bytes: u64,
    /// Since when this period can count a wait.
    begun: Instant,
    /// Since when the origin is waited for, as last heard.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// A pace judged over periods of so much waiting.
    pub fn new(window: Duration) -> Self {
        let begun = Instant::now();
        Pace {
            window,
            waited: Duration::ZERO,
            bytes: 0,
            begun,
            since: None,
            timer: None,
        }
    }

    /// From now on less waiting makes a period.
    pub fn hurry(&mut self, window: Duration) {
        self.window = self.window.min(window);
    }

    /// Bytes came. The pace of the period in bytes per second, if that is over.
    pub fn moved(&mut self, bytes: usize, now: Instant) -> Option<f64> {
        self.bytes += bytes as u64;
        if let Some(since) = self.since.take() {
            self.waited += now.saturating_duration_since(since.max(self.begun));
        }
        if self.waited < self.window {
            return None;
        }
        let pace = self.bytes as f64 / self.waited.as_secs_f64();
        self.restart();
        Some(pace)
    }

    /// The origin is not waited for just now.
    pub fn pause(&mut self) {
        self.since = None;
    }

    /// A new period.
    pub fn restart(&mut self) {
        (self.waited, self.bytes, self.begun) = (Duration::ZERO, 0, Instant::now());
    }

    /// Whether the period, with the wait since `since`, is over and its pace under `floor` bytes per second. Wakes
    /// the task when the period ends.
    pub fn is_stalled(&mut self, cx: &mut Context<'_>, since: Instant, floor: f64) -> bool {
        self.since = Some(since);
        let now = Instant::now();
        let mut waited = self.waited + now.saturating_duration_since(since.max(self.begun));
        if waited >= self.window {
            if (self.bytes as f64) < waited.as_secs_f64() * floor {
                return true;
            }
            // What came early in this period says nothing of the wait that goes on.
            self.restart();
            waited = Duration::ZERO;
        }
        let at = now + (self.window - waited);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
        if timer.deadline() > at.into() || timer.as_mut().poll(cx).is_ready() {
            timer.as_mut().reset(at.into());
            _ = timer.as_mut().poll(cx);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn a_body_that_came_well_and_then_stands_still_is_stalled_one_period_later() {
        let mut pace = Pace::new(Duration::from_millis(20));
        let since = Instant::now();
        pace.moved(1_000_000, since);
        let stalled = std::future::poll_fn(|cx| {
            if pace.is_stalled(cx, since, 1.0) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        });
        let most = Duration::from_secs(10);
        assert!(tokio::time::timeout(most, stalled).await.is_ok());
    }
}
