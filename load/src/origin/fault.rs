//! How a bad origin breaks its answers, seeded: the n-th answer for a path breaks the same way in every run.

use std::{collections::HashMap, time::Duration};

use clap::Args;
use fileproxy_testbed::{
    fault::{Break, How, Outage},
    random::{Random, hash},
};
use serde::{Deserialize, Serialize};

use crate::units::{ByteSize, Span};

/// How often the origin does what.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, Args)]
#[serde(deny_unknown_fields)]
pub struct Faults {
    /// A body breaks every so many bytes on average
    #[arg(long, value_name = "SIZE", default_value = "1 MB")]
    pub cut_mean: ByteSize,
    /// Share of the breaks that are resets; the others are closed early, unless they stall
    #[arg(long, value_name = "SHARE", default_value_t = 0.25)]
    pub reset_share: f64,
    /// Share of the breaks that stall
    #[arg(long, value_name = "SHARE", default_value_t = 0.15)]
    pub stall_share: f64,
    /// How long a stall lasts before the connection is closed
    #[arg(long, value_name = "SPAN", default_value = "30 s")]
    pub stall_for: Span,
    /// 503 once in this time
    #[arg(long, value_name = "SPAN", default_value = "20 s")]
    pub unavailable_every: Span,
    /// 503 for so long
    #[arg(long, value_name = "SPAN", default_value = "2 s")]
    pub unavailable_for: Span,
}

/// Decides which answers break.
#[derive(Debug)]
pub struct Breaker {
    faults: Faults,
    seed: u64,
    asked: HashMap<String, u64>,
}

impl Breaker {
    /// A breaker; the same seed breaks the same answers.
    #[must_use]
    pub fn new(faults: Faults, seed: u64) -> Self {
        Self {
            faults,
            seed,
            asked: HashMap::new(),
        }
    }

    /// Whether the origin is unavailable when it has run for so long. It is at the end of each period, so that a run
    /// begins with it well.
    #[must_use]
    pub fn unavailable(&self, age: Duration) -> bool {
        let every = self.faults.unavailable_every.get();
        let lasting = self.faults.unavailable_for.get();
        let outage = Outage {
            every,
            begin: every.saturating_sub(lasting),
            lasting,
        };
        outage.is_at(age)
    }

    /// Where and how the next answer for this path breaks; none: it does not.
    pub fn next(&mut self, path: &str, length: u64) -> Option<Break> {
        let asked = self.asked.entry(path.to_owned()).or_default();
        *asked += 1;
        let mut random = Random::new(hash(self.seed ^ *asked, path.as_bytes()));
        let at = random.exponential(self.faults.cut_mean.bytes() as f64);
        if at >= length as f64 {
            return None;
        }
        let kind = random.unit();
        let how = if kind < self.faults.stall_share {
            How::Stall(self.faults.stall_for.get())
        } else if kind < self.faults.stall_share + self.faults.reset_share {
            How::Reset
        } else {
            How::Close
        };
        let at = at as u64;
        Some(Break { at, how })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(
            Faults {
                cut_mean: "1 MB".parse().unwrap(),
                reset_share: 0.25,
                stall_share: 0.15,
                stall_for: "30 s".parse().unwrap(),
                unavailable_every: "20 s".parse().unwrap(),
                unavailable_for: "2 s".parse().unwrap(),
            },
            1,
        )
    }

    #[test]
    fn bodies_break_as_often_as_asked_and_the_same_way_again() {
        let broken = |mut b: Breaker| {
            (0..10_000)
                .map(|n| b.next(&format!("/{n}"), 100_000))
                .collect::<Vec<_>>()
        };
        let (first, again) = (broken(breaker()), broken(breaker()));
        assert_eq!(first, again);
        // 1 - exp(-0.1)
        let share = first.iter().flatten().count() as f64 / 10_000.0;
        assert!((share - 0.095).abs() < 0.01, "{share}");
    }

    #[test]
    fn a_path_asked_for_again_need_not_break_again() {
        let mut b = breaker();
        let kinds: Vec<_> = (0..50).map(|_| b.next("/a", 1_000_000).is_some()).collect();
        assert!(kinds.contains(&true) && kinds.contains(&false));
    }

    #[test]
    fn it_is_unavailable_at_the_end_of_each_period() {
        let b = breaker();
        assert!(!b.unavailable(Duration::from_secs(1)));
        assert!(b.unavailable(Duration::from_secs(19)));
        assert!(!b.unavailable(Duration::from_secs(21)));
    }
}
