//! Counters of the store.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From the store, fresh.
    Fresh,
    /// From the store, stale, while it is validated in the background (stale-while-revalidate).
    StaleWhile,
    /// From the store, stale, because the origin failed (stale-if-error).
    StaleError,
    /// From the store, stale, because the origin is late.
    StaleSlow,
    /// From the store, after a successful validation (304).
    Revalidated,
    /// By a request to the origin whose response is stored.
    Miss,
    /// By another client's pending request (collapsed).
    Joined,
    /// By a request of its own, whose response is not stored.
    Bypass,
}

impl Kind {
    /// All kinds.
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

    /// The name in /stats and /metrics.
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

    /// Whether the body did not have to be fetched from the origin for this request.
    pub fn is_hit(self) -> bool {
        !matches!(self, Kind::Miss | Kind::Bypass)
    }
}

/// Counters since the start.
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
    /// When a stale response was last sent because the origin failed or was late, in milliseconds since the start; 0: never.
    stale_last: AtomicU64,
    /// When the current series of such responses began, in the same unit.
    stale_since: AtomicU64,
}

/// Stale responses with at most this distance belong to the same outage.
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

    /// Counts bytes sent to clients from objects.
    pub fn served(&self, bytes: usize) {
        self.served.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts bytes that fills received from the origin.
    pub fn filled(&self, bytes: usize) {
        self.filled.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts the start of a fill.
    pub fn fill_begins(&self) {
        self.fills_begun.fetch_add(1, Relaxed);
    }

    /// Counts the end of a fill: finished, failed, or else stopped.
    pub fn fill_ends(&self, finished: bool, failed: bool) {
        let counter = match (finished, failed) {
            (true, _) => &self.fills_finished,
            (_, true) => &self.fills_failed,
            _ => &self.fills_stopped,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Counts a rendered response sent to an identical request.
    pub fn repeated(&self) {
        self.repeated.fetch_add(1, Relaxed);
    }

    /// Rendered responses sent to identical requests.
    pub fn responses_repeated(&self) -> u64 {
        self.repeated.load(Relaxed)
    }

    /// Counts a purge received from another instance.
    pub fn purged_by_others(&self) {
        self.purged_by_others.fetch_add(1, Relaxed);
    }

    /// Purges received from other instances.
    pub fn purges_of_others(&self) -> u64 {
        self.purged_by_others.load(Relaxed)
    }

    /// Counts a fill that failed before it began.
    pub fn fill_failed(&self) {
        self.fill_begins();
        self.fill_ends(false, true);
    }

    /// Counts a reader that continues with its own request, because its bytes were evicted before it got there, or a fill would bring
    /// them much later.
    pub fn left_behind(&self) {
        self.left_behind.fetch_add(1, Relaxed);
    }

    /// Number of such readers.
    pub fn readers_left_behind(&self) -> u64 {
        self.left_behind.load(Relaxed)
    }

    /// Bytes sent to clients from objects, and bytes received by fills.
    pub fn bytes(&self) -> (u64, u64) {
        (self.served.load(Relaxed), self.filled.load(Relaxed))
    }

    /// Fills: under way, finished, stopped, failed.
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

    /// Number of requests answered this way.
    pub fn requests(&self, kind: Kind) -> u64 {
        self.requests[kind as usize].load(Relaxed)
    }

    /// Since when stale responses are sent because the origin fails, as time since the start; none if there were none lately.
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
