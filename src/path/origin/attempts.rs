//! Counts the requests for the rest of one body, and decides about the next one. Pure.

use std::time::Duration;

use crate::path::transfers::Settings;

/// A response counts as late after this many times the usual response time.
const LATE: u32 = 8;

/// Requests for the rest of one body.
#[derive(Debug)]
pub(super) struct Attempts {
    /// After breaks, without progress between them.
    in_a_row: u32,
    /// Second connections without success since the last byte of the body.
    in_vain: u32,
    /// All requests.
    in_all: u32,
    /// The position at which the last request after a break began.
    from: u64,
    /// Retry-After of the origin, for the next request.
    retry_after: Duration,
}

impl Attempts {
    /// No request yet; the next byte of the body is at `from`.
    pub(super) fn new(from: u64) -> Self {
        Attempts {
            in_a_row: 0,
            in_vain: 0,
            in_all: 0,
            from,
            retry_after: Duration::ZERO,
        }
    }

    /// Requests after breaks since the last progress.
    pub(super) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// Whether the last request after a break has not made progress yet.
    pub(super) fn is_trying(&self) -> bool {
        self.in_a_row > 0
    }

    /// Whether another request may follow a break.
    pub(super) fn may_resume(&self, settings: &Settings) -> bool {
        self.in_a_row < settings.resume_attempts && self.in_all < settings.resume_limit
    }

    /// Whether a second connection may be opened.
    pub(super) fn may_open_second(&self, settings: &Settings) -> bool {
        self.in_all < settings.resume_limit
    }

    /// The share of a token that the last attempt is worth for bringing the bytes up to `next`. Twice the progress threshold pays
    /// for one attempt that brings almost nothing, so that attempts that are useful on average never exhaust the budget.
    pub(super) fn worth(&self, next: u64, settings: &Settings) -> f64 {
        if self.in_all == 0 {
            return 0.0;
        }
        let came = (next - self.from) as f64;
        let worth = came / settings.resume_progress.as_u64().max(1) as f64;
        // Progress was already paid back when it was made.
        let paid = if self.in_a_row > 0 { 0.0 } else { 1.0 };
        (worth - paid).clamp(0.0, 1.0)
    }

    /// Counts another request after a break, from `next` on. Returns the delay before it: none for the first, then doubled each
    /// time with jitter, and at least the origin's Retry-After.
    pub(super) fn resume(&mut self, next: u64, settings: &Settings) -> Duration {
        let asked = std::mem::take(&mut self.retry_after);
        let wait = self.backoff(settings).max(asked.min(settings.backoff_max));
        self.in_a_row += 1;
        self.in_all += 1;
        self.from = next;
        wait
    }

    fn backoff(&self, settings: &Settings) -> Duration {
        if self.in_a_row == 0 {
            return Duration::ZERO;
        }
        let doubled = settings
            .backoff_min
            .saturating_mul(1 << (self.in_a_row - 1).min(16));
        doubled
            .min(settings.backoff_max)
            .mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Counts a second connection.
    pub(super) fn open_second(&mut self) {
        self.in_all += 1;
    }

    /// A second connection failed.
    pub(super) fn second_failed(&mut self) {
        self.in_vain += 1;
    }

    /// New bytes of the body have arrived.
    pub(super) fn moved(&mut self) {
        self.in_vain = 0;
    }

    /// The body is now at `next`, complete or not. Returns true once, if the last attempt has made enough progress to be worth its
    /// token.
    pub(super) fn progressed(&mut self, next: u64, is_whole: bool, settings: &Settings) -> bool {
        let came = next - self.from;
        let progress = settings.resume_progress.as_u64();
        let is_worth_it = self.in_a_row > 0 && (came >= progress || is_whole);
        if is_worth_it {
            self.in_a_row = 0;
        }
        is_worth_it
    }

    /// Sets the origin's Retry-After.
    pub(super) fn leave_alone(&mut self, retry_after: Duration) {
        self.retry_after = retry_after;
    }

    /// How long a request for the rest may wait for its response, or a second connection for its first byte, before another one is
    /// tried: a multiple of `usual` (the origin's recent response time, or that of this body's first response), doubled each time.
    pub(super) fn patience(&self, usual: Duration, settings: &Settings) -> Duration {
        let patience = settings.stall_window.max(usual.saturating_mul(LATE));
        patience.saturating_mul(1 << self.in_a_row.max(self.in_vain).min(16))
    }
}

#[cfg(test)]
mod tests {
    use bytesize::ByteSize;

    use super::*;
    use crate::traffic::quality::Class;

    fn settings() -> Settings {
        Settings {
            resume_attempts: 2,
            resume_limit: 4,
            resume_reread: ByteSize::kib(64),
            resume_progress: ByteSize::b(100),
            resume_burst: 10.0,
            resume_rate: 1.0,
            resume_share: 0.1,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(1),
            stall_window: Duration::from_secs(2),
            stall_floor: ByteSize::kib(32),
            stall_share: 0.1,
            stall_budget: 0.03,
            parallel_from: Class::Poor,
            parallel_least: ByteSize::mib(1),
            parallel_segment: ByteSize::mib(1),
            parallel_width: 8,
            parallel_except: Vec::new(),
            parallel_window: ByteSize::mib(8),
            parallel_memory: ByteSize::mib(64),
        }
    }

    #[test]
    fn attempts_without_progress_are_bounded_and_each_waits_longer() {
        let settings = settings();
        let mut attempts = Attempts::new(0);
        assert_eq!(attempts.resume(0, &settings), Duration::ZERO);
        let second = attempts.resume(0, &settings);
        assert!((50..=100).contains(&second.as_millis()), "{second:?}");
        assert!(!attempts.may_resume(&settings));
        assert!(!attempts.progressed(99, false, &settings));
        assert!(attempts.progressed(100, false, &settings));
        assert!(attempts.may_resume(&settings) && !attempts.is_trying());
    }

    #[test]
    fn no_body_is_asked_for_more_often_than_the_limit_whatever_came() {
        let settings = settings();
        let mut attempts = Attempts::new(0);
        for at in 1..=4 {
            assert!(attempts.may_resume(&settings));
            attempts.resume(at * 1000, &settings);
            attempts.progressed(at * 1000 + 500, false, &settings);
        }
        assert!(!attempts.may_resume(&settings) && !attempts.may_open_second(&settings));
    }

    #[test]
    fn what_an_attempt_brought_beyond_progress_pays_for_the_next_one() {
        let settings = settings();
        let mut attempts = Attempts::new(0);
        assert_eq!(attempts.worth(1000, &settings), 0.0);
        attempts.resume(1000, &settings);
        assert_eq!(attempts.worth(1050, &settings), 0.5);
        assert!(attempts.progressed(1100, false, &settings));
        assert_eq!(attempts.worth(1150, &settings), 0.5);
        assert_eq!(attempts.worth(9999, &settings), 1.0);
    }

    #[test]
    fn how_long_the_origin_wants_to_be_left_alone_is_kept_to_once_up_to_the_longest_backoff() {
        let settings = settings();
        let mut attempts = Attempts::new(0);
        attempts.leave_alone(Duration::from_secs(60));
        assert_eq!(attempts.resume(0, &settings), settings.backoff_max);
        assert!(attempts.resume(0, &settings) < settings.backoff_max);
    }

    #[test]
    fn patience_doubles_with_each_attempt_in_vain() {
        let settings = settings();
        let mut attempts = Attempts::new(0);
        let usual = Duration::from_millis(10);
        assert_eq!(attempts.patience(usual, &settings), Duration::from_secs(2));
        attempts.second_failed();
        assert_eq!(attempts.patience(usual, &settings), Duration::from_secs(4));
        attempts.moved();
        let slow = Duration::from_secs(1);
        assert_eq!(attempts.patience(slow, &settings), Duration::from_secs(8));
    }
}
