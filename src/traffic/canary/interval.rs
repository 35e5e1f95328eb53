//! Confidence intervals for estimates and for the difference of two.
//!
//! Each group has its own interval for each measure; the interval of the difference is computed from both.
//!
//! - A share: Wilson's score interval (Wilson 1927), at the effective size of the sample.
//! - The difference: Newcombe's method 10 (Newcombe 1998, Statistics in Medicine 17:873), which Zou and Donner (2008,
//!   Statistics in Medicine 27:1693) showed to hold for any two estimates with intervals of their own (MOVER).
//! - Few clients make an estimate uncertain, however many requests they sent: Student's t distribution, with the number of clients
//!   less one as degrees of freedom, replaces the normal distribution (Korn and Graubard 1998, Survey Methodology 24:193).

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// An estimate with its confidence interval. A bound is infinite if nothing is known on that side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The estimate itself.
    pub value: f64,
    /// Lower bound of the confidence interval; negative infinity if unknown.
    pub low: f64,
    /// Upper bound of the confidence interval; infinity if unknown.
    pub high: f64,
}

impl Estimate {
    /// An estimate without bounds.
    pub fn unsure(value: f64) -> Self {
        Estimate {
            value,
            low: f64::NEG_INFINITY,
            high: f64::INFINITY,
        }
    }

    /// Multiplied by a factor.
    pub fn scaled(self, factor: f64) -> Self {
        Estimate {
            value: self.value * factor,
            low: self.low * factor,
            high: self.high * factor,
        }
    }

    /// The difference to `other`, with its interval by Newcombe's method 10. None if both values are infinite.
    pub fn minus(self, other: Estimate) -> Option<Estimate> {
        let value = self.value - other.value;
        if value.is_nan() {
            return None;
        }
        let bound = |own: f64, others: f64| (own * own + others * others).sqrt();
        let below = bound(self.value - self.low, other.high - other.value);
        let above = bound(self.high - self.value, other.value - other.low);
        // an infinite value with a finite bound: the difference of the bounds is what is certain
        let or = |bound: f64, plain: f64| if bound.is_nan() { plain } else { bound };
        Some(Estimate {
            value,
            low: or(value - below, self.low - other.high),
            high: or(value + above, self.high - other.low),
        })
    }
}

/// Wilson's score interval for a share `p` observed in a sample of effective size `n`, with critical value `z`.
pub fn wilson(p: f64, n: f64, z: f64) -> Estimate {
    let z2 = z * z;
    let shrink = 1.0 + z2 / n;
    let centre = (p + z2 / (2.0 * n)) / shrink;
    let half = z / shrink * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    Estimate {
        value: p,
        // for shares of 0 and 1 the share itself is the bound; rounding may miss that
        low: (centre - half).clamp(0.0, p),
        high: (centre + half).clamp(p, 1.0),
    }
}

/// One-sided error probability of a confidence bound.
#[derive(Clone, Copy, Debug)]
pub struct Alpha(f64);

impl Alpha {
    /// For a 95 % interval: 2.5 % on each side.
    pub const SHOWN: Alpha = Alpha(0.025);

    /// Clamped to at least 1e-12: beyond that no distribution is exact in its tail.
    pub fn new(alpha: f64) -> Self {
        Alpha(alpha.clamp(1e-12, 0.5))
    }

    /// Critical value of the normal distribution.
    pub fn z(self) -> f64 {
        -Normal::standard().inverse_cdf(self.0)
    }

    /// Critical value of Student's t distribution with `degrees` of freedom; infinite for none.
    pub fn t(self, degrees: f64) -> f64 {
        match StudentsT::new(0.0, 1.0, degrees) {
            Ok(t) if degrees < 1000.0 => -t.inverse_cdf(self.0),
            Ok(_) => self.z(),
            Err(_) => f64::INFINITY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(seen: f64, expected: f64, within: f64) {
        assert!((seen - expected).abs() < within, "{seen} {expected}");
    }

    #[test]
    fn critical_values_are_those_of_the_tables() {
        close(Alpha::SHOWN.z(), 1.959_964, 1e-6);
        close(Alpha::new(1e-6).z(), 4.753_424, 1e-5);
        close(Alpha::SHOWN.t(4.0), 2.776_445, 1e-5);
        close(Alpha::new(0.005).t(10.0), 3.169_273, 1e-5);
        close(Alpha::new(0.0005).t(4.0), 8.610_302, 1e-4);
        close(Alpha::new(1e-6).t(63.0), 5.231, 0.05);
        assert_eq!(Alpha::SHOWN.t(0.0), f64::INFINITY);
    }

    #[test]
    fn a_share_has_wilsons_interval() {
        // Newcombe 1998, Statistics in Medicine 17:857, table I: 81 of 263 and 0 of 20
        let some = wilson(81.0 / 263.0, 263.0, Alpha::SHOWN.z());
        close(some.low, 0.2553, 5e-5);
        close(some.high, 0.3662, 5e-5);
        let none = wilson(0.0, 20.0, Alpha::SHOWN.z());
        assert_eq!(none.low, 0.0);
        close(none.high, 0.1611, 5e-5);
    }

    #[test]
    fn a_difference_of_shares_has_newcombes_interval() {
        // Newcombe 1998, Statistics in Medicine 17:873, table II, method 10
        let z = Alpha::SHOWN.z();
        for (a, m, b, n, low, high) in [
            (56.0, 70.0, 48.0, 80.0, 0.0524, 0.3339),
            (9.0, 10.0, 3.0, 10.0, 0.1705, 0.8090),
            (5.0, 56.0, 0.0, 29.0, -0.0381, 0.1926),
            (10.0, 10.0, 0.0, 10.0, 0.6075, 1.0),
        ] {
            let of = wilson(a / m, m, z).minus(wilson(b / n, n, z)).unwrap();
            close(of.low, low, 5e-5);
            close(of.high, high, 5e-5);
        }
    }

    #[test]
    fn an_infinite_value_leaves_what_is_sure() {
        let served = Estimate {
            value: 100.0,
            low: 90.0,
            high: 120.0,
        };
        let failed = Estimate {
            value: f64::INFINITY,
            low: 300.0,
            high: f64::INFINITY,
        };
        let worse = failed.minus(served).unwrap();
        assert_eq!((worse.value, worse.low), (f64::INFINITY, 180.0));
        assert_eq!(failed.minus(failed), None);
        let unsure = Estimate::unsure(1.0).minus(served).unwrap();
        assert_eq!(
            (unsure.low, unsure.high),
            (f64::NEG_INFINITY, f64::INFINITY)
        );
    }
}
