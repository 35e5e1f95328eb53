//! How many connections one body is fetched over: more while that increases the throughput, fewer if not.
//!
//! On a lossy or long path each TCP connection is limited by itself, however free the line is; several fill it. A clean path is
//! filled by one, and more would only take bandwidth from others.

use std::time::{Duration, Instant};

/// Factor by which throughput must grow for a larger width to be kept.
const WORTH: f64 = 1.1;
/// The width grows by this factor while each growth is kept, and by the small one after that.
const STEP: usize = 4;
/// See [`STEP`].
const SMALL_STEP: usize = 2;
/// Periods to wait after a larger width did not help.
const PATIENCE: u32 = 8;

/// The number of connections for one transfer.
#[derive(Clone, Copy, Debug)]
pub struct Width {
    now: usize,
    most: usize,
    period: Duration,
    begun: Instant,
    bytes: u64,
    /// Throughput (bytes per second) and width before the last change.
    before: Option<(f64, usize)>,
    /// The factor of the next growth.
    step: usize,
    /// Periods until a larger width is tried.
    pause: u32,
    /// When it was last halved.
    punished: Option<Instant>,
    /// Whether the current period is not meaningful, because client or memory limited the transfer.
    held_back: bool,
}

impl Width {
    /// Starts with `start` connections, judged after every `period`.
    pub fn new(start: usize, most: usize, period: Duration, now: Instant) -> Self {
        Width {
            now: start.clamp(1, most.max(1)),
            most: most.max(1),
            period,
            begun: now,
            bytes: 0,
            before: None,
            step: STEP,
            pause: 0,
            punished: None,
            held_back: false,
        }
    }

    /// The current number of connections.
    pub fn get(&self) -> usize {
        self.now
    }

    /// Counts bytes received, over all connections.
    pub fn came(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Marks the current period as limited by something other than the path.
    pub fn hold_back(&mut self) {
        self.held_back = true;
    }

    /// The origin refused, or a part failed: halves the width, and does not grow for a while. Refusals within the same period count
    /// once, because they were requested at the old width. Returns whether it counted.
    pub fn punish(&mut self, now: Instant) -> bool {
        if self
            .punished
            .is_some_and(|at| now.saturating_duration_since(at) < self.period)
        {
            return false;
        }
        self.punished = Some(now);
        self.now = (self.now / 2).max(1);
        self.before = None;
        self.step = SMALL_STEP;
        self.pause = PATIENCE;
        self.restart(now);
        true
    }

    fn restart(&mut self, now: Instant) {
        (self.begun, self.bytes, self.held_back) = (now, 0, false);
    }

    /// Judges the period if it is over. Returns the new width if it changed.
    pub fn judge(&mut self, now: Instant) -> Option<usize> {
        let past = now.saturating_duration_since(self.begun);
        if past < self.period {
            return None;
        }
        let goodput = self.bytes as f64 / past.as_secs_f64();
        let held_back = self.held_back;
        self.restart(now);
        if held_back {
            return None;
        }
        let was = self.now;
        match self.before {
            // The larger width brought too little: back to the previous one.
            Some((before, width)) if self.now > width && goodput < before * WORTH => {
                self.now = width;
                self.before = None;
                // A width between the two may still help.
                self.pause = if self.step == SMALL_STEP { PATIENCE } else { 0 };
                self.step = SMALL_STEP;
            }
            _ if self.pause > 0 => self.pause -= 1,
            _ if self.now < self.most => {
                self.before = Some((goodput, self.now));
                self.now = (self.now * self.step).min(self.most);
            }
            _ => {}
        }
        (self.now != was).then_some(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(1);

    /// Runs periods in which each connection brings `each` bytes, all together at most `line`.
    fn after(periods: u32, each: u64, line: u64) -> usize {
        let mut now = Instant::now();
        let mut width = Width::new(1, 16, PERIOD, now);
        for _ in 0..periods {
            width.came((width.get() as u64 * each).min(line) as usize);
            now += PERIOD;
            width.judge(now);
        }
        width.get()
    }

    #[test]
    fn a_path_that_holds_each_flow_gets_as_many_as_fill_the_line() {
        assert_eq!(after(8, 100, 1_000_000), 16);
        assert_eq!(after(3, 100, 1_000_000), 16, "in few steps");
        assert!((8..=16).contains(&after(8, 100, 800)));
    }

    #[test]
    fn a_line_that_one_flow_fills_keeps_one() {
        assert_eq!(after(2, 1000, 1000), 1);
    }

    #[test]
    fn a_slow_client_does_not_look_like_a_full_line() {
        let mut now = Instant::now();
        let mut width = Width::new(4, 16, PERIOD, now);
        for _ in 0..20 {
            width.hold_back();
            now += PERIOD;
            assert_eq!(width.judge(now), None);
        }
        assert_eq!(width.get(), 4);
    }

    #[test]
    fn a_refusal_halves_it_and_it_stays_so_for_a_while() {
        let mut now = Instant::now();
        let mut width = Width::new(8, 16, PERIOD, now);
        for _ in 0..8 {
            // All of them in the same period.
            width.punish(now);
        }
        for _ in 0..PATIENCE {
            width.came(1000);
            now += PERIOD;
            assert_eq!(width.judge(now), None);
        }
        assert_eq!(width.get(), 4);
        width.punish(now);
        assert_eq!(width.get(), 2);
    }
}
