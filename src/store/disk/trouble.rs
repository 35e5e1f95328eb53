//! When the disk fails: writing stops for a while, each time longer, and reading goes on where it works.

use std::{
    io,
    time::{Duration, Instant, SystemTime},
};

use serde::Serialize;

/// How long writing stops at most.
const LONGEST: Duration = Duration::from_secs(300);

/// What is wrong with the disk: a reason for `/health`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Trouble {
    /// Since when nothing is written, in seconds since 1970.
    pub since: u64,
    /// What the system said.
    pub reason: String,
}

/// Whether writing stops, and until when. Pure: time is an argument.
#[derive(Debug)]
pub struct Pause {
    first: Duration,
    length: Duration,
    until: Option<Instant>,
}

impl Pause {
    /// Writing goes on; the first pause would be so long.
    pub fn new(first: Duration) -> Self {
        Pause {
            first,
            length: first,
            until: None,
        }
    }

    /// Whether writing stops.
    pub fn is_on(&self) -> bool {
        self.until.is_some()
    }

    /// Whether it is time to try again.
    pub fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now >= until)
    }

    /// Something failed: writing stops, and the next pause is twice as long.
    pub fn begin(&mut self, now: Instant) {
        self.until = Some(now + self.length);
        self.length = (self.length * 2).min(LONGEST);
    }

    /// It was tried, and works again.
    pub fn end(&mut self) {
        self.until = None;
    }

    /// Something was written after the last pause: the next one is short.
    pub fn forget(&mut self) {
        if self.until.is_none() {
            self.length = self.first;
        }
    }
}

impl Trouble {
    /// The trouble that an error means.
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
