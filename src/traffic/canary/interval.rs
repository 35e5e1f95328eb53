//! How sure an estimate is, and the difference of two.
//!
//! Each group has an interval of its own for each measure; the difference of two gets its interval from both.
//!
//! - A share: Wilson's score interval (Wilson 1927), at the effective size of the sample.
//! - The difference: Newcombe's method 10 (Newcombe 1998, Statistics in Medicine 17:873), which Zou and Donner (2008,
//!   Statistics in Medicine 27:1693) showed to hold for any two estimates with intervals of their own (MOVER).
//! - Few clients make an estimate unsure, however many requests they sent: Student's t with the clients less one as
//!   degrees of freedom stands for the normal distribution (Korn and Graubard 1998, Survey Methodology 24:193).

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// An estimate between bounds. A bound may be infinite: nothing is known on that side.
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
    /// An estimate about which nothing is sure.
    pub fn unsure(value: f64) -> Self {
        Estimate {
            value,
            low: f64::NEG_INFINITY,
            high: f64::INFINITY,
        }
    }

    /// The same, so many times over.
    pub fn scaled(self, factor: f64) -> Self {
        Estimate {
            value: self.value * factor,
            low: self.low * factor,
            high: self.high * factor,
        }
    }

    /// How much more this is than `other`, by Newcombe's method 10. None where both are infinite.
    pub fn minus(self, other: Estimate) -> Option<Estimate> {
        let value = self.value - other.value;
        if value.is_nan() {
            return None;
        }
        let bound = |own: f64, others: f64| (own * own + others * others).sqrt();
        let below = bound(self.value - self.low, other.high - other.value);
        let above = bound(self.high - self.value, other.value - other.low);
        // an infinite value with a finite bound: what is sure is what the intervals leave between them
        let or = |bound: f64, plain: f64| if bound.is_nan() { plain } else { bound };
        Some(Estimate {
            value,
            low: or(value - below, self.low - other.high),
            high: or(value + above, self.high - other.low),
        })
    }
}

/// Wilson's score interval for a share `p` seen in a sample of (effective) size `n`, with critical value `z`.
pub fn wilson(p: f64, n: f64, z: f64) -> Estimate {
    let z2 = z * z;
    let shrink = 1.0 + z2 / n;
    let centre = (p + z2 / (2.0 * n)) / shrink;
    let half = z / shrink * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    Estimate {
        value: p,
        // at the ends the share itself is the bound, which rounding may miss
        low: (centre - half).clamp(0.0, p),
        high: (centre + half).clamp(p, 1.0),
    }
}

/// A one-sided error: the chance that a bound is passed although it holds.
#[derive(Clone, Copy, Debug)]
pub struct Alpha(f64);

impl Alpha {
    /// An interval of 95 % has this on each side.
    pub const SHOWN: Alpha = Alpha(0.025);

    /// Not less than one in a million million: beyond that no distribution is worth its tail.
    pub fn new(alpha: f64) -> Self {
        Alpha(alpha.clamp(1e-12, 0.5))
    }

    /// The normal distribution's critical value.
    pub fn z(self) -> f64 {
        -Normal::standard().inverse_cdf(self.0)
    }

    /// Student's, with so many degrees of freedom; infinite with none.
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
