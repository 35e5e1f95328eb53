//! Follows the running canary: counts its groups, and decides when it must be rolled back.

use std::time::Instant;

use super::{
    Canary, Settings,
    judge::Judge,
    trial::{Comparison, Trial},
};
use crate::traffic::{level::Level, sample::Sample};

/// The trial and the judge of the running stage.
#[derive(Debug)]
pub struct Referee {
    settings: Settings,
    trial: Option<Trial>,
    judge: Judge,
    /// The level of the candidate that the judge tests.
    judged: Option<Level>,
    verdict: Option<String>,
}

impl Referee {
    /// No canary yet.
    pub fn new(settings: &Settings) -> Self {
        Referee {
            settings: settings.clone(),
            trial: None,
            judge: Judge::default(),
            judged: None,
            verdict: None,
        }
    }

    /// Follows a change of the canary at `now`. Another share starts with empty groups: while it changed they covered different
    /// times of the day, and would differ for that alone.
    pub fn follow(&mut self, canary: &Canary, now: Instant) {
        let Some(candidate) = canary.candidate else {
            self.trial = None;
            self.judged = None;
            return;
        };
        if self.trial.as_ref().map(Trial::stage) == Some(canary.stage) {
            return;
        }
        if self.judged == Some(candidate.level) {
            self.judge.next_stage();
        } else {
            self.judge = Judge::default();
        }
        self.judged = Some(candidate.level);
        self.verdict = None;
        self.trial = Some(Trial::new(&self.settings, canary.stage, now));
    }

    /// Counts one sample of the running stage. Samples that began before it are ignored, and those answered by the store: they
    /// would make a level look good in front of a bad origin.
    pub fn record(&mut self, sample: &Sample) {
        if let (Some(member), Some(trial)) = (sample.canary, &mut self.trial)
            && member.stage == trial.stage()
            && !sample.is_hit()
        {
            trial.record(sample, member);
        }
    }

    /// The comparison at `now`; none if no canary runs.
    pub fn comparison(&mut self, now: Instant) -> Option<Comparison> {
        self.trial.as_mut().map(|trial| trial.comparison(now))
    }

    /// Why the candidate must be rolled back, if it must; returned until it is.
    pub fn verdict(&mut self) -> Option<&str> {
        let trial = self.trial.as_ref()?;
        if self.verdict.is_none() {
            self.verdict = self.judge.look(&self.settings, trial);
        }
        self.verdict.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::traffic::origin_id::OriginId;
    use crate::traffic::{
        canary::{
            Candidate, Percent,
            split::{Group, Membership},
        },
        keys::Keys,
        sample::Outcome,
    };

    fn settings() -> Settings {
        Settings {
            window: Duration::from_secs(600),
            min_samples: 200,
            min_clients: 5,
            max_slowdown: 0.2,
            risk: 0.01,
        }
    }

    fn canary(stage: u32, percent: i64) -> Canary {
        Canary {
            stage,
            candidate: Some(Candidate {
                level: Level::High,
                percent: Percent::try_from(percent).unwrap(),
            }),
            last_rollback: None,
        }
    }

    /// A client's typical requests: each client has its own line.
    struct Client {
        group: Group,
        cell: u8,
        errors: f64,
        millis: f64,
    }

    /// Clients whose lines differ up to a factor of two in both directions, with error rates from none to double.
    fn clients(random: &mut fastrand::Rng, count: usize, share: f64) -> Vec<Client> {
        (0..count)
            .map(|_| Client {
                group: if random.f64() < share {
                    Group::Candidate
                } else {
                    Group::Stable
                },
                cell: random.u8(0..64),
                errors: 2.0 * random.f64(),
                millis: 2f64.powf(random.f64() * 2.0 - 1.0),
            })
            .collect()
    }

    /// Lets the clients send requests for some seconds; returns after how many the candidate was found worse.
    fn run(seed: u64, share: f64, seconds: u64, errors: [f64; 2], millis: [f64; 2]) -> Option<u64> {
        let mut random = fastrand::Rng::with_seed(seed);
        let clients = clients(&mut random, 60, share);
        let start = Instant::now();
        let mut referee = Referee::new(&settings());
        let canary = canary(1, 50);
        let mut sent = 0;
        for second in (0..seconds).step_by(10) {
            let now = start + Duration::from_secs(second);
            referee.follow(&canary, now);
            for _ in 0..200 {
                let client = &clients[random.usize(..clients.len())];
                let side = usize::from(client.group == Group::Candidate);
                let failed = random.f64() < errors[side] * client.errors;
                let took = millis[side] * client.millis * (0.5 - random.f64().ln());
                sent += 1;
                referee.record(&Sample {
                    ended: now,
                    outcome: if failed {
                        Outcome::OriginBroken
                    } else {
                        Outcome::Completed
                    },
                    origin_ttfb: Some(Duration::from_millis(1)),
                    ttfb: None,
                    total: Duration::from_secs_f64(took / 1000.0),
                    bytes: 100_000,
                    origin: OriginId::default(),
                    keys: Keys::default(),
                    canary: Some(Membership {
                        stage: 1,
                        group: client.group,
                        cell: client.cell,
                    }),
                });
            }
            referee.comparison(now);
            if referee.verdict().is_some() {
                return Some(sent);
            }
        }
        None
    }

    #[test]
    fn a_candidate_as_good_as_the_rest_is_seldom_rolled_back() {
        // By chance, clients with bad lines may be concentrated in one of the groups. The slowest of these tests: both shares run
        // in parallel.
        std::thread::scope(|scope| {
            for share in [0.5, 0.2] {
                scope.spawn(move || {
                    let wrong = (0..20)
                        .filter(|seed| run(*seed, share, 1000, [0.02; 2], [100.0; 2]).is_some())
                        .count();
                    assert!(wrong <= 1, "{wrong} of 20");
                });
            }
        });
    }

    #[test]
    fn a_candidate_with_many_more_errors_is_soon_rolled_back() {
        for seed in 0..10 {
            let sent = run(seed, 0.5, 3600, [0.01, 0.10], [100.0; 2]).expect("it must end");
            assert!(sent < 10_000, "after {sent} requests");
        }
    }

    #[test]
    fn a_candidate_that_is_much_slower_is_soon_rolled_back() {
        for seed in 0..10 {
            let sent = run(seed, 0.5, 3600, [0.01; 2], [100.0, 400.0]).expect("it must end");
            assert!(sent < 20_000, "after {sent} requests");
        }
    }

    #[test]
    fn a_better_candidate_stays() {
        for seed in 0..3 {
            assert_eq!(run(seed, 0.5, 600, [0.05, 0.001], [200.0, 50.0]), None);
        }
    }
}
