//! How fast the origin answers just now: the median over its targets, one vote each.
//!
//! A median over requests would say what the most popular target says. A long poll, a report that takes seconds to make
//! or a playlist that waits for its next segment is slow by itself, on any line; it has one vote like every other target.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{keys::Dimension, sample::Sample, summary::OriginPace};

/// Answers that are remembered: the latest.
const MOST: usize = 1024;
/// So long nobody waits for a network: where few targets take that long, each does so by itself.
const OWN_WAIT: Duration = Duration::from_secs(2);
/// As many targets do not take that long by chance.
const SEVERAL: usize = 3;

/// The response times of the latest answers.
#[derive(Debug)]
pub struct ResponseTimes {
    /// The median is taken over so much time.
    window: Duration,
    /// With fewer answers than these, it looks further back.
    wanted: usize,
    /// But no further than this.
    reach: Duration,
    latest: Vec<Answered>,
    seen: u64,
}

#[derive(Clone, Copy, Debug)]
struct Answered {
    at: Instant,
    path: u64,
    took: Duration,
}

impl ResponseTimes {
    /// Nothing was answered yet.
    pub fn new(window: Duration, wanted: u64, reach: Duration) -> Self {
        ResponseTimes {
            window,
            wanted: usize::try_from(wanted).unwrap_or(MOST).min(MOST),
            reach,
            latest: Vec::new(),
            seen: 0,
        }
    }

    /// Takes the answer in that this sample tells of, if there was one.
    pub fn add(&mut self, sample: &Sample) {
        let Some(took) = sample.origin_ttfb else {
            return;
        };
        let answered = Answered {
            at: sample.ended,
            path: sample.keys.group(Dimension::Path).key,
            took,
        };
        if self.latest.len() < MOST {
            self.latest.push(answered);
        } else {
            self.latest[self.seen as usize % MOST] = answered;
        }
        self.seen += 1;
    }

    /// How fast the origin answers at `now`.
    pub fn pace(&self, now: Instant) -> OriginPace {
        let age = |answered: &Answered| now.saturating_duration_since(answered.at);
        let mut latest: Vec<_> = self.latest.iter().filter(|a| age(a) < self.reach).collect();
        latest.sort_unstable_by_key(|answered| age(answered));
        let fresh = latest.iter().filter(|a| age(a) < self.window).count();
        latest.truncate(fresh.max(self.wanted));

        let mut paths: HashMap<u64, Vec<Duration>> = HashMap::new();
        for answered in &latest {
            paths.entry(answered.path).or_default().push(answered.took);
        }
        let mut votes: Vec<Duration> = paths.into_values().filter_map(median).collect();
        let few = votes.len() < SEVERAL;
        votes.retain(|took| !few || *took < OWN_WAIT);
        OriginPace {
            median: median(votes),
            samples: latest.len() as u64,
            seen: self.seen,
        }
    }
}

/// The middle one; the lesser of two.
fn median(mut times: Vec<Duration>) -> Option<Duration> {
    let middle = times.len().checked_sub(1)? / 2;
    Some(*times.select_nth_unstable(middle).1)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::traffic::{keys::Keys, sample::Outcome};

    const SECOND: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    /// The median of answers of these paths, each after so many milliseconds.
    fn median_of(answers: &[(&str, u32)]) -> Option<Duration> {
        let now = Instant::now();
        let mut times = ResponseTimes::new(SECOND * 5, 5, SECOND * 60);
        for (path, millis) in answers {
            times.add(&sample(path, now, MS * *millis));
        }
        times.pace(now).median
    }

    fn sample(path: &str, ended: Instant, took: Duration) -> Sample {
        Sample {
            ended,
            outcome: Outcome::Completed,
            origin_ttfb: Some(took),
            ttfb: None,
            total: took,
            bytes: 0,
            keys: Keys::of(path, None, IpAddr::V4(Ipv4Addr::LOCALHOST)),
            canary: None,
        }
    }

    #[test]
    fn the_only_target_says_how_fast_the_origin_is() {
        assert_eq!(
            median_of(&[("/", 200), ("/", 300), ("/", 900)]),
            Some(MS * 300)
        );
        assert_eq!(median_of(&[]), None);
    }

    #[test]
    fn many_long_polls_of_one_path_count_as_one_slow_target() {
        let mut answers = vec![("/poll", 25_000); 100];
        assert_eq!(median_of(&answers), None, "that is no network's time");
        answers.push(("/film", 3));
        assert_eq!(median_of(&answers), Some(MS * 3));
        answers.push(("/list", 8));
        assert_eq!(median_of(&answers), Some(MS * 8));
    }

    #[test]
    fn an_origin_that_is_slow_everywhere_is_slow() {
        let slow = [("/a", 3000), ("/b", 4000), ("/c", 5000), ("/d", 5)];
        assert_eq!(median_of(&slow), Some(MS * 3000));
        assert_eq!(median_of(&[("/a", 400), ("/b", 500)]), Some(MS * 400));
    }

    #[test]
    fn of_more_than_are_remembered_the_latest_count() {
        let now = Instant::now();
        let mut times = ResponseTimes::new(SECOND * 5, 5, SECOND * 60);
        for n in 0..3000 {
            let took = if n < 1900 { MS } else { MS * 100 };
            times.add(&sample("/", now, took));
        }
        let pace = times.pace(now);
        assert_eq!((pace.samples, pace.seen), (MOST as u64, 3000));
        assert_eq!(pace.median, Some(MS * 100));
    }
}
