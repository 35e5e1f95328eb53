//! Counts samples, since the start and over a sliding window, in constant memory.
//!
//! Time is divided into slots of a second or less. Each slot has its own histogram, so that a slot leaves the window by
//! subtraction, and nothing is recounted. Slots without samples take no memory.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use hdrhistogram::{Counter, Histogram};
use serde::{Deserialize, Serialize};

use super::{
    distribution::Distributions,
    origin_id::OriginId,
    origin_window::{Judging, OriginWindow},
    quality,
    sample::{Outcome, Sample},
    summary::{Figures, Summary, Times},
};
use crate::{reloadable::reloadable, units::OutOfRange};

/// `[metrics]`: how requests are counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How often the window is summed up, and classifier, limiter and Redis get the summary.
    #[serde(with = "humantime_serde")]
    pub tick: Duration,
    /// Length of the sliding window of /stats.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
}

reloadable!(Settings {
    tick: AfterRestart,
    window: AfterRestart,
});

impl Settings {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that makes no sense.
    pub fn check(&self) -> Result<(), OutOfRange> {
        OutOfRange::unless_between(
            "metrics.tick",
            Duration::from_millis(10),
            self.tick,
            Duration::from_secs(60),
        )?;
        OutOfRange::unless_between(
            "metrics.window",
            Duration::from_secs(1),
            self.window,
            Duration::from_secs(3600),
        )
    }
}

/// Counts samples since the start and over a sliding window.
#[derive(Debug)]
pub struct Window {
    start: Instant,
    slot: Duration,
    /// Number of slots in the sliding window.
    slots: u64,
    total: Tally<u64>,
    sliding: Tally<u32>,
    /// The window's slots that contain samples, oldest first.
    past: VecDeque<(u64, Tally<u32>)>,
    /// How origins are judged by their samples; none for a window that is not used for that.
    judging: Option<Judging>,
    /// The aggregated samples of each origin.
    origins: BTreeMap<OriginId, OriginWindow>,
    spread: Distributions,
}

impl Window {
    /// An empty window that starts at `start`. `judged_after`: the longest time between two judgements of the rate limit.
    pub fn new(
        settings: &Settings,
        quality: &quality::Settings,
        judged_after: Duration,
        start: Instant,
    ) -> Self {
        // a fifth of the classifier's window, so that it slides rather than jumps
        let slot = (quality.window / 5)
            .max(settings.window / 600)
            .clamp(Duration::from_millis(1), Duration::from_secs(1));
        let slots_in = |span: Duration| (span.as_nanos().div_ceil(slot.as_nanos()) as u64).max(1);
        let slots = slots_in(settings.window);
        Self {
            judging: Some(Judging::new(quality, settings.window, judged_after)),
            ..Self::plain(slot, slots, start)
        }
    }

    /// An empty window with this many slots, without judgement of origins.
    pub fn plain(slot: Duration, slots: u64, start: Instant) -> Self {
        Self {
            start,
            slot,
            slots,
            total: Tally::new(3),
            sliding: Tally::new(2),
            past: VecDeque::new(),
            judging: None,
            origins: BTreeMap::new(),
            spread: Distributions::default(),
        }
    }

    /// Changes the longest time between two judgements of the rate limit.
    pub fn judge_after(&mut self, window: Duration) {
        if let Some(judging) = &mut self.judging {
            judging.judged_after = window;
        }
        for origin in self.origins.values_mut() {
            origin.judge_after(window);
        }
    }

    /// Counts one sample.
    pub fn record(&mut self, sample: &Sample) {
        self.total.record(sample);
        self.spread.record(sample);
        if let Some(judging) = &self.judging {
            let new = || OriginWindow::new(judging, self.start);
            self.origins
                .entry(sample.origin)
                .or_insert_with(new)
                .record(sample);
        }

        let slot = self.slot_of(sample.ended);
        let newest = self
            .past
            .back()
            .map_or(slot, |(newest, _)| slot.max(*newest));
        if newest - slot >= self.slots {
            return; // too old for the window
        }
        let at = self.past.partition_point(|(past, _)| *past < slot);
        if self.past.get(at).is_none_or(|(past, _)| *past != slot) {
            self.past.insert(at, (slot, Tally::new(2)));
        }
        self.past[at].1.record(sample);
        self.sliding.record(sample);
        self.forget_before(newest);
    }

    /// The summary at `now`.
    pub fn summary(&mut self, now: Instant) -> Summary {
        let slot = self.slot_of(now);
        self.forget_before(slot);
        let reach = self.slot * u32::try_from(self.slots - 1).unwrap_or(u32::MAX);
        let age = now.saturating_duration_since(self.start);
        let into_slot = age.saturating_sub(self.slot * u32::try_from(slot).unwrap_or(u32::MAX));
        let origins = self.origins.iter_mut();
        let origins = origins
            .map(|(id, origin)| (*id, origin.summary(now)))
            .collect();
        let mut window = self.sliding.figures();
        self.bound_by_slots(&mut window);
        Summary {
            at: now,
            total: self.total.figures(),
            window,
            covers: age.min(reach + into_slot),
            origins,
            spread: self.spread.clone(),
        }
    }

    fn slot_of(&self, at: Instant) -> u64 {
        (at.saturating_duration_since(self.start).as_nanos() / self.slot.as_nanos()) as u64
    }

    /// Drops the slots that leave the window when `newest` is its last.
    fn forget_before(&mut self, newest: u64) {
        while let Some((slot, _)) = self.past.front()
            && newest.saturating_sub(*slot) >= self.slots
        {
            if let Some((_, tally)) = self.past.pop_front() {
                self.sliding.subtract(&tally);
            }
        }
    }

    /// Minimum and maximum cannot be subtracted: they are computed from the slots.
    fn bound_by_slots(&self, window: &mut Figures) {
        let bound = |times: &mut Times, of: fn(&Tally<u32>) -> &Timing<u32>| {
            let used = || {
                self.past
                    .iter()
                    .map(|(_, tally)| of(tally))
                    .filter(|t| t.count > 0)
            };
            times.min = used().map(|t| t.min).min().unwrap_or_default();
            times.max = used().map(|t| t.max).max().unwrap_or_default();
            times.settle();
        };
        bound(&mut window.total, |tally| &tally.time);
        bound(&mut window.ttfb, |tally| &tally.ttfb);
        bound(&mut window.origin_ttfb, |tally| &tally.origin_ttfb);
    }
}

/// Sums over one slot or the window.
#[derive(Debug)]
struct Tally<C: Counter> {
    requests: u64,
    errors: u64,
    bytes: u64,
    outcomes: [u64; Outcome::ALL.len()],
    time: Timing<C>,
    ttfb: Timing<C>,
    origin_ttfb: Timing<C>,
}

impl<C: Counter> Tally<C> {
    fn new(digits: u8) -> Self {
        Self {
            requests: 0,
            errors: 0,
            bytes: 0,
            outcomes: [0; Outcome::ALL.len()],
            time: Timing::new(digits),
            ttfb: Timing::new(digits),
            origin_ttfb: Timing::new(digits),
        }
    }

    fn record(&mut self, sample: &Sample) {
        self.requests += 1;
        self.errors += u64::from(sample.outcome.is_origin_error());
        self.bytes = self.bytes.saturating_add(sample.bytes);
        self.outcomes[sample.outcome as usize] += 1;
        self.time.record(Some(sample.total));
        self.ttfb.record(sample.ttfb);
        self.origin_ttfb.record(sample.origin_ttfb);
    }

    fn subtract(&mut self, gone: &Self) {
        self.requests -= gone.requests;
        self.errors -= gone.errors;
        self.bytes = self.bytes.saturating_sub(gone.bytes);
        for (count, gone) in self.outcomes.iter_mut().zip(gone.outcomes) {
            *count -= gone;
        }
        self.time.subtract(&gone.time);
        self.ttfb.subtract(&gone.ttfb);
        self.origin_ttfb.subtract(&gone.origin_ttfb);
    }

    fn figures(&self) -> Figures {
        Figures {
            requests: self.requests,
            errors: self.errors,
            bytes: self.bytes,
            outcomes: self.outcomes,
            total: self.time.times(),
            ttfb: self.ttfb.times(),
            origin_ttfb: self.origin_ttfb.times(),
        }
    }
}

/// Statistics of durations, in microseconds.
#[derive(Debug)]
pub(super) struct Timing<C: Counter> {
    pub count: u64,
    sum: Duration,
    min: Duration,
    max: Duration,
    /// None only if the library refused the precision, which it does not for 2 and 3 digits.
    histogram: Option<Histogram<C>>,
}

impl<C: Counter> Timing<C> {
    pub fn new(digits: u8) -> Self {
        Self {
            count: 0,
            sum: Duration::ZERO,
            min: Duration::MAX,
            max: Duration::ZERO,
            histogram: Histogram::new(digits).ok(),
        }
    }

    pub fn record(&mut self, duration: Option<Duration>) {
        // a day is enough: the histogram grows with its longest value
        const LONGEST: Duration = Duration::from_secs(86_400);
        let Some(duration) = duration.map(|duration| duration.min(LONGEST)) else {
            return;
        };
        self.count += 1;
        self.sum += duration;
        self.min = self.min.min(duration);
        self.max = self.max.max(duration);
        if let Some(histogram) = &mut self.histogram {
            _ = histogram.record(duration.as_micros() as u64);
        }
    }

    pub fn subtract(&mut self, gone: &Self) {
        self.count -= gone.count;
        self.sum = self.sum.saturating_sub(gone.sum);
        if let (Some(histogram), Some(gone)) = (&mut self.histogram, &gone.histogram) {
            _ = histogram.subtract(gone);
        }
    }

    pub fn quantile(&self, quantile: f64) -> Duration {
        let histogram = self.histogram.as_ref();
        Duration::from_micros(histogram.map_or(0, |h| h.value_at_quantile(quantile)))
    }

    fn times(&self) -> Times {
        if self.count == 0 {
            return Times::default();
        }
        let mut times = Times {
            count: self.count,
            min: self.min,
            avg: self.sum.div_f64(self.count as f64),
            max: self.max,
            p50: self.quantile(0.50),
            p95: self.quantile(0.95),
            p99: self.quantile(0.99),
        };
        times.settle();
        times
    }
}

impl Times {
    /// Limits percentiles to the maximum: a percentile is the upper end of its bucket, which can exceed it by one percent.
    fn settle(&mut self) {
        for percentile in [&mut self.p50, &mut self.p95, &mut self.p99] {
            *percentile = (*percentile).max(self.min).min(self.max);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::traffic::origin_id::OriginId;
    use crate::traffic::{keys::Keys, outliers::Count};

    const SECOND: Duration = Duration::from_secs(1);
    const ORIGIN: OriginId = OriginId(0);

    fn window(start: Instant) -> Window {
        Window::new(
            &Settings {
                tick: SECOND,
                window: SECOND * 60,
            },
            &quality::Settings {
                window: SECOND * 5,
                hold: 3,
                min_samples: 5,
                margin: 0.1,
                probe: SECOND * 5,
            },
            SECOND * 10,
            start,
        )
    }

    fn sample(ended: Instant, outcome: Outcome, millis: u64) -> Sample {
        Sample {
            ended,
            outcome,
            origin_ttfb: Some(Duration::from_millis(millis)),
            ttfb: Some(Duration::from_millis(millis + 1)),
            total: Duration::from_millis(millis * 2),
            bytes: 1_000_000,
            origin: OriginId::default(),
            keys: Keys::default(),
            canary: None,
        }
    }

    #[test]
    fn before_the_first_sample_everything_is_zero() {
        let start = Instant::now();
        let summary = window(start).summary(start + SECOND);
        assert_eq!(summary.total, Figures::default());
        assert_eq!(summary.window, Figures::default());
        assert_eq!(summary.of(ORIGIN).pace.median, None);
        assert_eq!(summary.throughput_mbps(), 0.0);
    }

    #[test]
    fn totals_stay_when_the_window_has_passed() {
        let start = Instant::now();
        let mut window = window(start);
        window.record(&sample(start + SECOND, Outcome::Completed, 10));
        window.record(&sample(start + SECOND * 2, Outcome::OriginTimeout, 30));

        let summary = window.summary(start + SECOND * 3);
        assert_eq!(summary.window.requests, 2);
        assert_eq!(summary.window.errors, 1);
        assert_eq!(summary.window.total.max, Duration::from_millis(60));

        let summary = window.summary(start + SECOND * 61);
        assert_eq!(summary.window.requests, 1, "the first has left");
        assert_eq!(summary.window.total.min, Duration::from_millis(60));

        let summary = window.summary(start + SECOND * 500);
        assert_eq!(summary.window, Figures::default());
        assert_eq!(summary.total.requests, 2);
        assert_eq!(summary.total.bytes, 2_000_000);
        assert_eq!(summary.total.total.min, Duration::from_millis(20));
        assert_eq!(summary.total.total.avg, Duration::from_millis(40));
    }

    #[test]
    fn throughput_is_per_second_of_the_time_that_the_window_covers() {
        let start = Instant::now();
        let mut window = window(start);
        for _ in 0..10 {
            window.record(&sample(start + SECOND, Outcome::Completed, 10));
        }
        // 10 MB in the first 4 seconds
        let summary = window.summary(start + SECOND * 4);
        assert_eq!(summary.covers, SECOND * 4);
        assert!((summary.throughput_mbps() - 20.0).abs() < 1e-9);
        let late = window.summary(start + SECOND * 1000);
        assert!(late.covers <= SECOND * 60 && late.covers >= SECOND * 59);
    }

    #[test]
    fn the_median_is_taken_over_the_classifiers_window() {
        let start = Instant::now();
        let mut window = window(start);
        for _ in 0..100 {
            window.record(&sample(start, Outcome::Completed, 400));
        }
        for _ in 0..9 {
            window.record(&sample(start + SECOND * 8, Outcome::Completed, 20));
        }
        let origin = window.summary(start + SECOND * 9).of(ORIGIN).pace;
        assert_eq!((origin.samples, origin.seen), (9, 109));
        let median = origin.median.unwrap().as_secs_f64();
        assert!((0.0198..=0.0202).contains(&median), "{median}");
    }

    #[test]
    fn with_few_requests_the_median_looks_further_back() {
        let start = Instant::now();
        let mut window = window(start);
        for i in 0..10 {
            window.record(&sample(start + SECOND * 4 * i, Outcome::Completed, 200));
        }
        let origin = window.summary(start + SECOND * 37).of(ORIGIN).pace;
        assert_eq!(origin.samples, 5, "enough, and no more than it takes");
    }

    #[test]
    fn failures_in_a_row_count_until_the_origin_answers() {
        let start = Instant::now();
        let mut window = window(start);
        let failed = Sample {
            origin_ttfb: None,
            ..sample(start, Outcome::ConnectFailed, 1)
        };
        window.record(&failed);
        window.record(&failed);
        let contact = window.summary(start).of(ORIGIN).contact;
        assert_eq!((contact.failures, contact.refused), (2, true));
        window.record(&sample(start + SECOND, Outcome::OriginFailed, 1));
        let contact = window.summary(start + SECOND).of(ORIGIN).contact;
        assert_eq!(contact.failures, 0);
        assert_eq!(contact.answered, Some(start + SECOND));
    }

    #[test]
    fn what_one_origin_does_says_nothing_of_another() {
        let start = Instant::now();
        let mut window = window(start);
        for _ in 0..30 {
            window.record(&sample(start, Outcome::Completed, 5));
            window.record(&Sample {
                origin: OriginId(1),
                ..sample(start, Outcome::OriginFailed, 700)
            });
        }
        let summary = window.summary(start);
        let told = [ORIGIN, OriginId(1)].map(|id| {
            let of = summary.of(id);
            (of.pace.samples, of.judged.all.errors, of.pace.median)
        });
        assert_eq!((told[0].0, told[0].1), (30, 0));
        assert_eq!((told[1].0, told[1].1), (30, 30));
        assert!(told[0].2 < told[1].2, "{told:?}");
        assert_eq!(summary.total.requests, 60, "clients see both");
    }

    #[test]
    fn who_got_the_answer_of_another_request_says_nothing_of_the_origin() {
        let start = Instant::now();
        let mut window = window(start);
        window.record(&sample(start, Outcome::Completed, 1));
        window.record(&Sample {
            origin_ttfb: None,
            ..sample(start, Outcome::Completed, 1)
        });
        let summary = window.summary(start);
        assert_eq!(summary.total.requests, 2);
        assert_eq!(summary.of(ORIGIN).judged.all.requests, 1);
    }

    #[test]
    fn requests_that_were_turned_away_are_not_held_against_the_origin() {
        let start = Instant::now();
        let mut window = window(start);
        window.record(&sample(start, Outcome::Completed, 1));
        window.record(&sample(start, Outcome::RateLimited, 1));
        window.record(&sample(start, Outcome::Overloaded, 1));
        window.record(&sample(start, Outcome::OriginBroken, 1));
        let summary = window.summary(start);
        assert_eq!(summary.total.requests, 4);
        assert_eq!(
            summary.of(ORIGIN).judged.all,
            Count {
                requests: 2,
                errors: 1
            }
        );
    }

    #[test]
    fn an_absurd_duration_does_no_harm() {
        let start = Instant::now();
        let mut window = window(start);
        window.record(&Sample {
            total: Duration::MAX,
            ..sample(start, Outcome::Completed, 1)
        });
        assert_eq!(window.summary(start).total.total.max, SECOND * 86_400);
    }

    /// The reference implementation: keep every sample, and sort.
    fn naive(samples: &[Sample], keep: impl Fn(&Sample) -> bool) -> (u64, u64, u64, Vec<Duration>) {
        let kept: Vec<_> = samples.iter().filter(|s| keep(s)).collect();
        let mut times: Vec<_> = kept.iter().map(|s| s.total).collect();
        times.sort_unstable();
        (
            kept.len() as u64,
            kept.iter().filter(|s| s.outcome.is_origin_error()).count() as u64,
            kept.iter().map(|s| s.bytes).sum(),
            times,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_agrees_with_keeping_every_sample(
            steps in proptest::collection::vec(
                (0u64..4_000, 0usize..10, 0u64..100_000_000, 0u64..10_000_000, 0u64..3_000, any::<bool>()),
                1..300,
            ),
        ) {
            let start = Instant::now();
            let mut window = window(start);
            let mut now = start;
            let mut samples = Vec::new();
            for (gap, outcome, micros, bytes, late, look) in steps {
                now += Duration::from_millis(gap);
                // workers deliver in batches: a sample may be older than the newest
                let ended = (now - Duration::from_millis(late)).max(start);
                let sample = Sample {
                    ended,
                    outcome: Outcome::ALL[outcome],
                    origin_ttfb: None,
                    ttfb: None,
                    total: Duration::from_micros(micros),
                    bytes,
                    origin: OriginId::default(),
                    keys: Keys::default(),
                    canary: None,
                };
                window.record(&sample);
                samples.push(sample);
                if !look {
                    continue;
                }
                let summary = window.summary(now);
                let slot = |at: Instant| (at - start).as_secs();
                for (figures, (requests, errors, bytes, times)) in [
                    (&summary.total, naive(&samples, |_| true)),
                    (&summary.window, naive(&samples, |s| slot(now) - slot(s.ended) < 60)),
                ] {
                    prop_assert_eq!(figures.requests, requests);
                    prop_assert_eq!(figures.errors, errors);
                    prop_assert_eq!(figures.bytes, bytes);
                    prop_assert_eq!(figures.outcomes.iter().sum::<u64>(), requests);
                    prop_assert_eq!(figures.total.min, times.first().copied().unwrap_or_default());
                    prop_assert_eq!(figures.total.max, times.last().copied().unwrap_or_default());
                    for (share, told) in
                        [(0.5, figures.total.p50), (0.95, figures.total.p95), (0.99, figures.total.p99)]
                    {
                        let Some(rank) = ((times.len() as f64 * share).ceil() as usize).checked_sub(1) else {
                            continue;
                        };
                        let exact = times[rank].as_secs_f64();
                        prop_assert!((told.as_secs_f64() - exact).abs() <= exact * 0.01 + 1e-6, "{told:?} {exact}");
                    }
                }
            }
        }
    }
}
