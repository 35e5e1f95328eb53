//! Numbers with a meaning: bit rates, sizes and durations, written with their unit.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// What was written cannot be read as the quantity it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not {wanted}")]
pub struct NotAQuantity {
    text: String,
    wanted: &'static str,
}

/// Splits "1.5 Mbit/s" into 1.5 and "Mbit/s".
fn split(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text.get(..end)?.parse().ok()?;
    Some((number, text.get(end..)?.trim()))
}

/// Bits per second, decimal: "10 Mbit/s", "1 Gbit/s", "250 kbit/s".
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BitRate(f64);

impl BitRate {
    /// A rate of so many bits per second.
    #[must_use]
    pub const fn from_bits(bits_per_second: f64) -> Self {
        Self(bits_per_second)
    }

    /// Bits per second.
    #[must_use]
    pub const fn bits(self) -> f64 {
        self.0
    }
}

impl FromStr for BitRate {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, NotAQuantity> {
        let wrong = || NotAQuantity {
            text: text.to_owned(),
            wanted: "a rate: write for example \"10 Mbit/s\" (kbit/s, Mbit/s or Gbit/s)",
        };
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let factor = match unit.to_ascii_lowercase().as_str() {
            "bit/s" => 1.0,
            "kbit/s" | "kbit" => 1e3,
            "mbit/s" | "mbit" => 1e6,
            "gbit/s" | "gbit" => 1e9,
            _ => return Err(wrong()),
        };
        if number <= 0.0 {
            return Err(wrong());
        }
        Ok(Self(number * factor))
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0 {
            b if b >= 1e9 => (b / 1e9, "Gbit/s"),
            b if b >= 1e6 => (b / 1e6, "Mbit/s"),
            b if b >= 1e3 => (b / 1e3, "kbit/s"),
            b => (b, "bit/s"),
        };
        write!(f, "{} {unit}", (value * 100.0).round() / 100.0)
    }
}

/// Bytes: "64 KiB", "100 MB" (decimal), "1500" is refused for want of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(u64);

impl ByteSize {
    /// A size of so many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, NotAQuantity> {
        let wrong = || NotAQuantity {
            text: text.to_owned(),
            wanted: "a size: write for example \"64 KiB\" or \"100 MB\"",
        };
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let factor = match unit {
            "B" => 1.0,
            "kB" | "KB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            "KiB" => 1024.0,
            "MiB" => 1024.0 * 1024.0,
            "GiB" => 1024.0 * 1024.0 * 1024.0,
            _ => return Err(wrong()),
        };
        Ok(Self((number * factor).round() as u64))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 6] = [
            (1 << 30, "GiB"),
            (1_000_000_000, "GB"),
            (1 << 20, "MiB"),
            (1_000_000, "MB"),
            (1 << 10, "KiB"),
            (1_000, "kB"),
        ];
        for (factor, unit) in UNITS {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{} {unit}", self.0 / factor);
            }
        }
        write!(f, "{} B", self.0)
    }
}

/// A length of time: "75 ms", "2 s", "1 min".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(Duration);

impl Span {
    /// This long.
    #[must_use]
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// As a standard duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// Milliseconds.
    #[must_use]
    pub fn millis(self) -> f64 {
        self.0.as_secs_f64() * 1e3
    }
}

impl FromStr for Span {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, NotAQuantity> {
        let wrong = || NotAQuantity {
            text: text.to_owned(),
            wanted: "a duration: write for example \"75 ms\", \"30 s\" or \"2 min\"",
        };
        let (number, unit) = split(text).ok_or_else(wrong)?;
        let seconds = match unit {
            "us" => number / 1e6,
            "ms" => number / 1e3,
            "s" => number,
            "min" => number * 60.0,
            _ => return Err(wrong()),
        };
        Ok(Self(Duration::from_secs_f64(seconds)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.millis();
        if ms >= 1000.0 {
            write!(f, "{} s", ms / 1000.0)
        } else {
            write!(f, "{ms} ms")
        }
    }
}

macro_rules! text_form {
    ($($name:ident)+) => {$(
        impl TryFrom<String> for $name {
            type Error = NotAQuantity;

            fn try_from(text: String) -> Result<Self, NotAQuantity> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(quantity: $name) -> Self {
                quantity.to_string()
            }
        }
    )+};
}
text_form!(BitRate ByteSize Span);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_reads_back_what_it_prints() {
        for text in ["10 Mbit/s", "1 Gbit/s", "250 kbit/s"] {
            assert_eq!(text.parse::<BitRate>().unwrap().to_string(), text);
        }
        for text in ["64 KiB", "100 MB", "1 MiB", "17 B"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        for text in ["75 ms", "2.5 s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_number_without_a_unit_is_refused() {
        assert!("10".parse::<BitRate>().is_err());
        assert!("10".parse::<ByteSize>().is_err());
        assert!("10".parse::<Span>().is_err());
        assert!("-1 s".parse::<Span>().is_err());
    }
}
