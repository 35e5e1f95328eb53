//! Which packets go missing: independently (Bernoulli) or in bursts (Gilbert-Elliott).

use fileproxy_testbed::random::Random;
use serde::{Deserialize, Serialize};

/// How packets are lost. `percent` alone is Bernoulli: each packet for itself. With `burst`, a two-state chain
/// (Gilbert 1960, Elliott 1963) walks between a good and a bad state once per packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "Written")]
pub struct Loss {
    /// Packets lost on the whole, in percent, 0 to 50.
    pub percent: f64,
    /// Mean length of the bad state in packets; none: no bursts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<f64>,
    /// Packets lost in the bad state, in percent.
    #[serde(default = "all")]
    pub bad_percent: f64,
    /// Packets lost in the good state, in percent.
    #[serde(default)]
    pub good_percent: f64,
}

const fn all() -> f64 {
    100.0
}

/// As it stands in a file, before its numbers are checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    percent: f64,
    burst: Option<f64>,
    #[serde(default = "all")]
    bad_percent: f64,
    #[serde(default)]
    good_percent: f64,
}

/// Loss numbers that no chain can have.
#[derive(Debug, thiserror::Error)]
#[error(
    "loss: percent must be 0 to 50 and lie between good_percent and bad_percent, and burst at least 1 packet; \
     it is percent {percent}, burst {burst:?}, good {good}, bad {bad}"
)]
pub struct Impossible {
    percent: f64,
    burst: Option<f64>,
    good: f64,
    bad: f64,
}

impl TryFrom<Written> for Loss {
    type Error = Impossible;

    fn try_from(w: Written) -> Result<Self, Impossible> {
        let fits = (0.0..=50.0).contains(&w.percent)
            && w.burst.is_none_or(|b| {
                b >= 1.0 && w.percent >= w.good_percent && w.percent < w.bad_percent
            })
            && (0.0..=100.0).contains(&w.bad_percent)
            && w.good_percent >= 0.0;
        if !fits {
            return Err(Impossible {
                percent: w.percent,
                burst: w.burst,
                good: w.good_percent,
                bad: w.bad_percent,
            });
        }
        Ok(Self {
            percent: w.percent,
            burst: w.burst,
            bad_percent: w.bad_percent,
            good_percent: w.good_percent,
        })
    }
}

/// Decides packet by packet.
#[derive(Clone, Debug)]
pub struct Dice {
    random: Random,
    /// Chance of loss in the good and in the bad state.
    chance: [f64; 2],
    /// Chance to leave the good and the bad state.
    leave: [f64; 2],
    bad: bool,
}

impl Dice {
    /// Dice for this loss; the same seed loses the same packets.
    #[must_use]
    pub fn new(loss: Loss, seed: u64) -> Self {
        let mean = loss.percent / 100.0;
        let (chance, leave) = match loss.burst {
            None => ([mean, mean], [0.0, 1.0]),
            Some(burst) => {
                let (good, bad) = (loss.good_percent / 100.0, loss.bad_percent / 100.0);
                let in_bad = (mean - good) / (bad - good);
                let end = 1.0 / burst;
                ([good, bad], [end * in_bad / (1.0 - in_bad), end])
            }
        };
        Self {
            random: Random::new(seed),
            chance,
            leave,
            bad: false,
        }
    }

    /// Whether the next packet is lost.
    pub fn lose(&mut self) -> bool {
        let state = usize::from(self.bad);
        if self.leave[state] > 0.0 && self.random.unit() < self.leave[state] {
            self.bad = !self.bad;
        }
        let chance = self.chance[usize::from(self.bad)];
        chance > 0.0 && self.random.unit() < chance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(loss: Loss) -> Vec<bool> {
        let mut dice = Dice::new(loss, 3);
        (0..1_000_000).map(|_| dice.lose()).collect()
    }

    fn share(lost: &[bool]) -> f64 {
        100.0 * lost.iter().filter(|l| **l).count() as f64 / lost.len() as f64
    }

    #[test]
    fn independent_loss_comes_out_as_asked() {
        let lost = lost(Loss {
            percent: 1.5,
            burst: None,
            bad_percent: 100.0,
            good_percent: 0.0,
        });
        assert!((share(&lost) - 1.5).abs() < 0.05, "{}", share(&lost));
    }

    #[test]
    fn burst_loss_has_the_asked_mean_and_the_asked_length() {
        let lost = lost(Loss {
            percent: 5.0,
            burst: Some(4.0),
            bad_percent: 100.0,
            good_percent: 0.0,
        });
        let bursts = lost.windows(2).filter(|w| !w[0] && w[1]).count();
        let length = lost.iter().filter(|l| **l).count() as f64 / bursts as f64;
        assert!((share(&lost) - 5.0).abs() < 0.25, "{}", share(&lost));
        assert!((length - 4.0).abs() < 0.2, "{length}");
    }

    #[test]
    fn a_bad_state_that_loses_half_still_gives_the_asked_mean() {
        let lost = lost(Loss {
            percent: 5.0,
            burst: Some(10.0),
            bad_percent: 50.0,
            good_percent: 0.5,
        });
        assert!((share(&lost) - 5.0).abs() < 0.25, "{}", share(&lost));
    }

    #[test]
    fn numbers_that_no_chain_can_have_are_refused() {
        for text in [
            "percent = 80",
            "percent = 5\nburst = 0.5",
            "percent = 5\nburst = 3\nbad_percent = 4",
        ] {
            assert!(toml::from_str::<Loss>(text).is_err(), "{text}");
        }
        assert!(toml::from_str::<Loss>("percent = 5\nburst = 3").is_ok());
    }
}
