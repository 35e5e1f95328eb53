//! Who gives a wrong admin token again and again: answered late, and written to the log once in a while.
//!
//! A right token is never asked to wait, whoever else gave a wrong one, also from the same address: many share one.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// Wrong tokens that one address may give in one go.
const BURST: u64 = 10;
/// And one more each time so long has passed.
const EVERY: Duration = Duration::from_secs(5);
/// How late the answer to one that is over that comes.
const DELAY: Duration = Duration::from_secs(1);
/// Answers that are held back at once in the process; one more goes out at once and ends its connection.
const MOST_DELAYED: usize = 256;
/// Places for addresses: a power of two. Two that share one have one allowance.
const PLACES: usize = 1024;
/// Log lines in one go, and so often one more; the others are counted in it.
const LINES: u64 = 10;
const LINE_EVERY: Duration = Duration::from_secs(10);

/// The attempts with a wrong token, over the whole process.
#[derive(Debug)]
pub(super) struct Attempts {
    epoch: Instant,
    hasher: RandomState,
    /// When each address has all of its allowance again: milliseconds since `epoch`.
    places: Box<[AtomicU64]>,
    /// The same for log lines.
    lines: AtomicU64,
    /// What was not written since the last line.
    unwritten: Mutex<u64>,
    delayed: AtomicUsize,
}

/// What becomes of an attempt with a wrong token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Over its address's allowance: when the next attempt is worth while.
    pub retry_after: Option<Duration>,
    /// Whether it is written to the log, and how many before it were not.
    pub line: Option<u64>,
}

/// An answer that is held back, for as long as this lives.
#[derive(Debug)]
pub(super) struct Delayed<'a>(&'a AtomicUsize);

impl Attempts {
    /// None so far.
    pub fn new() -> Self {
        Attempts {
            epoch: Instant::now(),
            hasher: RandomState::new(),
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            lines: AtomicU64::new(0),
            unwritten: Mutex::new(0),
            delayed: AtomicUsize::new(0),
        }
    }

    /// One more from this address.
    pub fn wrong(&self, address: Option<IpAddr>, now: Instant) -> Verdict {
        let network = address.map(|address| match address.to_canonical() {
            IpAddr::V4(v4) => u128::from(v4.to_bits()),
            IpAddr::V6(v6) => v6.to_bits() >> 64 << 64,
        });
        let place = self.hasher.hash_one(network) as usize % PLACES;
        let retry_after = self.take(&self.places[place], BURST, EVERY, now).err();
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

    /// Room to hold an answer back; none where too many are already.
    pub fn delay(&self) -> Option<(Delayed<'_>, Duration)> {
        let delayed = Delayed(&self.delayed);
        let before = self.delayed.fetch_add(1, Relaxed);
        (before < MOST_DELAYED).then_some((delayed, DELAY))
    }

    /// A virtual schedule (GCRA, ITU-T I.371): `burst` in one go, and one more for each `interval`. How long to stay
    /// away where that is used up.
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
