//! Disk errors: writing pauses, each time for longer, and reading continues where it works.

use std::{
    io,
    time::{Duration, Instant, SystemTime},
};

use serde::Serialize;

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(300);

/// A disk error, as `/health` shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Trouble {
    /// Since when writing is paused, in seconds since 1970.
    pub since: u64,
    /// The system's error.
    pub reason: String,
}

/// Whether writing is paused, and until when. Pure: time is an argument.
#[derive(Debug)]
pub struct Pause {
    first: Duration,
    length: Duration,
    until: Option<Instant>,
}

impl Pause {
    /// Not paused; the first pause will have this length.
    pub fn new(first: Duration) -> Self {
        Pause {
            first,
            length: first,
            until: None,
        }
    }

    /// Whether writing is paused.
    pub fn is_on(&self) -> bool {
        self.until.is_some()
    }

    /// Whether it is time to try again.
    pub fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// Starts a pause after an error; the next one is twice as long.
    pub fn begin(&mut self, now: Instant) {
        self.until = Some(now + self.length);
        self.length = (self.length * 2).min(LONGEST);
    }

    /// Ends the pause: writing works again.
    pub fn end(&mut self) {
        self.until = None;
    }

    /// Something was written after the pause: the next one is short again.
    pub fn forget(&mut self) {
        if self.until.is_none() {
            self.length = self.first;
        }
    }
}

impl Trouble {
    /// From a system error.
    pub fn of(error: &io::Error, now: SystemTime) -> Self {
        let since = now.duration_since(SystemTime::UNIX_EPOCH);
        Trouble {
            since: since.unwrap_or_default().as_secs(),
            reason: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pause_is_longer_up_to_five_minutes() {
        let now = Instant::now();
        let mut pause = Pause::new(Duration::from_secs(10));
        assert!(!pause.is_on() && !pause.is_over(now));
        for seconds in [10, 20, 40, 80, 160, 300, 300] {
            pause.begin(now);
            let end = now + Duration::from_secs(seconds);
            assert!(!pause.is_over(end - Duration::from_millis(1)) && pause.is_over(end));
        }
        pause.forget();
        pause.end();
        pause.forget();
        pause.begin(now);
        assert!(pause.is_over(now + Duration::from_secs(10)));
    }
}
