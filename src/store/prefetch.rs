//! Controls how many segments are prefetched, by how many of the previous ones were used.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// A prefetched segment that no client requested within this time counts as unused.
const PATIENCE: Duration = Duration::from_secs(60);

/// Outcomes that are judged together.
const JUDGED: u32 = 16;

/// Above this share of unused segments, prefetching is halved.
const TOO_MANY_UNUSED: f64 = 0.3;

/// The smallest share of the maximum that is still prefetched, to detect when it becomes useful again.
const LEAST: f64 = 1.0 / 16.0;

/// State and counts of prefetching.
#[derive(Debug)]
pub struct Prefetch {
    // a std mutex: held for some instructions, never across an await
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Share of the maximum that is prefetched.
    share: f64,
    /// Fractional credit for the next prefetch.
    credit: f64,
    under_way: usize,
    /// Prefetched segments without an outcome yet: when, and whether they were requested.
    open: VecDeque<(Instant, Arc<AtomicBool>)>,
    judged: (u32, u32),
    fetched: u64,
    used: u64,
    unused: u64,
}

/// One segment that is being prefetched, while this lives.
#[derive(Debug)]
pub struct Ahead {
    of: Arc<Prefetch>,
    /// Whether a client has requested it.
    pub used: Arc<AtomicBool>,
}

impl Default for Prefetch {
    fn default() -> Self {
        Prefetch {
            state: Mutex::new(State {
                share: 1.0,
                credit: 0.0,
                under_way: 0,
                open: VecDeque::new(),
                judged: (0, 0),
                fetched: 0,
                used: 0,
                unused: 0,
            }),
        }
    }
}

impl Prefetch {
    /// Permits one more prefetch, unless `at_once` are under way or too many previous ones were unused.
    pub fn begin(self: &Arc<Self>, at_once: usize, now: Instant) -> Option<Ahead> {
        let mut state = self.state();
        state.settle(now);
        if state.under_way >= at_once {
            return None;
        }
        state.credit += state.share;
        if state.credit < 1.0 {
            return None;
        }
        state.credit -= 1.0;
        state.under_way += 1;
        state.fetched += 1;
        let used = Arc::new(AtomicBool::new(false));
        state.open.push_back((now, Arc::clone(&used)));
        Some(Ahead {
            of: Arc::clone(self),
            used,
        })
    }

    /// Prefetched segments: all, used, and unused.
    pub fn counts(&self, now: Instant) -> [u64; 3] {
        let mut state = self.state();
        state.settle(now);
        [state.fetched, state.used, state.unused]
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Judges the segments whose outcome is known.
    fn settle(&mut self, now: Instant) {
        let mut open = std::mem::take(&mut self.open);
        open.retain(|(at, used)| {
            let is_used = used.load(Relaxed);
            let is_over = is_used || now.saturating_duration_since(*at) >= PATIENCE;
            if is_over {
                self.used += u64::from(is_used);
                self.unused += u64::from(!is_used);
                self.judged.0 += 1;
                self.judged.1 += u32::from(!is_used);
            }
            !is_over
        });
        self.open = open;
        let (all, unused) = self.judged;
        if all >= JUDGED {
            self.share = match f64::from(unused) / f64::from(all) > TOO_MANY_UNUSED {
                true => (self.share / 2.0).max(LEAST),
                false => (self.share * 2.0).min(1.0),
            };
            self.judged = (0, 0);
        }
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.of.state().under_way -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_under_way_than_may_be() {
        let (prefetch, now) = (Arc::new(Prefetch::default()), Instant::now());
        let first = prefetch.begin(1, now).unwrap();
        assert!(prefetch.begin(1, now).is_none());
        drop(first);
        assert!(prefetch.begin(1, now).is_some());
    }

    #[test]
    fn where_too_many_go_unused_fewer_are_fetched_and_more_again_where_they_are_used() {
        let prefetch = Arc::new(Prefetch::default());
        let mut now = Instant::now();
        let mut round = |used: bool| {
            let mut fetched = 0;
            for _ in 0..160 {
                if let Some(ahead) = prefetch.begin(9, now) {
                    ahead.used.store(used, Relaxed);
                    fetched += 1;
                }
            }
            now += PATIENCE;
            fetched
        };
        assert_eq!(round(false), 160);
        let fewer = round(false);
        assert!(fewer <= 80, "{fewer}");
        for _ in 0..4 {
            round(false);
        }
        assert_eq!(round(false), 10);
        for _ in 0..40 {
            round(true);
        }
        assert_eq!(round(true), 160);
        let [fetched, used, unused] = prefetch.counts(now);
        assert_eq!(fetched, used + unused);
    }
}
