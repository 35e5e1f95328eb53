//! The origin's current response time: the median over its targets, with one vote each.
//!
//! A median over requests would be dominated by the most popular target. A long poll, a slow report or a playlist that waits for
//! its next segment is slow by itself, on any line; it has one vote like every other target. If such targets are many, most clients
//! or directories still see fast answers, whereas a slow origin or line is slow for all of them: so with several of either, the
//! lowest of the medians over targets, directories and clients counts.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{
    keys::{Dimension, Keys},
    origin_summary::OriginPace,
    sample::Sample,
};

/// The most answers that are kept; the latest.
const MOST: usize = 1024;
/// No network delays an answer for so long: if only a few targets take that long, each does so by itself.
const OWN_WAIT: Duration = Duration::from_secs(2);
/// With this many targets, a long time is not chance; the same number of directories or clients is needed for their medians.
const SEVERAL: usize = 3;

/// The response times of recent answers.
#[derive(Debug)]
pub struct ResponseTimes {
    /// Length of the median's window.
    window: Duration,
    /// With fewer answers than these, older ones are included.
    wanted: usize,
    /// But at most this old.
    reach: Duration,
    latest: Vec<Answered>,
    seen: u64,
}

#[derive(Clone, Copy, Debug)]
struct Answered {
    at: Instant,
    keys: Keys,
    took: Duration,
}

impl ResponseTimes {
    /// Empty.
    pub fn new(window: Duration, wanted: u64, reach: Duration) -> Self {
        ResponseTimes {
            window,
            wanted: usize::try_from(wanted).unwrap_or(MOST).min(MOST),
            reach,
            latest: Vec::new(),
            seen: 0,
        }
    }

    /// Adds the response time of a sample, if it has one.
    pub fn add(&mut self, sample: &Sample) {
        let Some(took) = sample.origin_ttfb else {
            return;
        };
        let answered = Answered {
            at: sample.ended,
            keys: sample.keys,
            took,
        };
        if self.latest.len() < MOST {
            self.latest.push(answered);
        } else {
            self.latest[self.seen as usize % MOST] = answered;
        }
        self.seen += 1;
    }

    /// The response time at `now`.
    pub fn pace(&self, now: Instant) -> OriginPace {
        let age = |answered: &Answered| now.saturating_duration_since(answered.at);
        let mut latest: Vec<_> = self.latest.iter().filter(|a| age(a) < self.reach).collect();
        latest.sort_unstable_by_key(|answered| age(answered));
        let fresh = latest.iter().filter(|a| age(a) < self.window).count();
        latest.truncate(fresh.max(self.wanted));

        let targets = votes(&latest, Dimension::Path);
        let groups = [Dimension::Directory, Dimension::Client].map(|by| votes(&latest, by));
        let several = groups.into_iter().filter(|votes| votes.len() >= SEVERAL);
        let few = targets.len() < SEVERAL;
        let targets = targets.into_iter().filter(|took| !few || *took < OWN_WAIT);
        OriginPace {
            median: std::iter::once(targets.collect())
                .chain(several)
                .filter_map(median)
                .min(),
            samples: latest.len() as u64,
            seen: self.seen,
        }
    }
}

/// The median of each group in one dimension.
fn votes(latest: &[&Answered], by: Dimension) -> Vec<Duration> {
    let mut groups: HashMap<u64, Vec<Duration>> = HashMap::new();
    for answered in latest {
        let key = answered.keys.group(by).key;
        groups.entry(key).or_default().push(answered.took);
    }
    groups.into_values().filter_map(median).collect()
}

/// The median; the lower of two middle values.
fn median(mut times: Vec<Duration>) -> Option<Duration> {
    let middle = times.len().checked_sub(1)? / 2;
    Some(*times.select_nth_unstable(middle).1)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::traffic::origin_id::OriginId;
    use crate::traffic::{keys::Keys, sample::Outcome};

    const SECOND: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    /// The median for answers of these paths, each with its milliseconds.
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
            origin: OriginId::default(),
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

    /// The median for answers to these clients.
    fn median_for(answers: impl IntoIterator<Item = (String, u8, u32)>) -> Option<Duration> {
        let now = Instant::now();
        let mut times = ResponseTimes::new(SECOND * 5, 5, SECOND * 60);
        for (path, client, millis) in answers {
            let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, client));
            times.add(&Sample {
                origin: OriginId::default(),
                keys: Keys::of(&path, None, client),
                ..sample(&path, now, MS * millis)
            });
        }
        times.pace(now).median
    }

    #[test]
    fn long_polls_of_one_client_or_in_one_directory_do_not_speak_for_the_others() {
        let files = (0..6).map(|n| (format!("/file{n}"), n % 3, 5));
        let polls = (0..60).map(|n| (format!("/{n}/poll"), 9, 2500));
        assert_eq!(median_for(files.chain(polls)), Some(MS * 5));
        let files = (0..6).map(|n| (format!("/{n}/file"), 1, 5));
        let polls = (0..60).map(|n| (format!("/live/poll{n}"), n, 2500));
        assert_eq!(median_for(files.chain(polls)), Some(MS * 5));
    }

    #[test]
    fn an_origin_that_is_slow_for_all_clients_and_directories_is_slow() {
        let one = [("/fast".to_owned(), 200, 5)];
        let slow = (0..30).map(|n| (format!("/{n}/file"), n % 7, 400));
        assert_eq!(median_for(one.into_iter().chain(slow)), Some(MS * 400));
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
