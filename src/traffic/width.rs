//! Over how many connections one body is fetched: more while that brings more, fewer when it does not.
//!
//! A lossy or long path holds each TCP flow to a rate of its own, however free the line is; several flows fill it. A
//! clean path is filled by one, and more would only take from others.

use std::time::{Duration, Instant};

/// Goodput must grow by so much for a greater width to be worth it.
const WORTH: f64 = 1.1;
/// The width grows by this factor as long as each growth was worth it, and by the small one after that.
const STEP: usize = 4;
/// See [`STEP`].
const SMALL_STEP: usize = 2;
/// Periods to wait after a greater width brought nothing.
const PATIENCE: u32 = 8;

/// The width of one transfer.
#[derive(Clone, Copy, Debug)]
pub struct Width {
    now: usize,
    most: usize,
    period: Duration,
    begun: Instant,
    bytes: u64,
    /// The goodput of the period before the last change, in bytes per second, and the width it had.
    before: Option<(f64, usize)>,
    /// By which factor it grows next.
    step: usize,
    /// Periods in which no greater width is tried.
    pause: u32,
    /// When it was last halved.
    punished: Option<Instant>,
    /// The period says nothing: the client or the memory held it back.
    held_back: bool,
}

impl Width {
    /// Begins with `start` connections, judged after every `period`.
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

    /// So many connections are worth it now.
    pub fn get(&self) -> usize {
        self.now
    }

    /// Bytes came, over all connections.
    pub fn came(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Something else than the path held the transfer back.
    pub fn hold_back(&mut self) {
        self.held_back = true;
    }

    /// The origin refused, or a part failed: half as many, and no more for a while. What is refused within the same
    /// period counts once: it was asked for at the old width. Whether it counted.
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

    /// Judges the period if it is over. The new width, if it changed.
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
            // The greater width brought too little: back to the one before.
            Some((before, width)) if self.now > width && goodput < before * WORTH => {
                self.now = width;
                self.before = None;
                // Something between the two may still do.
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
            // All of them at once.
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
