//! What goes wrong on purpose: where and how a body breaks, and when a server is out of order.

use std::time::Duration;

/// How a body breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// The connection is closed as if the body were over.
    Close,
    /// The connection is reset.
    Reset,
    /// Nothing more comes for so long, then the connection is closed.
    Stall(Duration),
}

/// The break of one body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Break {
    /// Bytes of the body that come before it.
    pub at: u64,
    /// How it breaks.
    pub how: How,
}

impl Break {
    /// A break after this share, 0 to 1, of a body of `len` bytes. At least one byte never comes.
    #[must_use]
    pub fn after(share: f64, len: u64, how: How) -> Self {
        let at = ((len as f64 * share) as u64).min(len.saturating_sub(1));
        Self { at, how }
    }
}

/// A time in which a server is out of order, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// From the begin of one to that of the next; zero: there is none.
    pub every: Duration,
    /// How long after the server's start the first one begins.
    pub begin: Duration,
    /// How long each lasts.
    pub lasting: Duration,
}

impl Outage {
    /// Whether the server is out of order when it has run for so long.
    #[must_use]
    pub fn is_at(&self, age: Duration) -> bool {
        let since = age.checked_sub(self.begin).map(|since| since.as_nanos());
        since
            .and_then(|since| since.checked_rem(self.every.as_nanos()))
            .is_some_and(|since| since < self.lasting.as_nanos())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_break_always_leaves_something_unsent() {
        assert_eq!(Break::after(1.0, 10, How::Close).at, 9);
        assert_eq!(Break::after(0.5, 10, How::Reset).at, 5);
        assert_eq!(Break::after(0.5, 0, How::Reset).at, 0);
    }

    #[test]
    fn an_outage_comes_again_and_ends_each_time() {
        let seconds = Duration::from_secs;
        let outage = Outage {
            every: seconds(120),
            begin: seconds(20),
            lasting: seconds(15),
        };
        for (age, is_at) in [(0, false), (20, true), (34, true), (35, false)] {
            assert_eq!(outage.is_at(seconds(age)), is_at, "{age}");
            assert_eq!(outage.is_at(seconds(age + 240)), is_at, "{age}");
        }
        let never = Outage {
            every: Duration::ZERO,
            ..outage
        };
        assert!(!never.is_at(seconds(20)));
    }
}
