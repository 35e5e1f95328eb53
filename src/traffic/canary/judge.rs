//! Decides whether the candidate is worse, with confidence.
//!
//! The groups are tested repeatedly while requests arrive, and each test can be wrong. So the configured risk is divided over the
//! tests: test number k may err with risk / (k (k + 1)), which sums up to the risk for any number of tests and any dependence
//! between them (Bonferroni's inequality; alpha spending as by Lan and DeMets 1983, Biometrika 70:659). Half is for the error rate,
//! half for p95. A test is made only when a quarter of the window's requests are new, so there are few.

use super::{
    Settings,
    interval::Alpha,
    split::Group,
    trial::{Side, Trial},
};

/// Tests one candidate over all stages of its canary.
#[derive(Debug, Default)]
pub struct Judge {
    looks: u64,
    /// The number of requests of each group at the last test.
    seen: [u64; 2],
}

impl Judge {
    /// A new stage begins with another share: the groups start empty, the number of tests made is kept.
    pub fn next_stage(&mut self) {
        self.seen = [0; 2];
    }

    /// Tests the groups, if it is time to. Returns why the candidate is worse, if that is certain enough.
    pub fn look(&mut self, settings: &Settings, trial: &Trial) -> Option<String> {
        let (stable, candidate) = (trial.side(Group::Stable), trial.side(Group::Candidate));
        let sides = [stable, candidate];
        let enough = sides.iter().all(|side| {
            side.counted() >= settings.min_samples && side.clients() >= settings.min_clients
        });
        if settings.risk == 0.0 || !enough {
            return None;
        }
        let smaller = usize::from(candidate.counted() <= stable.counted());
        let fresh = sides[smaller].seen().saturating_sub(self.seen[smaller]);
        if fresh < sides[smaller].counted().div_ceil(4) {
            return None;
        }
        self.seen = sides.map(Side::seen);
        self.looks += 1;
        let looks = self.looks as f64;
        let alpha = Alpha::new(settings.risk / (looks * (looks + 1.0)) / 2.0);
        more_errors(stable, candidate, alpha)
            .or_else(|| slower(stable, candidate, alpha, settings.max_slowdown))
            .map(|worse| {
                let of = |side: &Side| {
                    let (requests, clients) = (side.counted(), side.clients());
                    format!("{requests} requests of {clients} clients")
                };
                format!(
                    "{worse} (candidate: {}; stable: {})",
                    of(candidate),
                    of(stable)
                )
            })
    }
}

fn more_errors(stable: &Side, candidate: &Side, alpha: Alpha) -> Option<String> {
    let (of_stable, of_candidate) = (stable.error_rate(alpha)?, candidate.error_rate(alpha)?);
    let more = of_candidate.minus(of_stable)?;
    (more.low > 0.0).then(|| {
        format!(
            "error rate {:.2} % instead of {:.2} %: surely {:.2} points more",
            of_candidate.value * 100.0,
            of_stable.value * 100.0,
            more.low * 100.0
        )
    })
}

fn slower(stable: &Side, candidate: &Side, alpha: Alpha, allowed: f64) -> Option<String> {
    let (of_stable, of_candidate) = (
        stable.percentile(1, alpha)?,
        candidate.percentile(1, alpha)?,
    );
    let more = of_candidate.minus(of_stable.scaled(1.0 + allowed))?;
    (more.low > 0.0).then(|| {
        let instead = if of_candidate.value.is_finite() {
            format!("p95 {:.0} ms", of_candidate.value)
        } else {
            "p95 among failed requests".to_owned()
        };
        format!(
            "{instead} instead of {:.0} ms: surely over {:.0} % longer",
            of_stable.value,
            allowed * 100.0
        )
    })
}
