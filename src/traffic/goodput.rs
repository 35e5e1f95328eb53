//! The highest rate of successful answers that the origin has recently delivered.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Number of past spans that are kept.
const SPANS: usize = 6;

/// Successful requests per second in the last spans. Fed with totals, so that a missed update loses nothing.
#[derive(Debug)]
pub struct Goodput {
    span: Duration,
    since: Instant,
    counted: u64,
    /// Requests per second of each past span, the oldest first.
    past: VecDeque<f64>,
}

impl Goodput {
    /// Starts at `now` with the total `so_far`.
    pub fn new(span: Duration, so_far: u64, now: Instant) -> Self {
        Goodput {
            span,
            since: now,
            counted: so_far,
            past: VecDeque::with_capacity(SPANS),
        }
    }

    /// Changes the length of the next spans.
    pub fn set_span(&mut self, span: Duration) {
        self.span = span;
    }

    /// Updates the total of successful requests.
    pub fn observe(&mut self, succeeded: u64, now: Instant) {
        let took = now.saturating_duration_since(self.since);
        if took < self.span {
            return;
        }
        if self.past.len() == SPANS {
            self.past.pop_front();
        }
        self.past.push_back(self.in_span(succeeded, took));
        (self.since, self.counted) = (now, succeeded);
    }

    /// The highest rate among the past spans and the current one, in requests per second.
    pub fn lately(&self, succeeded: u64, now: Instant) -> f64 {
        let took = now.saturating_duration_since(self.since).max(self.span);
        let past = self.past.iter().copied();
        past.fold(self.in_span(succeeded, took), f64::max)
    }

    fn in_span(&self, succeeded: u64, took: Duration) -> f64 {
        succeeded.saturating_sub(self.counted) as f64 / took.as_secs_f64().max(1e-3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_span_counts_until_it_is_long_ago() {
        let span = Duration::from_secs(10);
        let start = Instant::now();
        let mut goodput = Goodput::new(span, 500, start);
        assert_eq!(goodput.lately(600, start + span / 2), 10.0);
        let mut now = start + span;
        goodput.observe(2500, now);
        assert_eq!(goodput.lately(2500, now), 200.0);
        for _ in 1..SPANS {
            now += span;
            goodput.observe(2500, now);
        }
        assert_eq!(goodput.lately(2500, now), 200.0);
        goodput.observe(2500, now + span);
        assert_eq!(goodput.lately(2500, now + span), 0.0);
    }
}
