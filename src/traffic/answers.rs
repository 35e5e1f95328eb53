//! Histogram of the origin's response times since it was last read. All workers add to it.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

/// Buckets for each doubling of time: a median is exact to one part in twelve.
const FINE: f64 = 8.0;
/// Number of buckets: from 8 microseconds to about 2 minutes.
const COUNTS: usize = 24 * FINE as usize;
/// Lower end of the first bucket, in seconds; it holds everything below twice as long.
const SHORTEST: f64 = 8e-6;

/// Times to the origin's response heads, as counts in buckets.
#[derive(Debug)]
pub struct Answers([AtomicU32; COUNTS]);

impl Default for Answers {
    fn default() -> Self {
        Answers([const { AtomicU32::new(0) }; COUNTS])
    }
}

/// A summary of the times in the histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Heard {
    /// Number of answers.
    pub answers: u64,
    /// The median time.
    pub median: Duration,
}

impl Answers {
    /// Adds one response time.
    pub fn add(&self, took: Duration) {
        let doublings = (took.as_secs_f64() / SHORTEST).max(1.0).log2();
        let count = ((doublings * FINE) as usize).min(COUNTS - 1);
        self.0[count].fetch_add(1, Relaxed);
    }

    /// Number of answers since the last [`Answers::take`].
    pub fn count(&self) -> u64 {
        self.0
            .iter()
            .map(|count| u64::from(count.load(Relaxed)))
            .sum()
    }

    /// Takes and clears the counts if there are at least `least` answers; otherwise they stay.
    pub fn take(&self, least: u64) -> Option<Heard> {
        if self.count() < least.max(1) {
            return None;
        }
        let mut counts = [0_u64; COUNTS];
        for (taken, count) in counts.iter_mut().zip(&self.0) {
            *taken = u64::from(count.swap(0, Relaxed));
        }
        let answers: u64 = counts.iter().sum();
        let mut below = 0;
        let middle = counts.iter().position(|count| {
            below += count;
            below * 2 >= answers
        })?;
        let doublings = (middle as f64 + 0.5) / FINE;
        Some(Heard {
            answers,
            median: Duration::from_secs_f64(SHORTEST * doublings.exp2()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_right_to_a_twelfth_from_microseconds_to_minutes() {
        for ms in [0.02, 0.3, 1.0, 47.0, 150.0, 2000.0, 90_000.0] {
            let answers = Answers::default();
            for factor in [0.2, 0.5, 1.0, 3.0, 100.0] {
                answers.add(Duration::from_secs_f64(ms * factor / 1e3));
            }
            let heard = answers.take(1).unwrap();
            let median = heard.median.as_secs_f64() * 1e3;
            assert!((median / ms - 1.0).abs() < 1.0 / 12.0, "{ms}: {median}");
            assert_eq!(heard.answers, 5);
        }
    }

    #[test]
    fn too_few_stay_until_there_are_enough() {
        let answers = Answers::default();
        answers.add(Duration::from_millis(1));
        assert_eq!(answers.take(2), None);
        answers.add(Duration::ZERO);
        assert_eq!(answers.take(2).unwrap().answers, 2);
        assert_eq!(answers.take(1), None);
    }
}
