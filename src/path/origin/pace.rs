//! Throughput of a body, counted only over the time that the proxy waits for the origin: a client that reads slowly does not make
//! the origin slow.

use std::{
    future::Future as _,
    pin::Pin,
    task::Context,
    time::{Duration, Instant},
};

use tokio::time::Sleep;

/// From this many bytes on, throughput is meaningful however short the wait was.
const TELLING: u64 = 64 * 1024;

/// The result of judging a period.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// The period is not over.
    Open,
    /// The body came at this throughput, in bytes per second.
    Came(f64),
    /// The body came too slowly, at this throughput in bytes per second.
    Stalled(f64),
}

/// The throughput in bytes per second below which a body counts as stalled: `share` of the origin's recent throughput `lately` and
/// of the body's own throughput `before`, at most the absolute `floor`. A body that is slow all the time does not stall, unless it
/// is below that share of the floor from its start. If nothing is known, only silence is a stall.
pub fn stall_floor(floor: f64, share: f64, lately: Option<f64>, before: Option<f64>) -> f64 {
    lately.map_or(1.0, |lately| {
        let usual = lately.min(before.unwrap_or(floor));
        (usual * share).clamp(1.0, floor.max(1.0))
    })
}

/// The throughput of one body over the current period.
pub struct Pace {
    /// Waiting time that makes up a period.
    window: Duration,
    /// Finished waits in this period.
    waited: Duration,
    bytes: u64,
    /// Throughput of the previous period, in bytes per second.
    before: Option<f64>,
    /// Waits before this time do not count in this period.
    begun: Instant,
    /// Since when the origin is waited for, by the last call.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// Throughput judged over periods of `window` waiting time.
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

    /// Shortens the period.
    pub fn hurry(&mut self, window: Duration) {
        self.window = self.window.min(window);
    }

    /// Throughput of the previous period in bytes per second; `None` in a body's first.
    pub fn before(&self) -> Option<f64> {
        self.before
    }

    /// Bytes arrived: judges the period against `floor` (bytes per second), if that ends it.
    pub fn moved(&mut self, bytes: usize, now: Instant, floor: f64) -> Verdict {
        self.bytes += bytes as u64;
        if let Some(since) = self.since.take() {
            self.waited += now.saturating_duration_since(since.max(self.begun));
        }
        if self.waited < self.window {
            return Verdict::Open;
        }
        self.end_period(self.waited, floor)
    }

    /// From now on expects at most this throughput, in bytes per second.
    pub fn expect(&mut self, pace: f64) {
        self.before = Some(pace);
    }

    /// The body has ended. Returns the throughput of the unfinished period, if enough bytes came in it.
    pub fn ended(&mut self) -> Option<f64> {
        let tells = self.bytes >= TELLING && !self.waited.is_zero();
        let pace = tells.then(|| self.bytes as f64 / self.waited.as_secs_f64());
        self.restart();
        pace
    }

    /// Judges a finished period and begins a new one.
    fn end_period(&mut self, waited: Duration, floor: f64) -> Verdict {
        let pace = self.bytes as f64 / waited.as_secs_f64().max(1e-3);
        self.restart();
        if pace < floor {
            return Verdict::Stalled(pace);
        }
        self.expect(pace);
        Verdict::Came(pace)
    }

    /// Nobody waits for the origin now.
    pub fn pause(&mut self) {
        self.since = None;
    }

    /// Begins a new period.
    pub fn restart(&mut self) {
        (self.waited, self.bytes, self.begun) = (Duration::ZERO, 0, Instant::now());
    }

    /// Judges the period, with the wait since `since`, against `floor` (bytes per second), if it is over. Wakes the task when the
    /// period ends.
    pub fn judge(&mut self, cx: &mut Context<'_>, since: Instant, floor: f64) -> Verdict {
        self.since = Some(since);
        let now = Instant::now();
        let mut waited = self.waited + now.saturating_duration_since(since.max(self.begun));
        let mut verdict = Verdict::Open;
        if waited >= self.window {
            // Bytes from early in this period say nothing about the wait that continues.
            verdict = self.end_period(waited, floor);
            if let Verdict::Stalled(_) = verdict {
                return verdict;
            }
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
        pace.moved(1_000_000, since, 1.0);
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
        pace.moved(1_000_000, since, 1.0);
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
            pace.moved(1_000_000, begun + Duration::from_millis(500), 1.0),
            Verdict::Open
        );
        assert_eq!(pace.ended(), Some(2_000_000.0));
        pace.moved(10, begun, 1.0);
        assert_eq!(pace.ended(), None, "a crumb tells nothing");
    }

    #[test]
    fn a_body_that_is_slow_all_along_is_not_stalled_and_one_that_falls_to_a_trickle_is() {
        let (fast, slow, trickle) = (10e6, 20e3, 1e3);
        let is_stalled = |pace, lately, before| pace < stall_floor(32768.0, 0.1, lately, before);
        assert!(is_stalled(0.0, None, None) && !is_stalled(1.0, None, None));
        assert!(!is_stalled(slow, Some(fast), None), "from the beginning");
        assert!(!is_stalled(slow, Some(fast), Some(slow)), "all along");
        assert!(is_stalled(slow, Some(fast), Some(fast)), "not as before");
        assert!(is_stalled(trickle, Some(fast), None), "a trickle");
        assert!(!is_stalled(trickle, Some(trickle), None), "as others do");
        assert!(!is_stalled(40e3, Some(fast), Some(fast)), "over the floor");
    }

    #[test]
    fn a_period_is_judged_whether_it_ends_by_a_byte_or_by_the_wait_for_one() {
        let mut pace = Pace::new(Duration::from_secs(3));
        let begun = pace.begun;
        for second in 1..3 {
            pace.since = Some(begun + Duration::from_secs(second - 1));
            let at = begun + Duration::from_secs(second);
            assert_eq!(pace.moved(3, at, 5.0), Verdict::Open);
        }
        pace.since = Some(begun + Duration::from_secs(2));
        let at = begun + Duration::from_secs(3);
        assert_eq!(pace.moved(3, at, 5.0), Verdict::Stalled(3.0));
        assert_eq!(pace.before(), None);
    }
}
