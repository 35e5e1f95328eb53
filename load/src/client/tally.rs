//! The sum of what all clients saw.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::verdict::{Outcome, Verdict};

/// Percentiles of a time, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// Half of them took at most this.
    pub p50: f64,
    /// 95 of 100.
    pub p95: f64,
    /// 99 of 100.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// Completed requests for files of about one size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SizeClass {
    /// The largest file of the class, in bytes; the next smaller class ends at a quarter of it.
    pub up_to: u64,
    /// How many there were.
    pub completed: u64,
    /// The mean length of their bodies, in bytes.
    pub mean_bytes: f64,
    /// Half of them took at most this, in milliseconds.
    pub p50_ms: f64,
}

/// What the clients saw, for the run's record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Length of the counted time in seconds.
    pub seconds: f64,
    /// Requests begun in it.
    pub requests: u64,
    /// Of these, how many brought the whole right file.
    pub completed: u64,
    /// How many brought nothing usable.
    pub failed: u64,
    /// How many broke off visibly.
    pub truncated: u64,
    /// How many brought something wrong as if it were right.
    pub wrong: u64,
    /// How many were still under way when the run ended.
    pub unfinished: u64,
    /// Why, for all that were not completed.
    pub reasons: BTreeMap<String, u64>,
    /// Completed within the counted time, whenever they began, per second.
    pub requests_per_second: f64,
    /// Bytes of body that came within the counted time.
    pub bytes: u64,
    /// The same as bits per second.
    pub goodput_bits: f64,
    /// From asking to the last byte, of completed requests; one still under way at the end of the run counts with the
    /// time it had taken so far.
    pub total_ms: Times,
    /// From asking to the first byte of the head, of completed requests.
    pub first_byte_ms: Times,
    /// Completed requests by the size of the file; classes without any are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_size: Vec<SizeClass>,
    /// Downloads only: seconds since the request, and bytes that had come by then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arrivals: Vec<(f64, u64)>,
    /// Viewers only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub viewing: Option<Viewing>,
}

/// What viewers saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Viewing {
    /// Viewers.
    pub viewers: u64,
    /// Time stalled, per time stalled or playing, 0 to 1. The first start is not in it, unless it never came.
    pub rebuffering: f64,
    /// Seconds played, all viewers.
    pub played_seconds: f64,
    /// Seconds stalled, all viewers.
    pub stalled_seconds: f64,
    /// Stalls, all viewers.
    pub stalls: u64,
    /// Segments nobody waited for any longer.
    pub skipped: u64,
    /// Median time until the picture first moved, in milliseconds.
    pub startup_p50_ms: f64,
    /// Viewers who never saw a picture.
    pub never_started: u64,
}

/// Counts as it goes.
#[derive(Debug)]
pub struct Tally {
    total: Histogram<u64>,
    first_byte: Histogram<u64>,
    summary: Summary,
    within: u64,
    /// By the upper end of a class: total times, and the sum of the bytes.
    sizes: BTreeMap<u64, (Histogram<u64>, u64)>,
}

/// The upper end of a file's class: a power of 4 from 1 KiB on.
const fn class(bytes: u64) -> u64 {
    let mut up_to = 1024;
    while up_to < bytes {
        up_to *= 4;
    }
    up_to
}

#[expect(clippy::expect_used, reason = "three digits are always allowed")]
fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits")
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

fn times(histogram: &Histogram<u64>) -> Times {
    let at = |q| {
        if histogram.is_empty() {
            0.0
        } else {
            histogram.value_at_quantile(q) as f64 / 1e3
        }
    };
    Times {
        p50: at(0.5),
        p95: at(0.95),
        p99: at(0.99),
        max: histogram.max() as f64 / 1e3,
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

impl Tally {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            total: histogram(),
            first_byte: histogram(),
            summary: Summary::default(),
            within: 0,
            sizes: BTreeMap::new(),
        }
    }

    /// A request was completed within the counted time.
    pub const fn completed_within(&mut self) {
        self.within += 1;
    }

    /// A request begun in the counted time is still under way at the end of the run, after so long.
    pub fn unfinished(&mut self, so_far: Duration) {
        self.summary.requests += 1;
        self.summary.unfinished += 1;
        _ = self.total.record(micros(so_far));
    }

    /// A request begun in the counted time ended.
    pub fn add(&mut self, outcome: &Outcome) {
        let s = &mut self.summary;
        s.requests += 1;
        let why = match outcome.verdict {
            Verdict::Completed => {
                s.completed += 1;
                // A histogram that grows takes any value.
                _ = self.total.record(micros(outcome.total));
                let size = self.sizes.entry(class(outcome.bytes));
                let (times, bytes) = size.or_insert_with(|| (histogram(), 0));
                _ = times.record(micros(outcome.total));
                *bytes += outcome.bytes;
                if let Some(first) = outcome.first_byte {
                    _ = self.first_byte.record(micros(first));
                }
                return;
            }
            Verdict::Failed(why) => {
                s.failed += 1;
                why
            }
            Verdict::Truncated(why) => {
                s.truncated += 1;
                why
            }
            Verdict::Wrong(why) => {
                s.wrong += 1;
                why
            }
        };
        *s.reasons.entry(why.to_owned()).or_default() += 1;
    }

    /// Completed so far.
    #[must_use]
    pub const fn completed(&self) -> u64 {
        self.summary.completed
    }

    /// The sum: bytes that came, and the length of the counted time.
    #[must_use]
    pub fn finish(mut self, bytes: u64, lasting: Duration) -> Summary {
        let seconds = lasting.as_secs_f64();
        let s = &mut self.summary;
        s.seconds = seconds;
        s.bytes = bytes;
        s.requests_per_second = self.within as f64 / seconds;
        s.goodput_bits = bytes as f64 * 8.0 / seconds;
        s.total_ms = times(&self.total);
        s.first_byte_ms = times(&self.first_byte);
        let of_size = |(up_to, (total, bytes)): (&u64, &(Histogram<u64>, u64))| SizeClass {
            up_to: *up_to,
            completed: total.len(),
            mean_bytes: *bytes as f64 / total.len().max(1) as f64,
            p50_ms: times(total).p50,
        };
        s.by_size = self.sizes.iter().map(of_size).collect();
        self.summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verdict_is_counted_once_and_failed_ones_have_no_times() {
        let mut tally = Tally::new();
        let outcome = |verdict, ms| Outcome {
            verdict,
            status: 200,
            bytes: 10,
            first_byte: Some(Duration::from_millis(ms / 2)),
            total: Duration::from_millis(ms),
            text: Vec::new(),
        };
        tally.add(&outcome(Verdict::Completed, 100));
        tally.completed_within();
        tally.add(&outcome(Verdict::Completed, 300));
        tally.add(&outcome(Verdict::Failed("status 503"), 9000));
        tally.add(&outcome(Verdict::Truncated("reset"), 9000));
        tally.add(&outcome(Verdict::Wrong("x"), 9000));
        tally.unfinished(Duration::from_millis(150));
        tally.unfinished(Duration::from_millis(150));
        let summary = tally.finish(1000, Duration::from_secs(2));
        assert_eq!(
            (
                summary.requests,
                summary.completed,
                summary.failed,
                summary.truncated,
                summary.wrong
            ),
            (7, 2, 1, 1, 1)
        );
        assert_eq!(summary.requests_per_second, 0.5);
        assert_eq!(summary.goodput_bits, 4000.0);
        assert!((summary.total_ms.p50 - 150.0).abs() < 1.0);
        let [small] = summary.by_size[..] else {
            panic!("{:?}", summary.by_size)
        };
        assert_eq!(
            (small.up_to, small.completed, small.mean_bytes),
            (1024, 2, 10.0)
        );
        assert!((small.p50_ms - 100.0).abs() < 1.0);
        assert_eq!(
            [1024, 1025, 4096, 4097].map(class),
            [1024, 4096, 4096, 16_384]
        );
        assert!(
            (summary.total_ms.p99 - 300.0).abs() < 1.0,
            "{:?}",
            summary.total_ms
        );
    }
}
