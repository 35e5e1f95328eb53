//! Admission to the origin at the rate in force, for the whole process.
//!
//! A virtual schedule (GCRA, ITU-T I.371) in one atomic: an arrival reserves the next free slot of the schedule, or none. Earlier
//! arrivals have earlier slots, so requests are served first in, first out, without a lock or queue. A reserved slot is not
//! returned: if a client leaves while it waits, slightly fewer requests than the rate are admitted, never more.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::{
    keys::{Dimension, Group, Keys},
    rate,
};
use crate::units::Rate;

/// Admits requests to the origin at the rate in force. Shared by all workers; the limiter sets the rate.
#[derive(Debug)]
pub struct RateGate {
    /// Reference for `free_at`.
    epoch: Instant,
    /// When the next slot of the schedule is free, in nanoseconds since `epoch`.
    free_at: AtomicU64,
    /// The rate in force, as bits of an `f64`.
    rate: AtomicU64,
    /// Time between two slots, in nanoseconds.
    interval: AtomicU64,
    on: AtomicBool,
    /// The groups that the rate applies to, as keys by dimension; zero: all requests.
    only: [AtomicU64; Dimension::ALL.len()],
    queue: u64,
    admitted: AtomicU64,
    delayed: AtomicU64,
    rejected: AtomicU64,
}

/// The request exceeds the rate: the wait would be too long, or too many wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("over the rate limit; try again in {retry_after:?}")]
pub struct OverRate {
    /// When to try again.
    pub retry_after: Duration,
}

/// Counts of the gate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Admissions {
    /// Requests admitted, at once or after a wait.
    pub admitted: u64,
    /// Those of them that had to wait.
    pub delayed: u64,
    /// Requests refused.
    pub rejected: u64,
}

impl RateGate {
    /// A gate at the initial rate, switched on.
    pub fn new(settings: &rate::Settings) -> Self {
        let gate = Self {
            epoch: Instant::now(),
            free_at: AtomicU64::new(0),
            rate: AtomicU64::new(0),
            interval: AtomicU64::new(0),
            on: AtomicBool::new(true),
            only: [const { AtomicU64::new(0) }; Dimension::ALL.len()],
            queue: settings.queue as u64,
            admitted: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        };
        gate.set_rate(settings.start());
        gate
    }

    /// Reserves the next slot for a request that arrives at `now`, and returns how long to wait for it. Does not wait itself.
    /// Requests that the rate does not apply to pass at once.
    ///
    /// # Errors
    ///
    /// [`OverRate`] if the wait would be longer than `max_wait` or the queue is full; nothing is reserved.
    pub fn admit(
        &self,
        keys: Keys,
        now: Instant,
        max_wait: Duration,
    ) -> Result<Duration, OverRate> {
        if !self.is_for(keys) {
            self.admitted.fetch_add(1, Relaxed);
            return Ok(Duration::ZERO);
        }
        self.take(now, max_wait).inspect_err(|_| {
            self.rejected.fetch_add(1, Relaxed);
        })
    }

    /// As [`RateGate::admit`], for a request that no client waits for: whether it may be sent now. A false does not count as
    /// refused.
    pub fn admit_spare(&self, now: Instant) -> bool {
        self.take(now, Duration::ZERO).is_ok()
    }

    fn take(&self, now: Instant, max_wait: Duration) -> Result<Duration, OverRate> {
        if !self.is_on() {
            self.admitted.fetch_add(1, Relaxed);
            return Ok(Duration::ZERO);
        }
        let now = self.since_epoch(now);
        let interval = self.interval.load(Relaxed);
        let head_start = self.head_start(interval);
        let longest = nanos(max_wait).min(interval.saturating_mul(self.queue));

        let mut free_at = self.free_at.load(Relaxed);
        loop {
            let slot = free_at.max(now);
            let wait = (slot - now).saturating_sub(head_start);
            if wait > longest {
                return Err(OverRate {
                    retry_after: Duration::from_nanos(wait - longest),
                });
            }
            match self.free_at.compare_exchange_weak(
                free_at,
                slot.saturating_add(interval),
                Relaxed,
                Relaxed,
            ) {
                Ok(_) => {
                    self.admitted.fetch_add(1, Relaxed);
                    if wait > 0 {
                        self.delayed.fetch_add(1, Relaxed);
                    }
                    return Ok(Duration::from_nanos(wait));
                }
                Err(taken) => free_at = taken,
            }
        }
    }

    /// Sets the rate for slots reserved from now on; reserved slots stay.
    pub fn set_rate(&self, rate: Rate) {
        self.rate.store(rate.per_second().to_bits(), Relaxed);
        self.interval.store(nanos(rate.interval()), Relaxed);
    }

    /// Sets the groups that the rate applies to, all of which a request must belong to; empty: all requests. Other requests do not
    /// wait behind those.
    pub fn set_only(&self, groups: &[Group]) {
        let (mut was_for_some, mut changed) = (false, false);
        for dimension in Dimension::ALL {
            let group = groups.iter().find(|group| group.dimension == dimension);
            let key = group.map_or(0, |group| group.key);
            let before = self.only[dimension as usize].swap(key, Relaxed);
            was_for_some |= before != 0;
            changed |= before != key;
        }
        if was_for_some && changed {
            self.free_at.store(0, Relaxed);
        }
    }

    fn is_for(&self, keys: Keys) -> bool {
        let mut of = self.only.iter().zip(keys.groups());
        of.all(|(only, group)| matches!(only.load(Relaxed), key if key == 0 || key == group.key))
    }

    /// The rate in force.
    pub fn rate(&self) -> Rate {
        Rate::new(f64::from_bits(self.rate.load(Relaxed))).unwrap_or(Rate::HIGHEST)
    }

    /// Switches the gate on or off. When off, everything passes at once and is only counted.
    pub fn set_on(&self, on: bool) {
        self.on.store(on, Relaxed);
    }

    /// Whether it is on.
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// How many requests pass at once without a wait: a tenth of a second's worth, at least one.
    pub fn burst(&self) -> u64 {
        let interval = self.interval.load(Relaxed);
        self.head_start(interval) / interval.max(1) + 1
    }

    /// Reserved slots in the future: the length of the queue.
    pub fn waiting(&self, now: Instant) -> u64 {
        let interval = self.interval.load(Relaxed).max(1);
        let ahead = self
            .free_at
            .load(Relaxed)
            .saturating_sub(self.since_epoch(now))
            .saturating_sub(self.head_start(interval));
        // `free_at` is the end of the last slot: one interval ahead means that no request waits
        ahead.div_ceil(interval).saturating_sub(1)
    }

    /// The most requests that may wait.
    pub fn queue(&self) -> u64 {
        self.queue
    }

    /// Counts of the gate.
    pub fn admissions(&self) -> Admissions {
        Admissions {
            admitted: self.admitted.load(Relaxed),
            delayed: self.delayed.load(Relaxed),
            rejected: self.rejected.load(Relaxed),
        }
    }

    /// How far the schedule may be ahead of the clock without a wait.
    fn head_start(&self, interval: u64) -> u64 {
        const TENTH_OF_A_SECOND: u64 = 100_000_000;
        let burst = (TENTH_OF_A_SECOND / interval.max(1)).max(1);
        (burst - 1) * interval
    }

    fn since_epoch(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.epoch))
    }
}

/// Nanoseconds as `u64`; enough for 584 years.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn gate(per_second: f64, queue: usize) -> RateGate {
        let rate = Rate::new(per_second).unwrap();
        RateGate::new(&rate::Settings {
            min: rate,
            max: rate,
            initial: None,
            queue,
            window: SECOND,
        })
    }

    #[test]
    fn a_rate_that_is_for_some_lets_all_others_pass() {
        let gate = gate(1.0, 1000);
        let keys = |path, client: &str| Keys::of(path, None, client.parse().unwrap());
        let blamed = keys("/a", "192.0.2.1");
        gate.set_only(&[Dimension::Path, Dimension::Client].map(|by| blamed.group(by)));
        let passes = |keys| gate.admit(keys, gate.epoch, Duration::ZERO).is_ok();
        assert!(passes(blamed));
        for _ in 0..100 {
            assert!(!passes(blamed));
            assert!(passes(keys("/b", "192.0.2.1")) && passes(keys("/a", "192.0.2.2")));
        }
        gate.set_only(&[]);
        assert!(passes(keys("/a", "192.0.2.2")), "nobody was before it");
        assert!(!passes(keys("/a", "192.0.2.2")));
    }

    #[test]
    fn a_burst_of_a_tenth_of_a_second_passes_at_once() {
        let gate = gate(1000.0, 1000);
        let now = gate.epoch + SECOND;
        assert_eq!(gate.burst(), 100);
        for _ in 0..100 {
            assert_eq!(
                gate.admit(Keys::default(), now, Duration::ZERO),
                Ok(Duration::ZERO)
            );
        }
        assert_eq!(gate.waiting(now), 0);
        assert!(gate.admit(Keys::default(), now, Duration::ZERO).is_err());
        assert_eq!(
            gate.admit(Keys::default(), now, SECOND),
            Ok(Duration::from_millis(1))
        );
        assert_eq!(gate.waiting(now), 1);
        assert_eq!(
            gate.admissions(),
            Admissions {
                admitted: 101,
                delayed: 1,
                rejected: 1
            }
        );
    }

    #[test]
    fn at_a_low_rate_one_request_passes_at_once_and_the_next_waits_for_its_slot() {
        let gate = gate(10.0, 1000);
        let now = gate.epoch + SECOND;
        assert_eq!(gate.admit(Keys::default(), now, SECOND), Ok(Duration::ZERO));
        assert_eq!(
            gate.admit(Keys::default(), now, SECOND),
            Ok(Duration::from_millis(100))
        );
        assert_eq!(
            gate.admit(Keys::default(), now, SECOND),
            Ok(Duration::from_millis(200))
        );
    }

    #[test]
    fn one_that_is_turned_away_takes_no_slot() {
        let gate = gate(10.0, 1000);
        let now = gate.epoch + SECOND;
        _ = gate.admit(Keys::default(), now, SECOND);
        for _ in 0..50 {
            let turned = gate
                .admit(Keys::default(), now, Duration::from_millis(40))
                .unwrap_err();
            assert_eq!(turned.retry_after, Duration::from_millis(60));
        }
        assert_eq!(
            gate.admit(Keys::default(), now, SECOND),
            Ok(Duration::from_millis(100))
        );
    }

    #[test]
    fn a_full_queue_turns_away_however_patient_the_request_is() {
        let gate = gate(10.0, 3);
        let now = gate.epoch + SECOND;
        for _ in 0..4 {
            gate.admit(Keys::default(), now, SECOND * 60).unwrap();
        }
        assert_eq!(gate.waiting(now), 3);
        let turned = gate.admit(Keys::default(), now, SECOND * 60).unwrap_err();
        assert_eq!(turned.retry_after, Duration::from_millis(100));
        assert!(
            gate.admit(Keys::default(), now + turned.retry_after, SECOND * 60)
                .is_ok()
        );
    }

    #[test]
    fn switched_off_it_lets_everything_through_and_still_counts() {
        let gate = gate(1.0, 1);
        gate.set_on(false);
        for _ in 0..500 {
            assert_eq!(
                gate.admit(Keys::default(), gate.epoch, Duration::ZERO),
                Ok(Duration::ZERO)
            );
        }
        assert_eq!(gate.admissions().admitted, 500);
    }

    #[test]
    fn a_new_rate_holds_from_the_next_slot_on() {
        let gate = gate(10.0, 1000);
        let now = gate.epoch + SECOND;
        _ = gate.admit(Keys::default(), now, SECOND);
        gate.set_rate(Rate::new(2.0).unwrap());
        assert_eq!(
            gate.admit(Keys::default(), now, SECOND),
            Ok(Duration::from_millis(100))
        );
        assert_eq!(
            gate.admit(Keys::default(), now, SECOND),
            Ok(Duration::from_millis(600))
        );
        assert_eq!(gate.rate(), Rate::new(2.0).unwrap());
    }

    #[test]
    fn threads_that_arrive_together_each_get_a_slot_of_their_own() {
        let gate = Arc::new(gate(1000.0, 10_000));
        let now = gate.epoch + SECOND;
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let gate = gate.clone();
                thread::spawn(move || {
                    (0..500)
                        .map(|_| gate.admit(Keys::default(), now, SECOND * 60).unwrap())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let mut waits: Vec<_> = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .filter(|wait| !wait.is_zero())
            .collect();
        waits.sort_unstable();
        waits.dedup();
        assert_eq!(waits.len(), 2000 - 100, "no two waiters share a slot");
    }

    proptest! {
        /// In any interval at most `rate` times its length plus one burst are admitted, in the order of arrival.
        #[test]
        fn it_never_admits_more_than_the_rate_and_keeps_the_order(
            per_second in 1.0f64..5000.0,
            gaps in proptest::collection::vec((0u64..50_000_000, 0u64..3_000), 1..400),
        ) {
            let gate = gate(per_second, 1000);
            let burst = gate.burst() as f64;
            let mut now = gate.epoch;
            let mut starts: Vec<f64> = Vec::new();
            for (gap, patience) in gaps {
                now += Duration::from_nanos(gap);
                if let Ok(wait) = gate.admit(Keys::default(), now, Duration::from_millis(patience)) {
                    prop_assert!(wait <= Duration::from_millis(patience));
                    starts.push((now + wait - gate.epoch).as_secs_f64());
                }
            }
            prop_assert!(starts.is_sorted(), "first in, first out");
            for (i, from) in starts.iter().enumerate() {
                for (admitted, to) in starts[i..].iter().enumerate() {
                    let allowed = burst + (to - from) * per_second + 1e-3;
                    prop_assert!((admitted + 1) as f64 <= allowed, "{} in {} s", admitted + 1, to - from);
                }
            }
        }

        /// Under constant overload the whole rate is used.
        #[test]
        fn under_overload_it_admits_the_whole_rate(per_second in 10.0f64..2000.0) {
            let gate = gate(per_second, 1000);
            let step = Duration::from_secs_f64(0.25 / per_second);
            let admitted = (0..4000)
                .filter(|i| gate.admit(Keys::default(), gate.epoch + step * *i, step * 4).is_ok())
                .count() as f64;
            prop_assert!((admitted - 1000.0 - gate.burst() as f64).abs() <= 3.0, "{admitted}");
        }
    }
}
