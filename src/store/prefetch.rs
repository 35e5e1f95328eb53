//! How many segments are fetched ahead, by how many of those before were asked for.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// A segment that nobody asked for so long after it was fetched ahead counts as unused.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many outcomes are judged together.
const JUDGED: u32 = 16;

/// Over this share of unused ones, half as many are fetched.
const TOO_MANY_UNUSED: f64 = 0.3;

/// The least share of what may be fetched that still is: so that it shows when it is worth more again.
const LEAST: f64 = 1.0 / 16.0;

/// What is fetched ahead, and what came of it.
#[derive(Debug)]
pub struct Prefetch {
    // a std mutex: held for some instructions, never across an await
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The share of what may be fetched that is.
    share: f64,
    /// What was left over of that so far.
    credit: f64,
    under_way: usize,
    /// When each was fetched whose outcome is open, and whether it was asked for.
    open: VecDeque<(Instant, Arc<AtomicBool>)>,
    judged: (u32, u32),
    fetched: u64,
    used: u64,
    unused: u64,
}

/// One segment is being fetched ahead, for as long as this lives.
#[derive(Debug)]
pub struct Ahead {
    of: Arc<Prefetch>,
    /// Whether it was asked for.
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
    /// Leave to fetch one more, where not `at_once` are under way already, and those before were not for nothing.
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

    /// How many were fetched ahead, how many of them were asked for, and how many were not in time.
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
    /// Judges those whose outcome is known.
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
