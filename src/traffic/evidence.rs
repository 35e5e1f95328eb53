//! What the rate limit is judged by: the outcomes of requests to the origin, in batches.

use std::time::{Duration, Instant};

use super::{
    keys::{Dimension, Keys},
    outliers::{Answer, Count, Weighed, weigh},
    sample::Sample,
};

/// A batch is complete with this many requests.
pub const EVERY: u64 = 100;
/// Or after the window with at least this many; fewer are carried over to the next batch.
pub const FEWEST: u64 = 20;
/// The most answers of one batch that are kept individually; the latest.
const LOOKED_AT: usize = 1024;
/// Slots of the table of recent successes; a power of two.
const SUCCESSES: usize = 256;
/// How long a success is remembered.
const LATELY: Duration = Duration::from_secs(30);
/// Below this share of errors, outliers are not looked for.
const WELL: f64 = 0.02;

/// One batch of answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// All answers.
    pub all: Count,
    /// The answers without outliers.
    pub weighed: Weighed,
}

impl Batch {
    /// The share of errors without outliers; none if too few answers are left.
    pub fn share(&self) -> Option<f64> {
        let enough = self.weighed.outliers.is_empty() || self.weighed.rest.requests >= FEWEST;
        enough.then(|| self.weighed.rest.share())
    }
}

/// The totals and the last batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// All answers since the process started.
    pub all: Count,
    /// How many of them were no errors.
    pub succeeded: u64,
    /// Number of batches, to detect a new one.
    pub batches: u64,
    /// The last batch.
    pub last: Batch,
}

/// Collects answers into batches.
#[derive(Debug)]
pub struct Evidence {
    window: Duration,
    since: Instant,
    open: Count,
    latest: Vec<Answer>,
    /// The last success of a client in a directory, in a slot chosen by hashing both.
    successes: Vec<Option<(Keys, Instant)>>,
    judged: Judged,
}

impl Evidence {
    /// Empty. `window`: the longest time for one batch.
    pub fn new(window: Duration, now: Instant) -> Self {
        Evidence {
            window,
            since: now,
            open: Count::default(),
            latest: Vec::new(),
            successes: vec![None; SUCCESSES],
            judged: Judged::default(),
        }
    }

    /// Changes the longest time for one batch.
    pub fn set_window(&mut self, window: Duration) {
        self.window = window;
    }

    /// Adds the answer of a sample that reached the origin.
    pub fn add(&mut self, sample: &Sample) {
        let answer = Answer {
            keys: sample.keys,
            failed: sample.outcome.is_origin_error(),
        };
        if self.latest.len() < LOOKED_AT {
            self.latest.push(answer);
        } else {
            self.latest[self.open.requests as usize % LOOKED_AT] = answer;
        }
        self.open.add(answer.failed);
        self.judged.all.add(answer.failed);
        let by = [Dimension::Client, Dimension::Directory].map(|by| sample.keys.group(by));
        let place = (by[0].key ^ by[1].key) as usize % SUCCESSES;
        if answer.failed {
            let is_same = |keys: &Keys| by.iter().all(|group| keys.is_of(*group));
            self.successes[place].take_if(|(keys, _)| is_same(keys));
        } else if sample.origin_ttfb.is_some() {
            self.judged.succeeded += 1;
            self.successes[place] = Some((sample.keys, sample.ended));
        }
    }

    /// The totals and the last batch at `now`.
    pub fn judged(&mut self, now: Instant) -> &Judged {
        let due = now.saturating_duration_since(self.since) >= self.window;
        if self.open.requests >= EVERY || due && self.open.requests >= FEWEST {
            self.close(now);
        }
        &self.judged
    }

    fn close(&mut self, now: Instant) {
        let all = std::mem::take(&mut self.open);
        let weighed = if all.share() < WELL {
            Weighed {
                rest: all,
                ..Weighed::default()
            }
        } else {
            let lately = |at: Instant| now.saturating_duration_since(at) < LATELY;
            let succeeded = self.successes.iter().flatten();
            let succeeded = succeeded.filter(|(_, at)| lately(*at));
            weigh(&self.latest, succeeded.map(|(keys, _)| *keys))
        };
        self.latest.clear();
        self.since = now;
        self.judged.batches += 1;
        self.judged.last = Batch { all, weighed };
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::traffic::origin_id::OriginId;
    use crate::traffic::sample::Outcome;

    const WINDOW: Duration = Duration::from_secs(10);

    fn sample(path: &str, client: u8, outcome: Outcome, ended: Instant) -> Sample {
        Sample {
            ended,
            outcome,
            origin_ttfb: Some(Duration::ZERO),
            ttfb: None,
            total: Duration::ZERO,
            bytes: 0,
            origin: OriginId::default(),
            keys: Keys::of(path, None, IpAddr::V4(Ipv4Addr::new(192, 0, 2, client))),
            canary: None,
        }
    }

    #[test]
    fn a_batch_has_a_hundred_requests_or_what_a_window_brought_but_twenty_at_least() {
        let now = Instant::now();
        let mut evidence = Evidence::new(WINDOW, now);
        let add = |evidence: &mut Evidence, many| {
            for _ in 0..many {
                evidence.add(&sample("/", 1, Outcome::OriginFailed, now));
            }
        };
        add(&mut evidence, 99);
        assert_eq!(evidence.judged(now).batches, 0);
        add(&mut evidence, 1);
        assert_eq!(evidence.judged(now).last.all.requests, 100);
        add(&mut evidence, 19);
        assert_eq!(evidence.judged(now + WINDOW * 2).batches, 1);
        add(&mut evidence, 1);
        let judged = evidence.judged(now + WINDOW * 2);
        assert_eq!((judged.batches, judged.last.all.requests), (2, 20));
        assert_eq!(judged.all.errors, 120);
        assert_eq!(judged.succeeded, 0);
    }

    #[test]
    fn one_that_lately_succeeded_keeps_a_single_path_from_speaking_for_all() {
        let now = Instant::now();
        let heard = |at: Instant| {
            let mut evidence = Evidence::new(WINDOW, now);
            evidence.add(&sample("/ok", 2, Outcome::Completed, now));
            evidence.judged.batches = 0;
            evidence.open = Count::default();
            evidence.latest.clear();
            for _ in 0..100 {
                evidence.add(&sample("/broken", 1, Outcome::OriginFailed, at));
            }
            evidence.judged(at).last.share()
        };
        assert_eq!(heard(now), None);
        assert_eq!(heard(now + LATELY), Some(1.0));
    }

    #[test]
    fn who_succeeded_and_now_fails_speaks_for_nobody() {
        let now = Instant::now();
        let mut evidence = Evidence::new(WINDOW, now);
        for client in 0..5 {
            evidence.add(&sample("/film/1", client, Outcome::Completed, now));
        }
        evidence.open = Count::default();
        evidence.latest.clear();
        for n in 0..100 {
            evidence.add(&sample("/film/1", n % 5, Outcome::OriginFailed, now));
        }
        assert_eq!(evidence.judged(now).last.share(), Some(1.0));
    }

    #[test]
    fn of_a_batch_that_is_very_large_the_latest_are_looked_at() {
        let now = Instant::now();
        let mut evidence = Evidence::new(WINDOW, now);
        for n in 0..5000 {
            let failed = n % 2 == 0;
            let (path, outcome) = match failed {
                true => ("/broken", Outcome::OriginFailed),
                false => ("/ok", Outcome::Completed),
            };
            evidence.add(&sample(path, 1, outcome, now));
        }
        let batch = &evidence.judged(now).last;
        assert_eq!((batch.all.requests, batch.all.errors), (5000, 2500));
        assert_eq!(batch.share(), Some(0.0));
        assert_eq!(batch.weighed.rest.requests, LOOKED_AT as u64 / 2);
    }
}
