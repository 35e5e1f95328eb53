//! Peak of concurrent use over the last half to one minute.

use std::time::{Duration, Instant};

/// The peak covers at least this time, and at most twice as much.
const SPAN: Duration = Duration::from_secs(30);

/// Peak concurrent use over the last 30 to 60 seconds; sizes the warm pool.
#[derive(Clone, Copy, Debug)]
pub struct PeakUsage {
    /// Start of the current span.
    begun: Instant,
    /// Peak of the current span.
    now: usize,
    /// Peak of the previous span.
    before: usize,
}

impl PeakUsage {
    /// Nothing in use.
    pub fn new(now: Instant) -> Self {
        PeakUsage {
            begun: now,
            now: 0,
            before: 0,
        }
    }

    /// Records that `in_use` are in use at `now`.
    pub fn observe(&mut self, in_use: usize, now: Instant) {
        self.roll(now);
        self.now = self.now.max(in_use);
    }

    /// The peak over the last 30 to 60 seconds before `now`.
    pub fn peak(&mut self, now: Instant) -> usize {
        self.roll(now);
        self.now.max(self.before)
    }

    /// Resets the peak.
    pub fn forget(&mut self) {
        (self.now, self.before) = (0, 0);
    }

    /// Begins the next span if the current one is over.
    fn roll(&mut self, now: Instant) {
        let past = now.saturating_duration_since(self.begun);
        if past >= SPAN {
            self.before = if past < SPAN * 2 { self.now } else { 0 };
            (self.now, self.begun) = (0, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_remembered_for_one_to_two_spans() {
        let start = Instant::now();
        let mut usage = PeakUsage::new(start);
        usage.observe(7, start);
        usage.observe(3, start + SPAN / 2);
        assert_eq!(usage.peak(start + SPAN / 2), 7);
        assert_eq!(usage.peak(start + SPAN), 7);
        usage.observe(2, start + SPAN);
        assert_eq!(usage.peak(start + SPAN * 2), 2);
        assert_eq!(usage.peak(start + SPAN * 3), 0);
    }

    #[test]
    fn after_a_long_silence_nothing_is_needed() {
        let start = Instant::now();
        let mut usage = PeakUsage::new(start);
        usage.observe(7, start);
        assert_eq!(usage.peak(start + SPAN * 10), 0);
    }
}
