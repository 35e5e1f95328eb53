//! The class of a network, by the origin's response time.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::origin_summary::OriginPace;
use crate::{
    reloadable::reloadable,
    units::{OutOfRange, readable},
};

/// The quality of a network.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Under 50 ms to the origin's first byte.
    #[default]
    Good,
    /// 50 to 150 ms.
    Medium,
    /// 150 to 300 ms.
    Poor,
    /// Over 300 ms.
    VeryPoor,
}

impl Class {
    /// Every class, best first.
    pub const ALL: [Class; 4] = [Class::Good, Class::Medium, Class::Poor, Class::VeryPoor];

    /// The class of a median time to the origin's first byte.
    pub fn of(response_time: Duration) -> Self {
        match response_time.as_micros() {
            0..50_000 => Class::Good,
            50_000..150_000 => Class::Medium,
            150_000..=300_000 => Class::Poor,
            _ => Class::VeryPoor,
        }
    }

    /// The class's name in settings, JSON and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Good => "good",
            Class::Medium => "medium",
            Class::Poor => "poor",
            Class::VeryPoor => "very_poor",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `[quality]`: how the class of a network is determined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Length of the window for the median.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
    /// Number of ticks in a row that must show another class before it changes.
    pub hold: u32,
    /// Least number of samples; with few requests, older ones are included.
    pub min_samples: u64,
    /// Hysteresis: how far below a boundary, as a share of it, the median must fall for a better class.
    pub margin: f64,
    /// After this time without a request, the origin is probed by opening a TCP connection; 0s: never.
    #[serde(with = "humantime_serde")]
    pub probe: Duration,
}

reloadable!(Settings {
    window: AfterRestart,
    hold: AtOnce,
    min_samples: AfterRestart,
    margin: AtOnce,
    probe: AtOnce,
});

impl Settings {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that makes no sense.
    pub fn check(&self) -> Result<(), OutOfRange> {
        OutOfRange::unless_between(
            "quality.window",
            Duration::from_millis(10),
            self.window,
            Duration::from_secs(600),
        )?;
        OutOfRange::unless(
            (1..=100).contains(&self.hold),
            "quality.hold",
            "1 to 100",
            self.hold,
        )?;
        OutOfRange::unless(
            (1..=10_000).contains(&self.min_samples),
            "quality.min_samples",
            "1 to 10000",
            self.min_samples,
        )?;
        OutOfRange::unless(
            (0.0..=0.5).contains(&self.margin),
            "quality.margin",
            "0 to 0.5",
            self.margin,
        )?;
        OutOfRange::unless(
            self.probe.is_zero()
                || (Duration::from_millis(10)..=Duration::from_secs(3600)).contains(&self.probe),
            "quality.probe",
            "0s, or 10ms to 1h",
            readable(self.probe),
        )
    }
}

/// A change of class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassChange {
    /// The class before.
    pub from: Class,
    /// The class from now on.
    pub to: Class,
    /// The reason, in words.
    pub why: String,
}

/// Determines the class of one origin, with protection against flapping.
///
/// Two rules prevent flapping at a boundary: a change must hold for several ticks in a row, each with new samples; and a better
/// class is reached only `margin` below the boundary.
#[derive(Debug)]
pub struct Classifier {
    hold: u32,
    min_samples: u64,
    margin: f64,
    class: Class,
    /// A change that has not held long enough yet.
    pending: Option<Pending>,
    /// Number of samples at the last tick.
    seen: u64,
    /// Whether the class is based on samples, not the initial one.
    judged: bool,
}

#[derive(Debug)]
struct Pending {
    /// The class closest to the current one that was seen since the change began.
    nearest: Class,
    held: u32,
}

impl Classifier {
    /// A classifier with the initial class `class`.
    pub fn new(settings: &Settings, class: Class) -> Self {
        Self {
            hold: settings.hold,
            min_samples: settings.min_samples,
            margin: settings.margin,
            class,
            pending: None,
            seen: 0,
            judged: false,
        }
    }

    /// Whether the class is based on samples.
    pub fn is_judged(&self) -> bool {
        self.judged
    }

    /// The class in force.
    pub fn class(&self) -> Class {
        self.class
    }

    /// Takes the summary of one tick. Returns the change of class, if there is one.
    pub fn observe(&mut self, pace: OriginPace) -> Option<ClassChange> {
        let median = pace.median?;
        if pace.samples < self.min_samples || pace.seen == self.seen {
            return None; // no new samples: neither for nor against the pending change
        }
        self.seen = pace.seen;

        let class = self.class_of(median);
        if class == self.class {
            self.pending = None;
            self.judged = true;
            return None;
        }
        let worse = class > self.class;
        let pending = match self.pending.take() {
            // the same direction as before: the nearer class held all the time
            Some(Pending { nearest, held }) if (nearest > self.class) == worse => Pending {
                nearest: if worse {
                    nearest.min(class)
                } else {
                    nearest.max(class)
                },
                held: held + 1,
            },
            _ => Pending {
                nearest: class,
                held: 1,
            },
        };
        if pending.held < self.hold {
            self.pending = Some(pending);
            return None;
        }
        let from = std::mem::replace(&mut self.class, pending.nearest);
        self.judged = true;
        Some(ClassChange {
            from,
            to: self.class,
            why: format!(
                "median origin response time {:.0} ms over {} requests, held for {} windows",
                median.as_secs_f64() * 1000.0,
                pace.samples,
                pending.held
            ),
        })
    }

    /// The class of a median, with hysteresis relative to the current class.
    fn class_of(&self, median: Duration) -> Class {
        let class = Class::of(median);
        let one_better = Class::of(median.div_f64(1.0 - self.margin)) == self.class;
        if class < self.class && one_better {
            self.class
        } else {
            class
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings() -> Settings {
        Settings {
            window: Duration::from_secs(5),
            hold: 3,
            min_samples: 5,
            margin: 0.1,
            probe: Duration::from_secs(5),
        }
    }

    /// Feeds one median (in milliseconds) per tick, with ten samples each; returns the changes with their ticks.
    fn run(
        classifier: &mut Classifier,
        medians: impl IntoIterator<Item = u64>,
    ) -> Vec<(usize, Class)> {
        let seen = classifier.seen;
        medians
            .into_iter()
            .enumerate()
            .filter_map(|(tick, millis)| {
                let pace = OriginPace {
                    median: Some(Duration::from_millis(millis)),
                    samples: 10,
                    seen: seen + 10 * (tick as u64 + 1),
                };
                classifier.observe(pace).map(|change| (tick, change.to))
            })
            .collect()
    }

    #[test]
    fn the_class_at_the_start_is_judged_only_by_samples() {
        let mut classifier = Classifier::new(&settings(), Class::Good);
        run(&mut classifier, [500, 500]);
        assert!(!classifier.is_judged(), "it has not held yet");
        run(&mut classifier, [500]);
        assert!(classifier.is_judged());
        let mut classifier = Classifier::new(&settings(), Class::Good);
        run(&mut classifier, [5]);
        assert!(classifier.is_judged());
    }

    #[test]
    fn the_boundaries_are_those_of_the_contract() {
        for (millis, class) in [
            (0, Class::Good),
            (49, Class::Good),
            (50, Class::Medium),
            (149, Class::Medium),
            (150, Class::Poor),
            (300, Class::Poor),
            (301, Class::VeryPoor),
        ] {
            assert_eq!(
                Class::of(Duration::from_millis(millis)),
                class,
                "{millis} ms"
            );
        }
    }

    #[test]
    fn a_class_changes_after_it_held_for_three_windows() {
        let mut classifier = Classifier::new(&settings(), Class::Good);
        assert_eq!(run(&mut classifier, [212, 212, 212]), [(2, Class::Poor)]);
        let change = Classifier::new(
            &Settings {
                hold: 1,
                ..settings()
            },
            Class::Good,
        )
        .observe(OriginPace {
            median: Some(Duration::from_millis(212)),
            samples: 40,
            seen: 40,
        })
        .unwrap();
        assert_eq!(
            change.why,
            "median origin response time 212 ms over 40 requests, held for 1 windows"
        );
    }

    #[test]
    fn one_window_of_the_class_in_force_starts_the_count_anew() {
        let mut classifier = Classifier::new(&settings(), Class::Good);
        assert_eq!(run(&mut classifier, [200, 200, 20, 200, 200, 20]), []);
    }

    #[test]
    fn two_classes_that_take_turns_beyond_the_one_in_force_lead_to_the_nearer() {
        let mut classifier = Classifier::new(&settings(), Class::Good);
        assert_eq!(run(&mut classifier, [140, 160, 140]), [(2, Class::Medium)]);
        let mut classifier = Classifier::new(&settings(), Class::VeryPoor);
        assert_eq!(run(&mut classifier, [20, 100, 20]), [(2, Class::Medium)]);
    }

    #[test]
    fn a_median_that_jitters_on_a_boundary_changes_the_class_at_most_once() {
        let mut classifier = Classifier::new(&settings(), Class::Medium);
        let jitter = (0..1000).map(|i| if (i / 4) % 2 == 0 { 155 } else { 145 });
        assert_eq!(run(&mut classifier, jitter), [(2, Class::Poor)]);
    }

    #[test]
    fn a_network_that_recovered_well_is_good_again() {
        let mut classifier = Classifier::new(&settings(), Class::VeryPoor);
        assert_eq!(run(&mut classifier, [20; 10]), [(2, Class::Good)]);
        let mut classifier = Classifier::new(&settings(), Class::Medium);
        assert_eq!(
            run(&mut classifier, [48; 10]),
            [],
            "too near to the boundary"
        );
        assert_eq!(run(&mut classifier, [44; 10]), [(2, Class::Good)]);
    }

    #[test]
    fn too_few_samples_or_none_that_are_new_change_nothing() {
        let mut classifier = Classifier::new(&settings(), Class::Good);
        for seen in 1..100 {
            let few = OriginPace {
                median: Some(Duration::from_millis(500)),
                samples: 4,
                seen,
            };
            assert_eq!(classifier.observe(few), None);
            let stale = OriginPace {
                samples: 40,
                seen: 7,
                ..few
            };
            if seen > 1 {
                assert_eq!(classifier.observe(stale), None);
            }
        }
        assert_eq!(classifier.class(), Class::Good);
    }

    #[test]
    fn one_request_a_second_is_enough_to_classify() {
        let mut classifier = Classifier::new(&settings(), Class::Good);
        let changes: Vec<_> = (5..12)
            .filter_map(|seen| {
                classifier.observe(OriginPace {
                    median: Some(Duration::from_millis(400)),
                    samples: 5,
                    seen,
                })
            })
            .collect();
        assert_eq!(changes.len(), 1);
        assert_eq!(classifier.class(), Class::VeryPoor);
    }

    proptest! {
        /// Noise within the margin of a boundary causes at most one change, and that to the worse class.
        #[test]
        fn noise_within_the_margin_of_a_boundary_never_flaps(
            boundary in proptest::sample::select(vec![50u64, 150, 300]),
            noise in proptest::collection::vec(-9i64..=9, 1..300),
            from_below in any::<bool>(),
        ) {
            let below = Class::of(Duration::from_millis(boundary - 1));
            let above = Class::of(Duration::from_millis(boundary + 1));
            let mut classifier = Classifier::new(&settings(), if from_below { below } else { above });
            let medians = noise.iter().map(|n| (boundary as i64 + boundary as i64 * n / 100) as u64);
            let changes = run(&mut classifier, medians);
            prop_assert!(changes.len() <= usize::from(from_below), "{changes:?}");
        }

        /// A change needs `hold` ticks in a row that show it, or a larger one.
        #[test]
        fn every_change_held(medians in proptest::collection::vec(0u64..500, 0..200)) {
            let mut classifier = Classifier::new(&settings(), Class::Good);
            let mut class = Class::Good;
            for (tick, to) in run(&mut classifier, medians.clone()) {
                prop_assert!(tick >= 2);
                for median in &medians[tick - 2..=tick] {
                    let seen = Class::of(Duration::from_millis(*median));
                    let asked_for = if to > class { seen >= to } else { seen <= to };
                    prop_assert!(asked_for, "{seen} does not ask for {to}");
                }
                class = to;
            }
        }
    }
}
