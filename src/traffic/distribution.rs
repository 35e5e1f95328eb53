//! Histograms with fixed buckets since the start, for Prometheus.

use std::time::Duration;

use super::sample::Sample;

/// Bucket bounds in seconds. The class boundaries are among them.
pub const SECONDS: [f64; 16] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];

/// Bucket bounds in bytes: 1 KiB to 1 GiB, each four times the previous.
pub const BYTES: [f64; 11] = {
    let mut bounds = [1024.0; 11];
    let mut at = 1;
    while at < bounds.len() {
        bounds[at] = bounds[at - 1] * 4.0;
        at += 1;
    }
    bounds
};

/// A histogram with the upper bounds `N`.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution<const N: usize> {
    bounds: &'static [f64; N],
    counts: [u64; N],
    count: u64,
    sum: f64,
}

impl<const N: usize> Distribution<N> {
    /// An empty histogram.
    pub fn new(bounds: &'static [f64; N]) -> Self {
        Self {
            bounds,
            counts: [0; N],
            count: 0,
            sum: 0.0,
        }
    }

    /// Counts one value.
    pub fn record(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
    }

    /// Each bound with the number of values at most that large.
    pub fn cumulated(&self) -> impl Iterator<Item = (f64, u64)> {
        self.bounds
            .iter()
            .zip(self.counts)
            .scan(0, |sum, (bound, count)| {
                *sum += count;
                Some((*bound, *sum))
            })
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Sum of the values.
    pub fn sum(&self) -> f64 {
        self.sum
    }
}

/// The histograms of all requests since the start.
#[derive(Clone, Debug, PartialEq)]
pub struct Distributions {
    /// From a request's head to its end, in seconds.
    pub total: Distribution<{ SECONDS.len() }>,
    /// From a request's head to the first byte for the client, in seconds.
    pub ttfb: Distribution<{ SECONDS.len() }>,
    /// From the request sent to the origin to its response head, in seconds.
    pub origin_ttfb: Distribution<{ SECONDS.len() }>,
    /// Response body bytes sent to the client.
    pub bytes: Distribution<{ BYTES.len() }>,
}

impl Default for Distributions {
    fn default() -> Self {
        Self {
            total: Distribution::new(&SECONDS),
            ttfb: Distribution::new(&SECONDS),
            origin_ttfb: Distribution::new(&SECONDS),
            bytes: Distribution::new(&BYTES),
        }
    }
}

impl Distributions {
    /// Counts one request.
    pub fn record(&mut self, sample: &Sample) {
        let seconds = Duration::as_secs_f64;
        self.total.record(seconds(&sample.total));
        if let Some(ttfb) = &sample.ttfb {
            self.ttfb.record(seconds(ttfb));
        }
        if let Some(ttfb) = &sample.origin_ttfb {
            self.origin_ttfb.record(seconds(ttfb));
        }
        self.bytes.record(sample.bytes as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_is_within_it_and_one_over_the_last_is_counted_too() {
        let mut spread = Distribution::new(&SECONDS);
        for value in [0.0, 0.005, 0.05, 0.0501, 300.0, 301.0] {
            spread.record(value);
        }
        let at_most = |bound| spread.cumulated().find(|(b, _)| *b == bound).unwrap().1;
        assert_eq!(at_most(0.005), 2);
        assert_eq!(at_most(0.05), 3);
        assert_eq!(at_most(0.1), 4);
        assert_eq!(at_most(300.0), 5);
        assert_eq!(spread.count(), 6);
        assert!((spread.sum() - 601.1051).abs() < 1e-9);
    }

    #[test]
    fn bounds_rise() {
        assert!(SECONDS.is_sorted_by(|a, b| a < b));
        assert!(BYTES.is_sorted_by(|a, b| a < b));
        assert_eq!((BYTES[0], BYTES[10]), (1024.0, 1_073_741_824.0));
    }
}
