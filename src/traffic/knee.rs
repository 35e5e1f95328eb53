//! The fewest exchanges at once that fill the line to the origin: the knee of its throughput curve (Kleinrock 1979).
//!
//! Beyond it more exchanges bring nothing: each gets a smaller share, so that all of them take longer, and on a long line the shares
//! become smaller than TCP can send without timeouts. It is searched by trial: more as long as that brings more, fewer as long as
//! that brings as much. It applies to lines that were found to be long or lossy: on others the origin is the limit, and
//! `concurrency` looks after that. How many fill a line depends on what is asked for, small files being mostly round
//! trips; so the search begins again as soon as less comes.

use std::time::{Duration, Instant};

use super::quality::Class;

/// Exchanges at once on a line of which nothing is known yet, and where a search begins.
pub const START: usize = 16;
/// The fewest that a search ends with: they fill a line of 1 Mbit/s that is long and lossy.
const LEAST: usize = 6;
/// While no request waits, at least this many may run: a burst of a few is over before a limit would help.
const BURST: usize = 64;
/// How long no request must wait until [`BURST`] applies.
const QUIET: Duration = Duration::from_secs(10);
/// Factor of a step up, and by how much the throughput must grow for it.
const UP: (f64, f64) = (1.5, 1.15);
/// Factor of a step down, and the share of the throughput that must remain.
const DOWN: (f64, f64) = (0.7, 0.95);
/// The line is still being filled while each period brings so much more than the one before.
const FILLS: f64 = 1.1;
/// A search begins again when this share of what it found is left, or so many times as much comes.
const OTHER: [f64; 2] = [0.85, 1.2];
/// How long throughput is measured: some round trips, within these bounds.
const PERIOD: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(4)];
/// See [`PERIOD`].
const ROUND_TRIPS: u32 = 4;
/// The pause after a search, doubled for each further one that found the same, up to the second.
const REST: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(960)];

/// Measurements since the last look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Bytes moved over the origin's connections, in both directions.
    pub moved: u64,
    /// Exchanges under way.
    pub in_use: usize,
    /// Requests that wait for a slot.
    pub waiting: u64,
    /// The class of the line to the origin; none before it was measured.
    pub line: Option<Class>,
    /// The round trip on that line.
    pub round_trip: Duration,
    /// The level's maximum.
    pub most: usize,
}

/// A change to report.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The limit that was last reported.
    pub from: usize,
    /// The limit now.
    pub to: usize,
    /// The reason, in words.
    pub why: String,
}

/// A step that is being tried.
#[derive(Clone, Copy, Debug)]
struct Trial {
    from: usize,
    /// Throughput there, in bytes per second.
    before: f64,
}

/// What is tried next.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    Up,
    Down,
    /// Nothing until then.
    Rest(Instant),
}

/// Searches the knee.
#[derive(Debug)]
pub struct Knee {
    /// None: no limit, the line is not poor.
    limit: Option<usize>,
    /// Whether the line was measured.
    known: bool,
    trial: Option<Trial>,
    next: Next,
    rest: Duration,
    /// What the last search found: the limit, and its throughput in bytes per second.
    found: Option<(usize, f64)>,
    /// A finding that was not reported yet.
    news: Option<Change>,
    /// The last change has yet to show.
    settles: bool,
    /// Start of the period, and the bytes in it.
    begun: Instant,
    bytes: u64,
    /// Throughput of the period before.
    before: f64,
    /// Since when no request waits.
    quiet: Option<Instant>,
    looked: Instant,
}

impl Knee {
    /// Nothing is known of the line.
    pub fn new(now: Instant) -> Self {
        Knee {
            limit: Some(START),
            known: false,
            trial: None,
            next: Next::Up,
            rest: REST[0],
            found: None,
            news: None,
            settles: true,
            begun: now,
            bytes: 0,
            before: 0.0,
            quiet: None,
            looked: now,
        }
    }

    /// The limit in force; none if the line needs none.
    pub fn limit(&self) -> Option<usize> {
        let is_quiet = self
            .quiet
            .is_some_and(|since| self.looked.saturating_duration_since(since) >= QUIET);
        let least = if is_quiet { BURST } else { 0 };
        self.limit.map(|limit| limit.max(least))
    }

    /// Judges by the measurements since the last look. Returns the end of a search, to be reported.
    pub fn observe(&mut self, look: Look, now: Instant) -> Option<Change> {
        self.looked = now;
        if let Some(line) = look.line {
            self.count(line, &look, now);
        }
        self.news.take()
    }

    fn count(&mut self, line: Class, look: &Look, now: Instant) {
        if !std::mem::replace(&mut self.known, true) && line < Class::Poor {
            self.limit = None;
        }
        let limit = match self.limit {
            Some(limit) => limit,
            None if line < Class::Poor => return,
            None => {
                // It was better, and is full or worse now.
                self.next = Next::Down;
                let fewer = (look.in_use as f64 * DOWN.0) as usize;
                self.change(fewer.max(START), now)
            }
        };
        if look.waiting == 0 {
            // The line carries all that is asked for: nothing can be learned.
            self.quiet.get_or_insert(now);
            if let Some(trial) = self.trial.take() {
                self.change(trial.from, now);
            }
            return self.restart(now);
        }
        self.quiet = None;
        if std::mem::take(&mut self.settles) || look.in_use > limit {
            return self.restart(now);
        }
        self.bytes += look.moved;
        let past = now.saturating_duration_since(self.begun);
        let [least, most] = PERIOD;
        if past < (look.round_trip * ROUND_TRIPS).clamp(least, most) {
            return;
        }
        let throughput = self.bytes as f64 / past.as_secs_f64();
        self.restart(now);
        self.judge(throughput, limit, look.most.max(START), now);
    }

    fn judge(&mut self, throughput: f64, limit: usize, most: usize, now: Instant) {
        let before = std::mem::replace(&mut self.before, throughput);
        let mut base = throughput;
        match self.trial.take() {
            None if throughput > before * FILLS => return,
            None => {}
            Some(trial) => {
                let is_up = limit > trial.from;
                let worth = if is_up { UP.1 } else { DOWN.1 };
                if throughput < trial.before * worth {
                    self.change(trial.from, now);
                    return self.turn(trial.from, trial.before, most, now);
                }
                if !is_up {
                    // Several steps must not lose a little each.
                    base = throughput.max(trial.before);
                }
            }
        }
        if let Next::Rest(until) = self.next {
            let [less, more] = OTHER;
            let is_other = self.found.as_mut().is_some_and(|(_, found)| {
                let is_more = throughput > *found * more;
                *found = found.max(throughput);
                is_more || throughput < *found * less
            });
            if now < until && !is_other {
                return;
            }
            self.next = Next::Up;
        }
        let factor = if self.next == Next::Up { UP.0 } else { DOWN.0 };
        let to = ((limit as f64 * factor) as usize).clamp(LEAST, most);
        if to == limit {
            return self.turn(limit, throughput, most, now);
        }
        self.trial = Some(Trial {
            from: limit,
            before: base,
        });
        self.change(to, now);
    }

    /// No further step this way: the other way, then a pause.
    fn turn(&mut self, found: usize, throughput: f64, most: usize, now: Instant) {
        if self.next == Next::Up {
            self.next = Next::Down;
            return;
        }
        let before = self.found.replace((found, throughput));
        let from = before.map_or(most, |(before, _)| before);
        let [first, longest] = REST;
        self.rest = if before.is_some() && from == found {
            (self.rest * 2).min(longest)
        } else {
            let to = found;
            let mbit = throughput * 8.0 / 1e6;
            let why = format!("more at once bring no more over the line: {mbit:.2} Mbit/s");
            self.news = (from != to).then_some(Change { from, to, why });
            first
        };
        self.next = Next::Rest(now + self.rest);
    }

    fn change(&mut self, to: usize, now: Instant) -> usize {
        self.limit = Some(to);
        self.settles = true;
        self.restart(now);
        to
    }

    fn restart(&mut self, now: Instant) {
        (self.begun, self.bytes) = (now, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_secs(1);
    /// Bytes of a file.
    const FILE: f64 = 26e3;

    /// A line with many requests waiting for it.
    struct Line {
        knee: Knee,
        now: Instant,
        class: Class,
        /// What it carries in bytes per second, one exchange alone, and all together.
        alone: f64,
        all: f64,
        /// From so many exchanges on, each has less than TCP can send without timeouts.
        most: f64,
        in_use: f64,
    }

    impl Line {
        /// The lab's poor line: 10 Mbit/s, 150 ms, 1.5 % of loss.
        fn poor(class: Class) -> Self {
            let now = Instant::now();
            Line {
                knee: Knee::new(now),
                now,
                class,
                alone: 50e3,
                all: 1.17e6,
                most: 100.0,
                in_use: 0.0,
            }
        }

        fn throughput(&self, at_once: f64) -> f64 {
            let whole = (at_once * self.alone).min(self.all);
            whole * (self.most / at_once).sqrt().clamp(0.3, 1.0)
        }

        /// Runs it for some seconds with `demand` requests. Returns the share of what it could carry.
        fn run(&mut self, seconds: u32, demand: usize) -> f64 {
            let mut moved = 0.0;
            for _ in 0..seconds {
                let limit = self.knee.limit().unwrap_or(2000).min(demand) as f64;
                // A lower limit ends nothing that is under way.
                self.in_use = self.in_use.max(limit);
                let came = self.throughput(self.in_use);
                moved += came;
                self.in_use = (self.in_use - came / FILE).max(limit);
                self.now += TICK;
                let look = Look {
                    moved: came as u64,
                    in_use: self.in_use as usize,
                    waiting: (demand as f64 - self.in_use).max(0.0) as u64,
                    line: Some(self.class),
                    round_trip: Duration::from_millis(250),
                    most: 2000,
                };
                self.knee.observe(look, self.now);
            }
            moved / f64::from(seconds) / self.all
        }
    }

    #[test]
    fn a_long_line_gets_what_fills_it_within_20_s_however_many_are_allowed() {
        let mut line = Line::poor(Class::Poor);
        line.run(20, 500);
        let share = line.run(600, 500);
        let limit = line.knee.limit();
        assert!(share > 0.95, "{share}, {limit:?}");
        assert!((20..=40).contains(&limit.unwrap()), "{limit:?}");
    }

    #[test]
    fn a_line_that_is_not_poor_is_left_alone() {
        for class in [Class::Good, Class::Medium] {
            let mut line = Line::poor(class);
            line.run(100, 500);
            assert_eq!(line.knee.limit(), None, "{class}");
        }
    }

    #[test]
    fn a_line_that_is_found_to_be_full_gets_fewer() {
        let mut line = Line::poor(Class::Good);
        line.run(3, 500);
        line.class = Class::Poor;
        line.run(120, 500);
        let limit = line.knee.limit().unwrap();
        assert!((20..=60).contains(&limit), "{limit}");
    }

    #[test]
    fn small_files_get_more_at_once() {
        let mut line = Line::poor(Class::Poor);
        (line.alone, line.most) = (3e3, 2000.0);
        line.run(30, 500);
        let limit = line.knee.limit().unwrap();
        assert!(limit >= 256, "{limit}");
    }

    #[test]
    fn when_smaller_files_are_asked_for_it_grows_within_20_s_and_falls_again_later() {
        let mut line = Line::poor(Class::Poor);
        line.run(60, 500);
        line.alone = 15e3;
        line.run(20, 500);
        let share = line.run(20, 500);
        let limit = line.knee.limit().unwrap();
        assert!(share > 0.85 && limit > 50, "{share}, {limit}");
        line.alone = 50e3;
        line.run(180, 500);
        let limit = line.knee.limit().unwrap();
        assert!((20..=50).contains(&limit), "{limit}");
    }

    #[test]
    fn a_narrow_line_gets_few_and_more_as_soon_as_it_carries_more() {
        let mut line = Line::poor(Class::Poor);
        let wide = line.all;
        (line.alone, line.all) = (20e3, 120e3);
        line.run(300, 100);
        let limit = line.knee.limit().unwrap();
        assert!((LEAST..START).contains(&limit), "{limit}");
        (line.alone, line.all) = (50e3, wide);
        line.run(30, 100);
        let share = line.run(10, 100);
        assert!(share > 0.85, "{share}, {:?}", line.knee.limit());
    }

    #[test]
    fn a_burst_that_nobody_waits_long_for_is_not_held_up() {
        let mut line = Line::poor(Class::Poor);
        line.run(12, 3);
        assert_eq!(line.knee.limit(), Some(BURST));
    }
}
