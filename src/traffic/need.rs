//! How many of something were in use at once lately.

use std::time::{Duration, Instant};

/// How far back it reaches at least; at most twice as far.
const SPAN: Duration = Duration::from_secs(30);

/// The most at once, of the last one to two spans.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    begun: Instant,
    now: usize,
    before: usize,
}

impl Need {
    /// Nothing was in use.
    pub fn new(now: Instant) -> Self {
        Need {
            begun: now,
            now: 0,
            before: 0,
        }
    }

    /// So many are in use.
    pub fn observe(&mut self, in_use: usize, now: Instant) {
        self.turn(now);
        self.now = self.now.max(in_use);
    }

    /// The most that were in use at once lately.
    pub fn lately(&mut self, now: Instant) -> usize {
        self.turn(now);
        self.now.max(self.before)
    }

    /// Forgets what was in use.
    pub fn forget(&mut self) {
        (self.now, self.before) = (0, 0);
    }

    fn turn(&mut self, now: Instant) {
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
        let mut need = Need::new(start);
        need.observe(7, start);
        need.observe(3, start + SPAN / 2);
        assert_eq!(need.lately(start + SPAN / 2), 7);
        assert_eq!(need.lately(start + SPAN), 7);
        need.observe(2, start + SPAN);
        assert_eq!(need.lately(start + SPAN * 2), 2);
        assert_eq!(need.lately(start + SPAN * 3), 0);
    }

    #[test]
    fn after_a_long_silence_nothing_is_needed() {
        let start = Instant::now();
        let mut need = Need::new(start);
        need.observe(7, start);
        assert_eq!(need.lately(start + SPAN * 10), 0);
    }
}
