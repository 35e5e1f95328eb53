//! Whether the candidate is worse with confidence.
//!
//! It is looked at again and again while requests come in, and each look is a chance to be wrong. So the risk of the
//! settings is spent over the looks: look number k may err with risk / (k (k + 1)), which sums up to the risk however
//! many there are, and however much they have in common (Bonferroni's inequality; alpha spending as by Lan and DeMets
//! 1983, Biometrika 70:659). Half is spent on the error rate, half on p95. A look falls only when a quarter of what
//! the window holds is new, so there are few.

use super::{
    Settings,
    interval::Alpha,
    split::Group,
    trial::{Side, Trial},
};

/// Judges one candidate, whatever its share.
#[derive(Debug, Default)]
pub struct Judge {
    looks: u64,
    /// What each group had seen at the last look.
    seen: [u64; 2],
}

impl Judge {
    /// Another share: the groups are counted anew, the looks so far have been.
    pub fn next_stage(&mut self) {
        self.seen = [0; 2];
    }

    /// Looks at the groups, if it is time to; why the candidate is worse, if it surely is.
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
