//! How fast a body comes, counted only over the time that the proxy waits for it: a client that reads slowly makes no
//! origin slow.

use std::{
    future::Future as _,
    pin::Pin,
    task::Context,
    time::{Duration, Instant},
};

use tokio::time::Sleep;

/// So many bytes tell a pace, however short the wait for them was.
const TELLING: u64 = 64 * 1024;

/// What a period of waiting says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// It is not over.
    Open,
    /// The body came at this pace, in bytes per second.
    Came(f64),
    /// The body came too slowly, at this pace.
    Stalled(f64),
}

/// The pace of one body over the current period.
pub struct Pace {
    /// How much waiting makes a period.
    window: Duration,
    /// Waiting that ended, in this period.
    waited: Duration,
    bytes: u64,
    /// The pace of the period before, in bytes per second.
    before: Option<f64>,
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
            before: None,
            begun,
            since: None,
            timer: None,
        }
    }

    /// From now on less waiting makes a period.
    pub fn hurry(&mut self, window: Duration) {
        self.window = self.window.min(window);
    }

    /// The pace of the period before, in bytes per second; `None` in a body's first.
    pub fn before(&self) -> Option<f64> {
        self.before
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
        let pace = self.end_period(self.waited);
        self.expect(pace);
        Some(pace)
    }

    /// From now on the body is expected to come at this pace, in bytes per second, and no faster.
    pub fn expect(&mut self, pace: f64) {
        self.before = Some(pace);
    }

    /// The body is here. The pace of the period that this cuts short, if so much came in it that it tells something.
    pub fn ended(&mut self) -> Option<f64> {
        let tells = self.bytes >= TELLING && !self.waited.is_zero();
        let pace = tells.then(|| self.bytes as f64 / self.waited.as_secs_f64());
        self.restart();
        pace
    }

    /// The pace of a period that is over, and a new one.
    fn end_period(&mut self, waited: Duration) -> f64 {
        let pace = self.bytes as f64 / waited.as_secs_f64().max(1e-3);
        self.restart();
        pace
    }

    /// The origin is not waited for just now.
    pub fn pause(&mut self) {
        self.since = None;
    }

    /// A new period.
    pub fn restart(&mut self) {
        (self.waited, self.bytes, self.begun) = (Duration::ZERO, 0, Instant::now());
    }

    /// Judges the period, with the wait since `since`, where that is over, by `floor` in bytes per second. Wakes the task
    /// when the period ends.
    pub fn judge(&mut self, cx: &mut Context<'_>, since: Instant, floor: f64) -> Verdict {
        self.since = Some(since);
        let now = Instant::now();
        let mut waited = self.waited + now.saturating_duration_since(since.max(self.begun));
        let mut verdict = Verdict::Open;
        if waited >= self.window {
            // What came early in this period says nothing of the wait that goes on.
            let pace = self.end_period(waited);
            if pace < floor {
                return Verdict::Stalled(pace);
            }
            self.expect(pace);
            verdict = Verdict::Came(pace);
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
        verdict
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
            if let Verdict::Stalled(_) = pace.judge(cx, since, 1.0) {
                std::task::Poll::Ready(())
            } else {
                std::task::Poll::Pending
            }
        });
        let most = Duration::from_secs(10);
        assert!(tokio::time::timeout(most, stalled).await.is_ok());
    }

    #[actix_rt::test]
    async fn a_period_that_ends_while_the_body_is_waited_for_tells_its_pace() {
        let mut pace = Pace::new(Duration::from_millis(20));
        let since = Instant::now();
        pace.moved(1_000_000, since);
        let came = std::future::poll_fn(|cx| match pace.judge(cx, since, 1.0) {
            Verdict::Came(came) => std::task::Poll::Ready(came),
            _ => std::task::Poll::Pending,
        });
        let most = Duration::from_secs(10);
        let came = tokio::time::timeout(most, came).await.unwrap();
        assert!(came > 1.0 && came <= 50_000_000.0, "{came}");
        assert_eq!(pace.before(), Some(came));
    }

    #[test]
    fn a_body_that_came_before_its_period_was_over_tells_its_pace_too() {
        let mut pace = Pace::new(Duration::from_secs(3));
        let begun = pace.begun;
        pace.since = Some(begun);
        assert_eq!(
            pace.moved(1_000_000, begun + Duration::from_millis(500)),
            None
        );
        assert_eq!(pace.ended(), Some(2_000_000.0));
        pace.moved(10, begun);
        assert_eq!(pace.ended(), None, "a crumb tells nothing");
    }
}
