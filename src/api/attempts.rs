//! Requests without the right admin token: answers to an address that sends many are delayed, and the log lines about them are
//! limited.
//!
//! A request with the right token is never delayed, even from an address that sent wrong ones: many clients may share it.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::client_network::network;

/// Attempts that one address may make at once.
const BURST: u64 = 10;
/// One more is allowed each time this has passed.
const EVERY: Duration = Duration::from_secs(5);
/// Delay of the answer to further attempts.
const DELAY: Duration = Duration::from_secs(1);
/// The most answers that are delayed at once in the process; further ones are sent at once, and their connections closed.
const MOST_DELAYED: usize = 256;
/// Buckets for addresses; a power of two. Addresses in the same bucket share its allowance.
const BUCKETS: usize = 1024;
/// Log lines that may be written at once.
const LINES: u64 = 10;
/// One more is allowed each time this has passed. Attempts without a line are counted in the next one.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Attempts without the right token, over the whole process.
#[derive(Debug)]
pub(super) struct Attempts {
    epoch: Instant,
    hasher: RandomState,
    /// When each bucket is full again, in milliseconds since `epoch`.
    buckets: Box<[AtomicU64]>,
    /// The same for log lines.
    lines: AtomicU64,
    /// Attempts without a log line since the last line.
    unwritten: Mutex<u64>,
    /// Answers that are being delayed.
    delayed: AtomicUsize,
}

/// How to answer an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Time until the address may try again; none if this attempt was within its allowance.
    pub retry_after: Option<Duration>,
    /// The number of attempts before this one that were not logged; none if this one is not logged either.
    pub line: Option<u64>,
}

/// Counts one delayed answer while it lives.
#[derive(Debug)]
pub(super) struct Delayed<'a>(&'a AtomicUsize);

impl Attempts {
    /// No attempts yet.
    pub fn new() -> Self {
        Attempts {
            epoch: Instant::now(),
            hasher: RandomState::new(),
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            lines: AtomicU64::new(0),
            unwritten: Mutex::new(0),
            delayed: AtomicUsize::new(0),
        }
    }

    /// Counts an attempt from this address.
    pub fn wrong(&self, address: Option<IpAddr>, now: Instant) -> Verdict {
        let bucket = self.hasher.hash_one(address.map(network)) as usize % BUCKETS;
        let retry_after = self.take(&self.buckets[bucket], BURST, EVERY, now).err();
        let mut unwritten = self
            .unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let line = match self.take(&self.lines, LINES, LINE_EVERY, now) {
            Ok(()) => Some(std::mem::take(&mut *unwritten)),
            Err(_) => {
                *unwritten += 1;
                None
            }
        };
        Verdict { retry_after, line }
    }

    /// The delay of an answer, and a guard to hold meanwhile; none if too many answers are delayed already.
    pub fn delay(&self) -> Option<(Delayed<'_>, Duration)> {
        let delayed = Delayed(&self.delayed);
        let before = self.delayed.fetch_add(1, Relaxed);
        (before < MOST_DELAYED).then_some((delayed, DELAY))
    }

    /// Takes one from a virtual schedule (GCRA, ITU-T I.371) with size `burst` and one more for each `interval`. `schedule` is when
    /// it is full again, in milliseconds since `epoch`. The error is the time until one is available.
    fn take(
        &self,
        schedule: &AtomicU64,
        burst: u64,
        interval: Duration,
        now: Instant,
    ) -> Result<(), Duration> {
        let millis = |span: Duration| span.as_millis() as u64;
        let (now, interval) = (
            millis(now.saturating_duration_since(self.epoch)),
            millis(interval),
        );
        let taken = schedule.fetch_update(Relaxed, Relaxed, |full_at| {
            let next = full_at.max(now) + interval;
            (next <= now + burst * interval).then_some(next)
        });
        taken
            .map(drop)
            .map_err(|full_at| Duration::from_millis(full_at + interval - (now + burst * interval)))
    }
}

impl Drop for Delayed<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    #[test]
    fn an_address_may_be_wrong_a_few_times_and_then_seldom() {
        let attempts = Attempts::new();
        let now = attempts.epoch + EVERY;
        let retry_after = |at| attempts.wrong(address(1), at).retry_after;
        for _ in 0..BURST {
            assert_eq!(retry_after(now), None);
        }
        assert_eq!(retry_after(now), Some(EVERY));
        assert_eq!(retry_after(now + EVERY / 2), Some(EVERY / 2));
        assert_eq!(retry_after(now + EVERY), None);
        assert_eq!(retry_after(now + EVERY), Some(EVERY));
    }

    #[test]
    fn ten_thousand_attempts_write_a_few_lines_that_count_them_all() {
        let attempts = Attempts::new();
        let mut told = 0;
        for n in 0..10_000_u32 {
            let at = attempts.epoch + Duration::from_millis(u64::from(n));
            let line = attempts.wrong(Some(IpAddr::from(n.to_be_bytes())), at).line;
            told += line.map_or(0, |before| before + 1);
        }
        let late = attempts
            .wrong(None, attempts.epoch + LINE_EVERY * 2)
            .line
            .unwrap();
        assert_eq!(told + late, 10_000);
    }

    #[test]
    fn answers_are_held_back_up_to_a_bound() {
        let attempts = Attempts::new();
        let held: Vec<_> = (0..MOST_DELAYED)
            .map(|_| attempts.delay().unwrap())
            .collect();
        assert!(attempts.delay().is_none());
        drop(held);
        assert!(attempts.delay().is_some());
    }
}
