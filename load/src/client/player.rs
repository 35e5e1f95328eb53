//! What a player shows: it plays while it has something buffered, stalls when it has not. Pure; time is an argument.

use std::time::{Duration, Instant};

/// A player's buffer and clock.
#[derive(Clone, Debug)]
pub struct Player {
    joined: Instant,
    /// Buffered, in seconds, at `at`.
    buffered: f64,
    at: Instant,
    state: State,
    /// Until the picture first moved; none: it has not.
    pub startup: Option<Duration>,
    /// Seconds played.
    pub played: f64,
    /// Seconds stalled after the start.
    pub stalled: f64,
    /// How often it stalled.
    pub stalls: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Starting,
    Playing,
    Stalled,
}

impl Player {
    /// A player that was just switched on.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            joined: now,
            buffered: 0.0,
            at: now,
            state: State::Starting,
            startup: None,
            played: 0.0,
            stalled: 0.0,
            stalls: 0,
        }
    }

    /// Lets time pass up to `now`.
    pub fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        match self.state {
            State::Starting => {}
            State::Stalled => self.stalled += passed,
            State::Playing => {
                let shown = passed.min(self.buffered);
                self.played += shown;
                self.buffered -= shown;
                if passed > shown {
                    self.stalled += passed - shown;
                    self.stalls += 1;
                    self.state = State::Stalled;
                }
            }
        }
    }

    /// A segment of so many seconds arrived; playing starts or goes on with it.
    pub fn arrived(&mut self, now: Instant, seconds: f64) {
        self.advance(now);
        self.buffered += seconds;
        if self.state == State::Starting {
            self.startup = Some(now.saturating_duration_since(self.joined));
        }
        self.state = State::Playing;
    }

    /// The end: a player that never started stalled all the time.
    pub fn finish(&mut self, now: Instant) {
        self.advance(now);
        if self.state == State::Starting {
            self.stalled = now.saturating_duration_since(self.joined).as_secs_f64();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_segment_stalls_for_as_long_as_it_is_late() {
        let start = Instant::now();
        let at = |s: f64| start + Duration::from_secs_f64(s);
        let mut player = Player::new(start);
        player.arrived(at(1.0), 2.0);
        player.arrived(at(2.0), 2.0);
        // Empty at 5.0.
        player.arrived(at(6.5), 2.0);
        player.finish(at(8.0));
        assert_eq!(player.startup, Some(Duration::from_secs(1)));
        assert!(
            (player.stalled - 1.5).abs() < 1e-6 && (player.played - 5.5).abs() < 1e-6,
            "{player:?}"
        );
        assert_eq!(player.stalls, 1);
    }

    #[test]
    fn a_player_that_never_starts_stalled_all_the_time() {
        let start = Instant::now();
        let mut player = Player::new(start);
        player.finish(start + Duration::from_secs(9));
        assert!((player.stalled - 9.0).abs() < 1e-6 && player.startup.is_none());
    }
}
