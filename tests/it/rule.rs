//! The rule above all: whatever level low, a plain proxy, delivers whole, level high delivers whole; no client can take
//! from another what a plain proxy would give him; nothing that watches the service can stop it.
//!
//! One corpus of origins and clients goes through low and high, over HTTP/1.1 and, a part of it, over HTTP/2. What low
//! gives, and what the origin gives without any proxy, is the measure: high may only be better. For longer runs:
//! `FILEPROXY_RULE_SEEDS=100` tries all pairs, and origins made of so many seeds more; a row that fails is named by its
//! seed, and `FILEPROXY_RULE_SEED` tries that one again. `FILEPROXY_RULE_ROW` and `FILEPROXY_RULE_CLIENT` leave out all
//! others.

mod answer;
mod asking;
mod behaviour;
mod corpus;
mod crowds;
mod file_server;
mod plain;
mod soak;
mod streams;
mod verdict;
mod watchers;

use std::{
    cell::RefCell,
    env,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use fileproxy::{settings::Settings, traffic::level::Level, traffic::quality::Class, units::Rate};
use futures_util::future::join_all;

use self::{
    answer::Answer,
    asking::{Http, Kind},
    behaviour::{Access, Pace, Row},
    file_server::For,
    streams::Link,
    verdict::Case,
};
use crate::support::{certificate::Certificate, origin::Origin, proxy::Proxy};

/// The seed of the rows that are always tried, and how many rows each seed makes.
const SEED: u64 = 27_804;
const ROWS_OF_A_SEED: usize = 20;
/// Of the pairs over HTTP/2, one of so many is tried: what differs from HTTP/1.1 is only the last hop.
const ONE_OF: usize = 3;
/// Pairs that are tried at the same time.
const AT_ONCE: usize = 16;

fn number(key: &str) -> Option<u64> {
    env::var(key).ok().map(|number| number.parse().unwrap())
}

/// One level, before an origin of its own.
struct Stage {
    name: &'static str,
    proxy: Proxy,
    _origin: Origin,
}

/// The corpus, the origin itself, and each level before one.
struct Trial {
    rows: Arc<Vec<Row>>,
    direct: Origin,
    low: Stage,
    /// High on a good line, and on one where bodies come in parts.
    high: [Stage; 2],
    whose: For,
}

fn quick(settings: &mut Settings) {
    let rate = Rate::new(100_000.0).unwrap();
    settings.rate_limit.min = rate;
    settings.rate_limit.max = rate;
    let transfers = &mut settings.transfers;
    transfers.backoff_min = Duration::from_millis(1);
    transfers.backoff_max = Duration::from_millis(20);
    transfers.stall_window = Duration::from_millis(100);
    // Nothing is left to chance, or to what other rows used up.
    transfers.stall_budget = 1.0;
    transfers.resume_burst = 100_000.0;
}

fn in_parts(settings: &mut Settings) {
    let transfers = &mut settings.transfers;
    transfers.parallel_from = Class::Good;
    transfers.parallel_least = bytesize::ByteSize::kib(64);
    transfers.parallel_segment = bytesize::ByteSize::kib(32);
    settings.levels.high.concurrency_limit = false;
}

impl Trial {
    fn of(shown: Option<&Certificate>, whose: For) -> Self {
        let mut rows = corpus::table();
        let mut seeds = vec![SEED];
        seeds.extend(number("FILEPROXY_RULE_SEED"));
        let more = number("FILEPROXY_RULE_SEEDS").unwrap_or(0);
        seeds.extend((0..more).map(|_| fastrand::u64(..)));
        for seed in seeds {
            rows.extend(corpus::random(seed, ROWS_OF_A_SEED));
        }
        let rows = Arc::new(rows);
        let stage = |name, level, change: fn(&mut Settings)| {
            let origin = file_server::start(Arc::clone(&rows), whose);
            let proxy = Proxy::before(&origin, |settings| {
                settings.optimization.level = level;
                settings.levels.high.store = whose == For::All;
                quick(settings);
                change(settings);
                if let Some(certificate) = shown {
                    certificate.show(settings);
                }
            });
            Stage {
                name,
                proxy,
                _origin: origin,
            }
        };
        Trial {
            direct: file_server::start(Arc::clone(&rows), whose),
            low: stage("low", Level::Low, |_| {}),
            high: [
                stage("high", Level::High, |_| {}),
                stage("high in parts", Level::High, in_parts),
            ],
            rows,
            whose,
        }
    }

    fn stages(&self) -> [&Stage; 3] {
        [&self.low, &self.high[0], &self.high[1]]
    }

    /// All pairs, those first that take long.
    fn pairs(&self, over: Http) -> Vec<(usize, Kind)> {
        let named = |key, name: &str| env::var(key).map_or(true, |only| only == name);
        let all = over == Http::One && self.whose == For::One
            || env::vars().any(|(key, _)| key.starts_with("FILEPROXY_RULE_"));
        let mut pairs = Vec::new();
        for kind in Kind::ALL {
            for (at, row) in self.rows.iter().enumerate() {
                let wanted = named("FILEPROXY_RULE_ROW", &row.name)
                    && named("FILEPROXY_RULE_CLIENT", &format!("{kind:?}"));
                let chosen = all || (at + kind as usize).is_multiple_of(ONE_OF);
                // What is for all and yet good for so many times nobody can tell: parts use it up.
                let used_up = self.whose == For::All
                    && matches!(row.behaviour.access, Access::Times(..))
                    && matches!(kind, Kind::Again | Kind::Two | Kind::Pipelined);
                if wanted && chosen && !used_up && kind.suits(row, over) {
                    pairs.push((at, kind));
                }
            }
        }
        pairs.sort_by_key(|(at, _)| self.rows[*at].behaviour.pace != Pace::Pauses);
        pairs
    }

    fn path(at: usize, kind: Kind) -> String {
        format!("/{at}-{kind:?}/film.ts")
    }

    /// What the levels gave, by the order of [`stages`](Self::stages).
    fn judge(
        &self,
        at: usize,
        kind: Kind,
        direct: &[Answer],
        given: &[Vec<Answer>],
    ) -> Vec<String> {
        let row = &self.rows[at];
        let requests = kind.requests(row, &Self::path(at, kind));
        // The first of these left.
        let judged = &requests[requests.len() - direct.len()..];
        let mut wrong = Vec::new();
        for (stage, high) in self.high.iter().zip(&given[1..]) {
            for (n, asked) in judged.iter().enumerate() {
                let case = Case {
                    row,
                    asked,
                    direct: &direct[n],
                    low: &given[0][n],
                    high: &high[n],
                    is_stored: self.whose == For::All,
                };
                if let Err(why) = case.judge() {
                    wrong.push(format!(
                        "{:?}, {kind:?}, answer {n}, {}: {why}\n  origin: {:?}\n  low:    {:?}\n  high:   {:?}\n  {:?}",
                        row.name, stage.name, case.direct, case.low, case.high, row.behaviour,
                    ));
                }
            }
        }
        wrong
    }
}

fn none_of(wrong: &[String], pairs: usize) {
    let shown = &wrong[..wrong.len().min(60)];
    assert!(
        wrong.is_empty(),
        "{} of {pairs} pairs break the rule:\n{}",
        wrong.len(),
        shown.join("\n")
    );
}

#[test]
fn whatever_low_delivers_whole_high_delivers_whole_over_http_1() {
    over_http_1(For::One);
}

#[test]
fn whatever_low_delivers_whole_the_store_delivers_whole_over_http_1() {
    over_http_1(For::All);
}

#[test]
fn whatever_low_delivers_whole_high_delivers_whole_over_http_2() {
    over_http_2(For::One);
}

#[test]
fn whatever_low_delivers_whole_the_store_delivers_whole_over_http_2() {
    over_http_2(For::All);
}

fn over_http_1(whose: For) {
    let trial = Trial::of(None, whose);
    let pairs = trial.pairs(Http::One);
    let left = Mutex::new(pairs.iter());
    let wrong = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap().next();
                    let Some(&(at, kind)) = next else { return };
                    let (row, path) = (&trial.rows[at], Trial::path(at, kind));
                    let run = |address: SocketAddr| plain::run(kind, address, row, &path);
                    let direct = plain::run(kind.direct(), trial.direct.address(), row, &path);
                    let given = trial.stages().map(|stage| run(stage.proxy.address()));
                    let judged = trial.judge(at, kind, &direct, &given);
                    wrong.lock().unwrap().extend(judged);
                }
            });
        }
    });
    none_of(&wrong.into_inner().unwrap(), pairs.len());
}

fn over_http_2(whose: For) {
    let certificate = Certificate::new();
    let trial = Arc::new(Trial::of(Some(&certificate), whose));
    let pairs = trial.pairs(Http::Two);
    let count = pairs.len();
    let wrong = actix_rt::System::new().block_on(async {
        let left = Rc::new(RefCell::new(pairs.into_iter()));
        let workers = (0..AT_ONCE).map(|_| {
            let (trial, left, certificate) = (Arc::clone(&trial), Rc::clone(&left), &certificate);
            async move {
                let address = |stage: &Stage| stage.proxy.address();
                let mut links = (trial.stages()).map(|stage| Link::to(address(stage), certificate));
                let mut wrong = Vec::new();
                loop {
                    let next = left.borrow_mut().next();
                    let Some((at, kind)) = next else { return wrong };
                    let path = Trial::path(at, kind);
                    let (origin, same) = (trial.direct.address(), Arc::clone(&trial));
                    let target = path.clone();
                    let direct = tokio::task::spawn_blocking(move || {
                        plain::run(kind.direct(), origin, &same.rows[at], &target)
                    });
                    let direct = direct.await.unwrap();
                    let mut given = Vec::new();
                    for link in &mut links {
                        let send = link.open().await;
                        given.push(streams::run(kind, send, &trial.rows[at], &path).await);
                    }
                    wrong.extend(trial.judge(at, kind, &direct, &given));
                }
            }
        });
        join_all(workers).await.concat()
    });
    none_of(&wrong, count);
}
