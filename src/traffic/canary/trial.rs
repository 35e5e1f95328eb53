//! Counts both groups over the same sliding window, and compares them.
//!
//! A request was **served** (its whole response was sent, status below 500) or it **failed** (by the origin or the proxy, or
//! because it was refused). Requests whose client left or was at fault are ignored. In percentiles, failed requests rank behind all
//! served ones: a body that broke early was not fast, and a level that resumes it must not look slower for that.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    Settings,
    cells::{Cells, SHARES},
    interval::{Alpha, Estimate},
    split::{Group, Membership},
};
use crate::traffic::{
    sample::{Outcome, Sample},
    summary::Summary,
    window::{Timing, Window},
};

/// Number of slots in the window.
const SLOTS: u64 = 60;
/// Least number of served requests for percentiles.
const ENOUGH: u64 = 20;

/// Counts of both groups in one stage.
#[derive(Debug)]
pub struct Trial {
    stage: u32,
    start: Instant,
    slot: Duration,
    stable: Side,
    candidate: Side,
    /// p50 and p95 of both groups together at the last comparison, in milliseconds.
    bars: Option<[f64; SHARES.len()]>,
}

/// Both groups at one instant.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The stage.
    pub stage: u32,
    /// The group with the stable level.
    pub stable: GroupSummary,
    /// The group with the candidate level.
    pub candidate: GroupSummary,
    /// Candidate less stable.
    pub difference: Difference,
}

/// Results of one group.
#[derive(Clone, Debug)]
pub struct GroupSummary {
    /// The same figures as for all requests.
    pub summary: Summary,
    /// Requests that were served or failed, in the window.
    pub counted: u64,
    /// Those that failed.
    pub failed: u64,
    /// Lower bound for the number of clients; 64 means many.
    pub clients: u64,
    /// The measures that are compared.
    pub measures: Measures,
}

/// Candidate less stable.
pub type Difference = Measures;

/// The compared measures with 95 % confidence intervals. None if there is not enough data.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measures {
    /// The share of requests that failed, 0 to 1.
    pub error_rate: Option<Estimate>,
    /// The median time to the end of a response, in milliseconds.
    pub p50_ms: Option<Estimate>,
    /// The 95th percentile of the same time.
    pub p95_ms: Option<Estimate>,
    /// Throughput: bits of complete responses per second of request time, in Mbit/s.
    pub goodput_mbps: Option<Estimate>,
}

impl Trial {
    /// Two empty groups.
    pub fn new(settings: &Settings, stage: u32, start: Instant) -> Self {
        let slot = (settings.window / SLOTS as u32).max(Duration::from_millis(1));
        let side = || Side::new(slot, start);
        Trial {
            stage,
            start,
            slot,
            stable: side(),
            candidate: side(),
            bars: None,
        }
    }

    /// The stage that it counts.
    pub fn stage(&self) -> u32 {
        self.stage
    }

    /// One group.
    pub fn side(&self, group: Group) -> &Side {
        match group {
            Group::Stable => &self.stable,
            Group::Candidate => &self.candidate,
        }
    }

    /// Counts one sample of this stage.
    pub fn record(&mut self, sample: &Sample, member: Membership) {
        let slot = self.slot_of(sample.ended);
        let bars = self.bars;
        let side = match member.group {
            Group::Stable => &mut self.stable,
            Group::Candidate => &mut self.candidate,
        };
        side.record(sample, member.cell, slot, bars);
    }

    /// The comparison at `now`.
    pub fn comparison(&mut self, now: Instant) -> Comparison {
        let slot = self.slot_of(now);
        self.stable.forget_before(slot);
        self.candidate.forget_before(slot);
        self.set_bars();
        Comparison {
            stage: self.stage,
            stable: self.stable.summary(now),
            candidate: self.candidate.summary(now),
            difference: self.difference(),
        }
    }

    fn slot_of(&self, at: Instant) -> u64 {
        (at.saturating_duration_since(self.start).as_nanos() / self.slot.as_nanos()) as u64
    }

    fn difference(&self) -> Difference {
        let (candidate, stable) = (self.candidate.measures(), self.stable.measures());
        let of = |candidate: Option<Estimate>, stable: Option<Estimate>| candidate?.minus(stable?);
        Measures {
            error_rate: of(candidate.error_rate, stable.error_rate),
            p50_ms: of(candidate.p50_ms, stable.p50_ms),
            p95_ms: of(candidate.p95_ms, stable.p95_ms),
            goodput_mbps: of(candidate.goodput_mbps, stable.goodput_mbps),
        }
    }

    /// Sets the times that the next requests are compared with, to estimate how much those of one client resemble each other.
    fn set_bars(&mut self) {
        let served = self.stable.sum.served.count + self.candidate.sum.served.count;
        if served < ENOUGH {
            return;
        }
        // weighted mean: close enough to the percentile of both groups together for this purpose
        let weight = self.candidate.sum.served.count as f64 / served as f64;
        self.bars = Some(SHARES.map(|share| {
            let of = |side: &Side| side.sum.served.quantile(share).as_secs_f64() * 1000.0;
            of(&self.stable) * (1.0 - weight) + of(&self.candidate) * weight
        }));
    }
}

impl Comparison {
    /// A comparison without data.
    pub fn empty(stage: u32, at: Instant) -> Self {
        let group = || GroupSummary {
            summary: Summary::empty(at),
            counted: 0,
            failed: 0,
            clients: 0,
            measures: Measures::default(),
        };
        Comparison {
            stage,
            stable: group(),
            candidate: group(),
            difference: Difference::default(),
        }
    }
}

/// Counts of one group.
#[derive(Debug)]
pub struct Side {
    window: Window,
    sum: Slot,
    /// The slots that contain samples, oldest first.
    past: VecDeque<(u64, Slot)>,
    /// Requests that were served or failed, since the stage began.
    seen: u64,
}

/// Sums over one slot or the window.
#[derive(Debug)]
struct Slot {
    served: Timing<u32>,
    cells: Cells,
}

impl Slot {
    fn new() -> Self {
        Slot {
            served: Timing::new(2),
            cells: Cells::default(),
        }
    }

    fn record(&mut self, sample: &Sample, cell: u8, served: bool, bars: Option<[f64; 2]>) {
        let total = sample.total;
        let cell = self.cells.of(cell);
        cell.counted += 1;
        cell.micros = cell.micros.saturating_add(total.as_micros() as u64);
        if served {
            self.served.record(Some(total));
            cell.bytes = cell.bytes.saturating_add(sample.bytes);
        } else {
            cell.failed += 1;
        }
        if let Some(bars) = bars {
            cell.timed += 1;
            for (above, bar) in cell.above.iter_mut().zip(bars) {
                *above += u64::from(!served || total.as_secs_f64() * 1000.0 > bar);
            }
        }
    }
}

/// Whether the request was served or failed; none if its client decided that.
fn served(outcome: Outcome) -> Option<bool> {
    match outcome {
        Outcome::Completed | Outcome::Refused => Some(true),
        Outcome::OriginFailed
        | Outcome::ConnectFailed
        | Outcome::OriginTimeout
        | Outcome::OriginBroken
        | Outcome::RateLimited
        | Outcome::Overloaded => Some(false),
        Outcome::ClientLeft | Outcome::ClientFault => None,
    }
}

impl Side {
    fn new(slot: Duration, start: Instant) -> Self {
        Side {
            window: Window::plain(slot, SLOTS, start),
            sum: Slot::new(),
            past: VecDeque::new(),
            seen: 0,
        }
    }

    fn record(&mut self, sample: &Sample, cell: u8, slot: u64, bars: Option<[f64; 2]>) {
        self.window.record(sample);
        let Some(served) = served(sample.outcome) else {
            return;
        };
        self.seen += 1;
        let newest = self.past.back().map_or(slot, |(at, _)| slot.max(*at));
        if newest - slot >= SLOTS {
            return; // too old for the window
        }
        let at = self.past.partition_point(|(past, _)| *past < slot);
        if self.past.get(at).is_none_or(|(past, _)| *past != slot) {
            self.past.insert(at, (slot, Slot::new()));
        }
        self.past[at].1.record(sample, cell, served, bars);
        self.sum.record(sample, cell, served, bars);
        self.forget_before(newest);
    }

    fn forget_before(&mut self, newest: u64) {
        while let Some((slot, _)) = self.past.front()
            && newest.saturating_sub(*slot) >= SLOTS
        {
            if let Some((_, gone)) = self.past.pop_front() {
                self.sum.served.subtract(&gone.served);
                self.sum.cells.subtract(&gone.cells);
            }
        }
    }

    fn summary(&mut self, now: Instant) -> GroupSummary {
        GroupSummary {
            summary: self.window.summary(now),
            counted: self.counted(),
            failed: self.sum.cells.sum(|cell| cell.failed),
            clients: self.clients(),
            measures: self.measures(),
        }
    }

    fn measures(&self) -> Measures {
        const SHOWN: Alpha = Alpha::SHOWN;
        Measures {
            error_rate: self.error_rate(SHOWN),
            p50_ms: self.percentile(0, SHOWN),
            p95_ms: self.percentile(1, SHOWN),
            goodput_mbps: self.goodput(SHOWN),
        }
    }

    /// Requests that were served or failed, since the stage began.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Requests that were served or failed, in the window.
    pub fn counted(&self) -> u64 {
        self.sum.cells.sum(|cell| cell.counted)
    }

    /// Lower bound for the number of clients that sent them.
    pub fn clients(&self) -> u64 {
        self.sum.cells.clients()
    }

    /// The share that failed, 0 to 1.
    pub fn error_rate(&self, alpha: Alpha) -> Option<Estimate> {
        self.sum.cells.failures(alpha)
    }

    /// Percentile number `which` of [`SHARES`] of the time to the end, in milliseconds: infinite if it falls on a failed request.
    pub fn percentile(&self, which: usize, alpha: Alpha) -> Option<Estimate> {
        let counted = self.counted();
        if counted == 0 {
            return None;
        }
        let n = counted as f64;
        let at = |rank: f64| {
            let (rank, served) = (rank.clamp(1.0, n), self.sum.served.count as f64);
            if rank > served {
                f64::INFINITY
            } else {
                self.sum.served.quantile(rank / served).as_secs_f64() * 1000.0
            }
        };
        let value = at((SHARES[which] * n).ceil());
        Some(match self.sum.cells.ranks(which, alpha) {
            None => Estimate::unsure(value),
            Some(ranks) => Estimate {
                value,
                low: at((ranks.low * n).floor()),
                // no upper bound beyond the last request
                high: match (ranks.high * n).ceil() + 1.0 {
                    rank if rank > n => f64::INFINITY,
                    rank => at(rank),
                },
            },
        })
    }

    /// Throughput: bits of complete responses per second of request time, in Mbit/s.
    pub fn goodput(&self, alpha: Alpha) -> Option<Estimate> {
        self.sum.cells.goodput(alpha)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::keys::Keys;
    use crate::traffic::origin_id::OriginId;

    const SECOND: Duration = Duration::from_secs(1);

    fn trial(start: Instant) -> Trial {
        let settings = Settings {
            window: SECOND * 600,
            min_samples: 200,
            min_clients: 5,
            max_slowdown: 0.2,
            risk: 0.01,
        };
        Trial::new(&settings, 1, start)
    }

    /// Adds `count` requests of different clients.
    fn take(
        trial: &mut Trial,
        group: Group,
        count: u64,
        at: Instant,
        outcome: Outcome,
        millis: impl Fn(u64) -> u64,
    ) {
        for n in 0..count {
            let sample = Sample {
                ended: at,
                outcome,
                origin_ttfb: None,
                ttfb: None,
                total: Duration::from_millis(millis(n)),
                bytes: 1_000_000,
                origin: OriginId::default(),
                keys: Keys::default(),
                canary: None,
            };
            let (stage, cell) = (1, (n % 64) as u8);
            trial.record(&sample, Membership { stage, group, cell });
        }
    }

    #[test]
    fn before_the_first_sample_there_is_no_difference() {
        let start = Instant::now();
        let comparison = trial(start).comparison(start + SECOND);
        assert_eq!(comparison.difference, Difference::default());
        assert_eq!(comparison.stable.counted, 0);
    }

    #[test]
    fn the_difference_is_the_candidates_less_the_others() {
        let start = Instant::now();
        let mut trial = trial(start);
        take(
            &mut trial,
            Group::Stable,
            990,
            start,
            Outcome::Completed,
            |_| 100,
        );
        take(
            &mut trial,
            Group::Stable,
            10,
            start,
            Outcome::OriginBroken,
            |_| 20,
        );
        take(
            &mut trial,
            Group::Candidate,
            97,
            start,
            Outcome::Completed,
            |_| 200,
        );
        take(
            &mut trial,
            Group::Candidate,
            3,
            start,
            Outcome::RateLimited,
            |_| 1,
        );
        let comparison = trial.comparison(start + SECOND);
        assert_eq!(
            (comparison.stable.counted, comparison.stable.failed),
            (1000, 10)
        );
        assert_eq!(comparison.candidate.clients, 64);
        let Measures {
            error_rate,
            p50_ms,
            p95_ms,
            goodput_mbps,
        } = comparison.difference;
        let close = |estimate: Option<Estimate>, expected: f64, within: f64| {
            let estimate = estimate.unwrap();
            assert!((estimate.value - expected).abs() <= within, "{estimate:?}");
            assert!(estimate.low <= estimate.value && estimate.value <= estimate.high);
        };
        close(error_rate, 0.02, 1e-9);
        close(p50_ms, 100.0, 2.0);
        close(p95_ms, 100.0, 2.0);
        // 990 MB in 99.2 s, and 97 MB in 19.403 s
        close(goodput_mbps, 8.0 * (97.0 / 19.403 - 990.0 / 99.2), 1e-6);
    }

    #[test]
    fn a_failed_request_is_slower_than_any_that_was_served() {
        let start = Instant::now();
        let mut trial = trial(start);
        // at the stable level 8 % break early; the candidate resumes them, which takes longer
        take(
            &mut trial,
            Group::Stable,
            920,
            start,
            Outcome::Completed,
            |_| 100,
        );
        take(
            &mut trial,
            Group::Stable,
            80,
            start,
            Outcome::OriginBroken,
            |_| 10,
        );
        take(
            &mut trial,
            Group::Candidate,
            1000,
            start,
            Outcome::Completed,
            |n| {
                if n < 80 { 300 } else { 100 }
            },
        );
        let difference = trial.comparison(start + SECOND).difference;
        assert_eq!(difference.p95_ms.unwrap().value, f64::NEG_INFINITY);
        assert!(difference.error_rate.unwrap().high < 0.0, "{difference:?}");
    }

    #[test]
    fn clients_that_leave_are_counted_nowhere_but_in_the_window() {
        let start = Instant::now();
        let mut trial = trial(start);
        take(
            &mut trial,
            Group::Stable,
            5,
            start,
            Outcome::ClientLeft,
            |_| 100,
        );
        take(
            &mut trial,
            Group::Stable,
            5,
            start,
            Outcome::ClientFault,
            |_| 100,
        );
        let comparison = trial.comparison(start + SECOND);
        assert_eq!(comparison.stable.counted, 0);
        assert_eq!(comparison.stable.summary.window.requests, 10);
    }

    #[test]
    fn what_is_older_than_the_window_counts_no_more() {
        let start = Instant::now();
        let mut trial = trial(start);
        take(
            &mut trial,
            Group::Stable,
            70,
            start,
            Outcome::OriginFailed,
            |_| 100,
        );
        take(
            &mut trial,
            Group::Stable,
            30,
            start + SECOND * 300,
            Outcome::Completed,
            |_| 50,
        );
        let both = trial.comparison(start + SECOND * 301).stable;
        assert_eq!(
            (both.counted, both.failed, both.summary.window.requests),
            (100, 70, 100)
        );
        let late = trial.comparison(start + SECOND * 610).stable;
        assert_eq!(
            (late.counted, late.failed, late.summary.window.requests),
            (30, 0, 30)
        );
        let none = trial.comparison(start + SECOND * 2000).stable;
        assert_eq!(
            (none.counted, none.clients, none.summary.window.requests),
            (0, 0, 0)
        );
        assert_eq!(trial.side(Group::Stable).seen(), 100);
    }
}
