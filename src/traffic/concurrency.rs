//! Adaptive limit on concurrent exchanges with the origin: as many as it can process without queueing.
//!
//! A gradient limit: if response times exceed their recent minimum by more than a tolerance, exchanges queue at the origin or on
//! the way to it, and the limit is reduced (see Netflix's concurrency-limits, "Gradient2"). Never below what the throughput needs
//! by Little's law. Requests over the limit are not refused: they wait in the proxy, small ones first. A reduction must pay off: if
//! responses get no faster, or fewer, the origin is slow by itself, and no reduction is tried for a while, which gets longer each
//! time.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    answers::{Answers, Heard},
    knee::{self, Change},
    quality::Class,
};
use crate::{reloadable::reloadable, units::OutOfRange};

/// Least number of answers for a judgement.
pub const FEW: u64 = 10;
/// Share of the way to its target that the limit moves at one judgement.
const SMOOTHING: f64 = 0.2;
/// The smallest factor that one judgement may apply to the limit, before smoothing.
const STEEPEST: f64 = 0.5;
/// A reduction is evaluated when the limit has come down to this share.
const TRIAL: f64 = 0.7;
/// It pays off if response times fall to this share ...
const FASTER: f64 = 0.85;
/// ... while the rate of answers stays above this share.
const FEWER: f64 = 0.9;
/// A reduction that did not pay off is retried after one window, at most after this many.
const LONGEST_REST: u32 = 32;
/// If nothing was answered for so long while requests wait, long bodies occupy all exchanges, and it is not a queue.
const STARVED: Duration = Duration::from_secs(5);
/// The limit is reported again when it has changed by this factor.
const TOLD: f64 = 1.25;

/// `[concurrency]`: the adaptive limit on exchanges with the origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The limit never falls below this.
    pub min: usize,
    /// Tolerated response time, as a multiple of the recent minimum.
    pub tolerance: f64,
    /// Response times up to this and a round trip above the recent minimum never count as queueing.
    #[serde(with = "humantime_serde")]
    pub slack: Duration,
    /// How far back the recent minimum reaches.
    #[serde(with = "humantime_serde")]
    pub window: Duration,
}

reloadable!(Settings {
    min: AtOnce,
    tolerance: AtOnce,
    slack: AtOnce,
    window: AtOnce,
});

impl Settings {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that makes no sense.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let counts = 1..=100_000;
        OutOfRange::unless(
            counts.contains(&self.min),
            "concurrency.min",
            "1 to 100000",
            self.min,
        )?;
        OutOfRange::unless(
            (1.1..=100.0).contains(&self.tolerance),
            "concurrency.tolerance",
            "1.1 to 100",
            self.tolerance,
        )?;
        let (least, most) = (Duration::ZERO, Duration::from_secs(10));
        OutOfRange::unless_between("concurrency.slack", least, self.slack, most)?;
        let (least, most) = (Duration::from_secs(2), Duration::from_secs(3600));
        OutOfRange::unless_between("concurrency.window", least, self.window, most)
    }
}

/// The limit in force, and the measurements for it. The path adds answers; the limiter judges.
#[derive(Debug)]
pub struct Concurrency {
    /// The origin's response times.
    pub answers: Answers,
    on: AtomicBool,
    limit: AtomicUsize,
    /// How many exchanges the line to the origin bears, by [`knee::Knee`]; the maximum where it is no limit.
    line: AtomicUsize,
    /// Whether the line was measured.
    line_known: AtomicBool,
    /// The last median and the recent minimum, in nanoseconds; zero before the first judgement.
    median: AtomicU64,
    reference: AtomicU64,
}

impl Default for Concurrency {
    fn default() -> Self {
        Concurrency {
            answers: Answers::default(),
            on: AtomicBool::new(false),
            limit: AtomicUsize::new(usize::MAX),
            line: AtomicUsize::new(knee::START),
            line_known: AtomicBool::new(false),
            median: AtomicU64::new(0),
            reference: AtomicU64::new(0),
        }
    }
}

impl Concurrency {
    /// The limit in force; `most` is what the level allows.
    pub fn limit(&self, most: usize) -> usize {
        if self.is_on() {
            self.by_answers(most).min(self.line.load(Relaxed))
        } else {
            most
        }
    }

    /// What the origin's response times allow, without regard to the line.
    pub fn by_answers(&self, most: usize) -> usize {
        self.limit.load(Relaxed).min(most)
    }

    /// The line to the origin was measured. Returns whether it was for the first time; one that is not poor is no limit from then on.
    pub fn know_line(&self, class: Class) -> bool {
        let is_first = !self.is_line_known() && !self.line_known.swap(true, Relaxed);
        if is_first && class < Class::Poor {
            self.line.store(usize::MAX, Relaxed);
        }
        is_first
    }

    /// Whether the line to the origin was measured.
    pub fn is_line_known(&self) -> bool {
        self.line_known.load(Relaxed)
    }

    /// Publishes what the line bears; none if it is no limit.
    pub fn set_line(&self, limit: Option<usize>) {
        self.line.store(limit.unwrap_or(usize::MAX), Relaxed);
    }

    /// Switches the limit on or off. Answers are counted in any case.
    pub fn set_on(&self, on: bool) {
        self.on.store(on, Relaxed);
    }

    /// Whether the limit is on.
    pub fn is_on(&self) -> bool {
        self.on.load(Relaxed)
    }

    /// Publishes the policy's limit, and the median it judged by, if any.
    pub fn set(&self, policy: &ConcurrencyPolicy, median: Option<Duration>) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.limit.store(policy.limit(), Relaxed);
        if let Some(median) = median {
            self.median.store(nanos(median), Relaxed);
        }
        self.reference
            .store(policy.reference().map_or(0, nanos), Relaxed);
    }

    /// The last median response time and the recent minimum; none before the first judgement.
    pub fn seen(&self) -> Option<(Duration, Duration)> {
        let load = |nanos: &AtomicU64| Duration::from_nanos(nanos.load(Relaxed));
        let seen = (load(&self.median), load(&self.reference));
        (!seen.0.is_zero()).then_some(seen)
    }
}

/// Measurements for one judgement.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The answers since the last judgement.
    pub heard: Heard,
    /// The exchanges that ended since then; none if too few.
    pub ended: Option<Heard>,
    /// Exchanges under way and requests that wait for a slot.
    pub demand: u64,
    /// The level's maximum.
    pub most: usize,
    /// The round-trip time to the origin: it contains queueing on the line, which is not the origin's.
    pub round_trip: Duration,
}

/// Computes the limit from measurements.
#[derive(Debug)]
pub struct ConcurrencyPolicy {
    settings: Settings,
    limit: f64,
    told: usize,
    recent: Minimum,
    /// The recent minimum of whole exchanges, for Little's law.
    recent_exchange: Minimum,
    /// The state before the current reduction.
    cut: Option<Cut>,
    /// No reduction before this time.
    rests: Option<Instant>,
    /// How long the next reduction that does not pay off blocks others.
    rest: Duration,
    looked: Instant,
    /// Answers per second, smoothed.
    rate: Option<f64>,
    /// Answers that were too few to judge, and since when there are none.
    unjudged: (u64, Instant),
}

#[derive(Clone, Copy, Debug)]
struct Cut {
    limit: f64,
    median: Duration,
    rate: f64,
}

impl ConcurrencyPolicy {
    /// Starts at the maximum.
    pub fn new(settings: &Settings, most: usize, now: Instant) -> Self {
        ConcurrencyPolicy {
            recent: Minimum::new(settings.window / 2, now),
            recent_exchange: Minimum::new(settings.window / 2, now),
            settings: settings.clone(),
            limit: most as f64,
            told: most,
            cut: None,
            rests: None,
            rest: settings.window,
            looked: now,
            rate: None,
            unjudged: (0, now),
        }
    }

    /// Starts again at the maximum: measurements under another level do not apply.
    pub fn restart(&mut self, most: usize, now: Instant) {
        *self = Self::new(&self.settings, most, now);
    }

    /// The limit in force.
    pub fn limit(&self) -> usize {
        self.limit.round() as usize
    }

    /// The recent minimum of response times; none before the first judgement.
    pub fn reference(&self) -> Option<Duration> {
        self.recent.get()
    }

    /// Judges by the measurements since the last time. Returns a change to report.
    pub fn observe(&mut self, look: Look, now: Instant) -> Option<Change> {
        let most = (look.most as f64).max(1.0);
        let past = now
            .saturating_duration_since(self.looked)
            .as_secs_f64()
            .max(1e-3);
        self.looked = now;
        self.unjudged = (0, now);
        let rate = look.heard.answers as f64 / past;
        let rate = self
            .rate
            .map_or(rate, |before| before + (rate - before) / 4.0);
        self.rate = Some(rate);
        let median = look.heard.median;
        // A limit that is not nearly used has no effect, and nothing can be learned about it.
        let binds = look.demand as f64 >= self.limit / 2.0;
        // Under load the minimum may contain queueing: only times without load may raise it.
        let reference = self.recent.observe(median, now, !binds);

        // Little's law: the current throughput at the shortest exchange time needs this many at once.
        let exchange = look
            .ended
            .map(|ended| self.recent_exchange.observe(ended.median, now, !binds))
            .or_else(|| self.recent_exchange.get());
        let needed = rate * exchange.unwrap_or_default().max(reference).as_secs_f64();
        let least = (self.settings.min as f64).max(needed).min(most);

        let bears = (reference.mul_f64(self.settings.tolerance))
            .max(reference + self.settings.slack + look.round_trip);
        if self.rests.is_some_and(|rests| now >= rests) {
            self.rests = None;
        }
        let gradient = if self.rests.is_some() {
            1.0
        } else {
            (bears.as_secs_f64() / median.as_secs_f64().max(1e-9)).clamp(STEEPEST, 1.0)
        };
        // The level's maximum may have changed.
        self.limit = self.limit.min(most);
        let mut why = "answers as fast as they lately were";
        if binds {
            let wanted = self.limit.mul_add(gradient, self.limit.sqrt());
            let before = self.limit;
            self.limit += (wanted - self.limit) * SMOOTHING;
            if gradient < 1.0 && self.limit < before {
                why = "answers take longer than they lately did";
                let cut = *self.cut.get_or_insert(Cut {
                    limit: before,
                    median,
                    rate,
                });
                if self.limit <= (cut.limit * TRIAL).max(least) {
                    self.cut = None;
                    let faster = median <= cut.median.mul_f64(FASTER);
                    if !faster || rate < cut.rate * FEWER {
                        // The reduction did not help: the origin is slow by itself.
                        why = "fewer at once made nothing faster";
                        self.limit = cut.limit;
                        self.rests = Some(now + self.rest);
                        self.rest = (self.rest * 2).min(self.settings.window * LONGEST_REST);
                    } else {
                        self.rest = self.settings.window;
                    }
                }
            } else {
                self.cut = None;
            }
        }
        self.limit = self.limit.clamp(least, most);

        self.tell(look.most, || {
            format!(
                "{why}: {:.1} ms, {:.1} ms at best",
                median.as_secs_f64() * 1e3,
                reference.as_secs_f64() * 1e3
            )
        })
    }

    /// Too few answers to judge (`answers` so far). If none arrives at all while requests wait, the limit rises by one: otherwise a
    /// few long bodies would block everything. Returns a change to report.
    pub fn wait(
        &mut self,
        answers: u64,
        waiting: bool,
        most: usize,
        now: Instant,
    ) -> Option<Change> {
        let (counted, since) = self.unjudged;
        if answers != counted || !waiting {
            self.unjudged = (answers, now);
            return None;
        }
        if now.saturating_duration_since(since) < STARVED {
            return None;
        }
        self.limit = (self.limit + 1.0).min((most as f64).max(1.0));
        self.tell(most, || {
            "long bodies hold all exchanges, and none was answered".to_owned()
        })
    }

    /// The change since the last report, if it is large enough.
    fn tell(&mut self, most: usize, why: impl FnOnce() -> String) -> Option<Change> {
        let (from, to) = (self.told, self.limit());
        let (less, more) = (from.min(to) as f64, from.max(to) as f64);
        (more >= less * TOLD || (to != from && to == most)).then(|| {
            self.told = to;
            Change {
                from,
                to,
                why: why(),
            }
        })
    }
}

/// Minimum over the last one to two spans.
#[derive(Debug)]
struct Minimum {
    span: Duration,
    begun: Instant,
    now: Option<Duration>,
    before: Option<Duration>,
}

impl Minimum {
    fn new(span: Duration, now: Instant) -> Self {
        Minimum {
            span,
            begun: now,
            now: None,
            before: None,
        }
    }

    fn get(&self) -> Option<Duration> {
        [self.now, self.before].into_iter().flatten().min()
    }

    fn observe(&mut self, value: Duration, now: Instant, forgets: bool) -> Duration {
        if forgets && now.saturating_duration_since(self.begun) >= self.span {
            self.before = self.now.take();
            self.begun = now;
        }
        self.now = Some(self.now.map_or(value, |least| least.min(value)));
        self.get().unwrap_or(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_secs(1);

    fn settings() -> Settings {
        Settings {
            min: 8,
            tolerance: 2.0,
            slack: Duration::from_millis(5),
            window: Duration::from_secs(60),
        }
    }

    /// An origin whose clients always have `demand` requests.
    struct Origin {
        policy: ConcurrencyPolicy,
        now: Instant,
        changes: Vec<Change>,
        answered: f64,
        round_trip: Duration,
    }

    impl Origin {
        fn new() -> Self {
            let now = Instant::now();
            Origin {
                policy: ConcurrencyPolicy::new(&settings(), 50, now),
                now,
                changes: Vec::new(),
                answered: 0.0,
                round_trip: Duration::ZERO,
            }
        }

        /// Runs it for some seconds; `takes` gives the response time for a number of concurrent exchanges.
        fn run(&mut self, seconds: u32, demand: usize, takes: impl Fn(usize) -> Duration) {
            for _ in 0..seconds {
                let at_once = demand.min(self.policy.limit());
                let median = takes(at_once);
                let answers = (at_once as f64 / median.as_secs_f64()) as u64;
                self.answered += answers as f64;
                self.now += TICK;
                let look = Look {
                    heard: Heard { answers, median },
                    ended: Some(Heard { answers, median }),
                    demand: demand as u64,
                    most: 50,
                    round_trip: self.round_trip,
                };
                self.changes.extend(self.policy.observe(look, self.now));
            }
        }
    }

    /// An origin that serves `servers` at once, each in `alone`; the others queue.
    fn queueing(servers: usize, alone: Duration) -> impl Fn(usize) -> Duration {
        move |at_once| alone.mul_f64((at_once as f64 / servers as f64).max(1.0))
    }

    const ALONE: Duration = Duration::from_millis(20);

    #[test]
    fn a_line_that_is_not_known_gets_few_and_one_that_is_not_poor_as_many_as_are_allowed() {
        for (class, limit) in [(Class::Medium, 2000), (Class::Poor, knee::START)] {
            let concurrency = Concurrency::default();
            assert_eq!(concurrency.limit(2000), 2000, "the limit is off");
            concurrency.set_on(true);
            assert_eq!(concurrency.limit(2000), knee::START);
            assert!(concurrency.know_line(class) && !concurrency.know_line(Class::Good));
            assert_eq!(concurrency.limit(2000), limit, "{class}");
        }
    }

    #[test]
    fn an_origin_with_room_gets_all_that_is_allowed() {
        let mut origin = Origin::new();
        origin.run(100, 1000, queueing(100, ALONE));
        assert_eq!(origin.policy.limit(), 50);
        assert_eq!(origin.changes, []);
    }

    #[test]
    fn exchanges_that_queue_at_the_origin_wait_in_the_proxy_instead_and_it_stays_busy() {
        let mut origin = Origin::new();
        origin.run(5, 4, queueing(10, ALONE)); // its response time without load
        origin.run(300, 1000, queueing(10, ALONE));
        let limit = origin.policy.limit();
        assert!((10..=30).contains(&limit), "{limit}: {:?}", origin.changes);
        assert!(origin.changes[0].to < 50 && origin.changes[0].why.contains("take longer"));
        let busy = origin.answered / (300.0 * 10.0 / ALONE.as_secs_f64());
        assert!(busy > 0.98, "{busy}");
    }

    #[test]
    fn an_origin_that_is_slow_by_itself_is_not_throttled_for_it() {
        let mut origin = Origin::new();
        origin.run(10, 1000, |_| ALONE);
        let mut less = 0;
        for _ in 0..3600 {
            origin.run(1, 1000, |_| ALONE * 25);
            less += u32::from(origin.policy.limit() < 45);
        }
        assert!(less < 36, "{less} of 3600 s: {:?}", origin.changes);
        assert!(
            origin
                .changes
                .iter()
                .any(|change| change.why.contains("nothing faster")),
            "{:?}",
            origin.changes
        );
    }

    #[test]
    fn a_queue_on_the_line_is_not_the_origin_s() {
        let mut origin = Origin::new();
        origin.run(5, 4, |_| Duration::from_millis(160));
        origin.round_trip = Duration::from_millis(350);
        origin.run(60, 1000, |_| Duration::from_millis(360));
        assert_eq!(origin.changes, []);
    }

    #[test]
    fn it_grows_again_when_the_origin_is_fast_again() {
        let mut origin = Origin::new();
        origin.run(5, 4, queueing(8, ALONE));
        origin.run(60, 1000, queueing(8, ALONE));
        assert!(origin.policy.limit() < 30);
        origin.run(60, 1000, queueing(1000, ALONE));
        assert_eq!(origin.policy.limit(), 50);
    }

    #[test]
    fn long_bodies_that_hold_all_exchanges_do_not_keep_everybody_out() {
        let mut origin = Origin::new();
        origin.run(5, 4, queueing(8, ALONE));
        origin.run(60, 1000, queueing(8, ALONE));
        let limit = origin.policy.limit();
        assert!(limit < 30);
        let mut quiet = |seconds: u64, answers, waiting| {
            for _ in 0..seconds {
                origin.now += TICK;
                _ = origin.policy.wait(answers, waiting, 50, origin.now);
            }
            origin.policy.limit()
        };
        assert_eq!(quiet(60, 3, false), limit, "nobody waits");
        assert_eq!(quiet(1, 4, true), limit);
        assert_eq!(quiet(STARVED.as_secs(), 4, true), limit + 1);
        assert_eq!(quiet(60, 4, true), 50);
    }

    #[test]
    fn with_little_to_do_it_stays_where_it_is() {
        let mut origin = Origin::new();
        origin.run(10, 3, |_| ALONE);
        origin.run(100, 3, |_| ALONE * 100);
        assert_eq!(origin.policy.limit(), 50);
    }

    #[test]
    fn never_fewer_than_the_least_or_than_little_s_law_needs() {
        let mut origin = Origin::new();
        origin.run(5, 4, queueing(1, ALONE));
        origin.run(300, 1000, queueing(1, ALONE));
        assert!((8..=12).contains(&origin.policy.limit()));
        let mut policy = ConcurrencyPolicy::new(&settings(), 50, origin.now);
        let mut now = origin.now;
        for median in [20, 20, 200, 200, 200, 200, 200] {
            now += TICK;
            let heard = Heard {
                answers: 2000, // at 20 ms each: 40 at once
                median: Duration::from_millis(median),
            };
            policy.observe(
                Look {
                    heard,
                    ended: Some(heard),
                    demand: 100,
                    most: 50,
                    round_trip: Duration::ZERO,
                },
                now,
            );
            assert!(policy.limit() >= 40, "{}", policy.limit());
        }
    }

    #[test]
    fn little_s_law_counts_exchanges_to_their_last_byte() {
        let start = Instant::now();
        let mut policy = ConcurrencyPolicy::new(&settings(), 50, start);
        let told = |answers, ms| Heard {
            answers,
            median: Duration::from_millis(ms),
        };
        for (tick, head) in (1..20).zip([20, 20].into_iter().chain(std::iter::repeat(200))) {
            let look = Look {
                heard: told(50, head),
                // Bodies of 800 ms: 40 at once for 50 a second.
                ended: Some(told(50, 800 + head)),
                demand: 100,
                most: 50,
                round_trip: Duration::ZERO,
            };
            policy.observe(look, start + TICK * tick);
        }
        assert!(policy.limit() >= 40, "{}", policy.limit());
    }

    #[test]
    fn a_restart_forgets_what_was_seen() {
        let mut origin = Origin::new();
        origin.run(5, 4, queueing(1, ALONE));
        origin.run(50, 1000, queueing(1, ALONE));
        assert!(origin.policy.limit() < 50);
        origin.policy.restart(50, origin.now);
        assert_eq!(origin.policy.limit(), 50);
        assert_eq!(origin.policy.reference(), None);
    }

    #[test]
    fn times_too_short_to_matter_never_cut() {
        let mut origin = Origin::new();
        origin.run(5, 4, |_| Duration::from_micros(100));
        origin.run(50, 1000, |_| Duration::from_millis(4));
        assert_eq!(origin.policy.limit(), 50);
    }

    #[test]
    fn a_lower_level_holds_at_once() {
        let mut origin = Origin::new();
        origin.run(3, 100, |_| ALONE);
        let heard = Heard {
            answers: 100,
            median: ALONE,
        };
        let look = Look {
            heard,
            ended: None,
            demand: 100,
            most: 30,
            round_trip: Duration::ZERO,
        };
        assert_eq!(
            origin.policy.observe(look, origin.now + TICK).unwrap().to,
            30
        );
    }
}
