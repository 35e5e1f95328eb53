//! What is computed from the samples of one origin: response time, rate limit input, and reachability.

use std::time::{Duration, Instant};

use super::{
    evidence::Evidence,
    origin_summary::{Contact, OriginSummary},
    quality,
    response_times::ResponseTimes,
    sample::Sample,
};

/// Parameters for that, the same for each origin.
#[derive(Clone, Copy, Debug)]
pub struct Judging {
    /// Length of the classifier's window.
    pub class_window: Duration,
    /// With fewer answers than these, the classifier looks further back.
    pub min_samples: u64,
    /// But at most this far.
    pub reach: Duration,
    /// The longest time between two judgements of the rate limit.
    pub judged_after: Duration,
}

impl Judging {
    /// From the settings. `reach`: `metrics.window`; `judged_after`: `rate_limit.window`.
    pub fn new(quality: &quality::Settings, reach: Duration, judged_after: Duration) -> Self {
        Judging {
            class_window: quality.window,
            min_samples: quality.min_samples,
            reach,
            judged_after,
        }
    }
}

/// Aggregated samples of one origin, in constant memory.
#[derive(Debug)]
pub struct OriginWindow {
    evidence: Evidence,
    response_times: ResponseTimes,
    contact: Contact,
}

impl OriginWindow {
    /// Empty.
    pub fn new(judging: &Judging, now: Instant) -> Self {
        OriginWindow {
            evidence: Evidence::new(judging.judged_after, now),
            response_times: ResponseTimes::new(
                judging.class_window,
                judging.min_samples,
                judging.reach,
            ),
            contact: Contact::default(),
        }
    }

    /// Changes the longest time between two judgements of the rate limit.
    pub fn judge_after(&mut self, window: Duration) {
        self.evidence.set_window(window);
    }

    /// Counts one sample.
    pub fn record(&mut self, sample: &Sample) {
        self.response_times.add(sample);
        if sample.reached_origin() {
            self.evidence.add(sample);
            self.contact.note(sample);
        }
    }

    /// The summary at `now`.
    pub fn summary(&mut self, now: Instant) -> OriginSummary {
        OriginSummary {
            pace: self.response_times.pace(now),
            judged: self.evidence.judged(now).clone(),
            contact: self.contact,
        }
    }
}
