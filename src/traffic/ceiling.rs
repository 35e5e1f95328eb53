//! The number of concurrent exchanges at which the origin was seen to refuse more, and how many parts may be added below that.
//!
//! Servers limit connections or requests by address, and all clients of a proxy share one. Parts are requested only if that leaves
//! capacity for new clients. The limit is tried again over time, more and more rarely if it was real.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a limit is kept before more is tried; short, so that an origin that was only briefly overloaded is soon used as before.
const HOLD: Duration = Duration::from_secs(60);
/// The longest such time; it doubles each time the limit is met again.
const LONGEST: Duration = Duration::from_secs(3600);
/// Refusals within this time belong to requests sent together, and count once.
const AT_ONCE: Duration = Duration::from_millis(500);
/// If this many exchanges succeeded, the limit is dropped.
const FORGOTTEN: usize = 256;

/// The observed limit. Shared by all workers.
#[derive(Debug, Default)]
pub struct Ceiling {
    // a std mutex: held for a few instructions, when a part is asked for
    seen: Mutex<Option<Seen>>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    most: usize,
    at: Instant,
    hold: Duration,
}

impl Seen {
    /// The limit at `now`: it doubles each time it was held for its time; none beyond [`FORGOTTEN`].
    fn most(&self, now: Instant) -> Option<usize> {
        let kept = now.saturating_duration_since(self.at).as_secs_f64();
        let mut most = self.most;
        for _ in 0..(kept / self.hold.as_secs_f64()) as u64 {
            most *= 2;
            if most > FORGOTTEN {
                return None;
            }
        }
        Some(most)
    }
}

impl Ceiling {
    /// The origin refused one exchange, and continues with `most`.
    pub fn met(&self, most: usize, now: Instant) {
        let mut seen = self.seen();
        let most = most.max(1);
        let before = seen.and_then(|before| Some((before, before.most(now)?)));
        *seen = Some(match before {
            None => Seen {
                most,
                at: now,
                hold: HOLD,
            },
            Some((before, _)) if now.saturating_duration_since(before.at) < AT_ONCE => Seen {
                most: most.min(before.most),
                ..before
            },
            Some((before, tried)) => Seen {
                most: most.min(tried),
                at: now,
                hold: (before.hold * 2).min(LONGEST),
            },
        });
    }

    /// How many concurrent exchanges the origin is known to accept; none if no limit was seen.
    pub fn most(&self, now: Instant) -> Option<usize> {
        self.seen().and_then(|seen| seen.most(now))
    }

    /// Up to how many exchanges in total parts may be added: a quarter of the limit, at least one, is left for other requests.
    pub fn for_parts(&self, now: Instant) -> Option<usize> {
        self.most(now).map(|most| most - (most / 4).max(1))
    }

    fn seen(&self) -> MutexGuard<'_, Option<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_limited_before_the_origin_turned_one_away() {
        assert_eq!(Ceiling::default().for_parts(Instant::now()), None);
    }

    #[test]
    fn parts_leave_room_beneath_what_the_origin_bears() {
        let now = Instant::now();
        for (most, parts) in [(1, 0), (4, 3), (8, 6), (40, 30)] {
            let ceiling = Ceiling::default();
            ceiling.met(most, now);
            assert_eq!(ceiling.for_parts(now), Some(parts));
        }
    }

    #[test]
    fn refusals_of_one_moment_are_one_limit_met() {
        let now = Instant::now();
        let ceiling = Ceiling::default();
        for most in [8, 4, 6] {
            ceiling.met(most, now);
        }
        assert_eq!(ceiling.most(now + HOLD - Duration::from_secs(1)), Some(4));
        assert_eq!(ceiling.most(now + HOLD), Some(8));
    }

    #[test]
    fn a_limit_is_tried_again_ever_more_seldom_and_forgotten_where_it_is_gone() {
        let mut now = Instant::now();
        let ceiling = Ceiling::default();
        ceiling.met(4, now);
        for met in 1..4 {
            now += HOLD * 2_u32.pow(met);
            assert!(ceiling.most(now) > Some(4));
            ceiling.met(4, now);
            assert_eq!(ceiling.most(now + HOLD * 2_u32.pow(met) - AT_ONCE), Some(4));
        }
        assert_eq!(ceiling.most(now + Duration::from_secs(30 * 3600)), None);
    }
}
