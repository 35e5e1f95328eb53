//! What the store counts.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Out of the store, fresh.
    Fresh,
    /// Out of the store, stale, while it is validated behind.
    StaleWhile,
    /// Out of the store, stale, for the origin failed.
    StaleError,
    /// Out of the store, stale, for the origin is late.
    StaleSlow,
    /// Out of the store, after the origin said that it is still so.
    Revalidated,
    /// By a request to the origin, whose answer is kept.
    Miss,
    /// By another client's request that was under way.
    Joined,
    /// By a request of its own: nothing of it is kept.
    Bypass,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 8] = [
        Kind::Fresh,
        Kind::StaleWhile,
        Kind::StaleError,
        Kind::StaleSlow,
        Kind::Revalidated,
        Kind::Miss,
        Kind::Joined,
        Kind::Bypass,
    ];

    /// Its name in /stats and /metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Fresh => "fresh",
            Kind::StaleWhile => "stale_while",
            Kind::StaleError => "stale_error",
            Kind::StaleSlow => "stale_slow",
            Kind::Revalidated => "revalidated",
            Kind::Miss => "miss",
            Kind::Joined => "joined",
            Kind::Bypass => "bypass",
        }
    }

    /// Whether the body's bytes did not have to cross the origin's line for it.
    pub fn is_hit(self) -> bool {
        !matches!(self, Kind::Miss | Kind::Bypass)
    }
}

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Counters {
    requests: [AtomicU64; Kind::ALL.len()],
    filled: AtomicU64,
    served: AtomicU64,
    fills_begun: AtomicU64,
    fills_finished: AtomicU64,
    fills_stopped: AtomicU64,
    fills_failed: AtomicU64,
    left_behind: AtomicU64,
    purged_by_others: AtomicU64,
    repeated: AtomicU64,
    /// When the last answer went out that was stale for the origin failed or was late, in milliseconds since the start; 0: none.
    stale_last: AtomicU64,
    /// When the first of those went out that follow each other closely, in the same way.
    stale_since: AtomicU64,
}

/// Stale answers that are no further apart than this belong to the same outage.
const OUTAGE: Duration = Duration::from_secs(60);

impl Counters {
    /// Counts one request; `now` is the time since the start.
    pub fn count(&self, kind: Kind, now: Duration) {
        self.requests[kind as usize].fetch_add(1, Relaxed);
        if matches!(kind, Kind::StaleError | Kind::StaleSlow) {
            let now = millis(now).max(1);
            let last = self.stale_last.swap(now, Relaxed);
            if last == 0 || now - last.min(now) > millis(OUTAGE) {
                self.stale_since.store(now, Relaxed);
            }
        }
    }

    /// Clients got so many bytes out of objects.
    pub fn served(&self, bytes: usize) {
        self.served.fetch_add(bytes as u64, Relaxed);
    }

    /// A fill brought so many bytes from the origin.
    pub fn filled(&self, bytes: usize) {
        self.filled.fetch_add(bytes as u64, Relaxed);
    }

    /// A fill begins.
    pub fn fill_begins(&self) {
        self.fills_begun.fetch_add(1, Relaxed);
    }

    /// A fill that began is over: it brought all that it was to bring, or broke, or else was stopped.
    pub fn fill_ends(&self, finished: bool, failed: bool) {
        let counter = match (finished, failed) {
            (true, _) => &self.fills_finished,
            (_, true) => &self.fills_failed,
            _ => &self.fills_stopped,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// A response was given again to a request by the same bytes.
    pub fn repeated(&self) {
        self.repeated.fetch_add(1, Relaxed);
    }

    /// How many responses were given again so.
    pub fn responses_repeated(&self) -> u64 {
        self.repeated.load(Relaxed)
    }

    /// A purge of another instance was taken.
    pub fn purged_by_others(&self) {
        self.purged_by_others.fetch_add(1, Relaxed);
    }

    /// How many purges of other instances were taken.
    pub fn purges_of_others(&self) -> u64 {
        self.purged_by_others.load(Relaxed)
    }

    /// A fill could not even begin.
    pub fn fill_failed(&self) {
        self.fill_begins();
        self.fill_ends(false, true);
    }

    /// A reader goes on by a request of its own: what it needs next did not stay until it got there.
    pub fn left_behind(&self) {
        self.left_behind.fetch_add(1, Relaxed);
    }

    /// How many readers did so.
    pub fn readers_left_behind(&self) -> u64 {
        self.left_behind.load(Relaxed)
    }

    /// Bytes that clients got out of objects, and bytes that fills brought for them.
    pub fn bytes(&self) -> (u64, u64) {
        (self.served.load(Relaxed), self.filled.load(Relaxed))
    }

    /// Fills so far: under way, finished, stopped, failed.
    pub fn fills(&self) -> [u64; 4] {
        let ended = [
            &self.fills_finished,
            &self.fills_stopped,
            &self.fills_failed,
        ]
        .map(|counter| counter.load(Relaxed));
        let under_way = self
            .fills_begun
            .load(Relaxed)
            .saturating_sub(ended.iter().sum());
        [under_way, ended[0], ended[1], ended[2]]
    }

    /// How many requests were answered so.
    pub fn requests(&self, kind: Kind) -> u64 {
        self.requests[kind as usize].load(Relaxed)
    }

    /// Since when stale answers go out for the origin fails, as time since the start; none where none did lately.
    pub fn stale_since(&self, now: Duration) -> Option<Duration> {
        let last = self.stale_last.load(Relaxed);
        let is_lately = last > 0 && millis(now).saturating_sub(last) <= millis(OUTAGE);
        is_lately.then(|| Duration::from_millis(self.stale_since.load(Relaxed)))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_lasts_as_long_as_stale_answers_follow_each_other() {
        let counters = Counters::default();
        let second = Duration::from_secs(1);
        counters.count(Kind::Fresh, second);
        assert_eq!(counters.stale_since(second), None);
        counters.count(Kind::StaleError, 10 * second);
        counters.count(Kind::StaleSlow, 50 * second);
        assert_eq!(counters.stale_since(100 * second), Some(10 * second));
        assert_eq!(counters.stale_since(111 * second), None);
        counters.count(Kind::StaleError, 200 * second);
        assert_eq!(counters.stale_since(201 * second), Some(200 * second));
        assert_eq!(counters.requests(Kind::StaleError), 2);
    }
}
