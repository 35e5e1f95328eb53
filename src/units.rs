//! Numbers with units.

use std::{fmt, time::Duration};

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

/// Requests per second, between 0.001 and 1,000,000; a plain number in settings and JSON.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Rate(f64);

/// A number outside of that range.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{0} is not a rate: give requests per second, 0.001 to 1000000")]
pub struct NotARate(pub f64);

impl Rate {
    /// One request in 1,000 seconds.
    pub const LOWEST: Rate = Rate(0.001);
    /// One request per microsecond.
    pub const HIGHEST: Rate = Rate(1_000_000.0);

    /// A rate in requests per second.
    ///
    /// # Errors
    ///
    /// [`NotARate`] outside of 0.001 to 1,000,000.
    pub fn new(per_second: f64) -> Result<Self, NotARate> {
        if (Self::LOWEST.0..=Self::HIGHEST.0).contains(&per_second) {
            Ok(Self(per_second))
        } else {
            Err(NotARate(per_second))
        }
    }

    /// Requests per second.
    pub fn per_second(self) -> f64 {
        self.0
    }

    /// Time between two requests, in whole nanoseconds, rounded up so that the rate is never exceeded.
    pub fn interval(self) -> Duration {
        Duration::from_nanos((1e9 / self.0).ceil() as u64)
    }

    /// This rate times a factor, rounded to a thousandth and clamped to `min` and `max`.
    pub fn scaled(self, factor: f64, min: Rate, max: Rate) -> Rate {
        let scaled = (self.0 * factor * 1000.0).round() / 1000.0;
        Rate(scaled.clamp(min.0, max.0.max(min.0)))
    }
}

impl TryFrom<f64> for Rate {
    type Error = NotARate;

    fn try_from(per_second: f64) -> Result<Self, NotARate> {
        Self::new(per_second)
    }
}

impl From<Rate> for f64 {
    fn from(rate: Rate) -> f64 {
        rate.0
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Three decimals suffice: the lowest rate is a thousandth.
        write!(f, "{}/s", (self.0 * 1e3).round() / 1e3)
    }
}

/// A setting with the right type but an invalid value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} must be {must}, but is {is}")]
pub struct OutOfRange {
    /// The full key, as in `rate_limit.min`.
    pub key: String,
    /// What is allowed.
    pub must: String,
    /// The actual value.
    pub is: String,
}

impl OutOfRange {
    /// Returns an error for the key unless `fits`.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] if it does not fit.
    pub fn unless(
        fits: bool,
        key: impl Into<String>,
        must: impl Into<String>,
        is: impl fmt::Display,
    ) -> Result<(), Self> {
        if fits {
            return Ok(());
        }
        Err(Self {
            key: key.into(),
            must: must.into(),
            is: is.to_string(),
        })
    }

    /// Checks that a duration lies between two bounds, inclusive.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] if it is not.
    pub fn unless_between(
        key: impl Into<String>,
        from: Duration,
        is: Duration,
        to: Duration,
    ) -> Result<(), Self> {
        Self::unless(
            (from..=to).contains(&is),
            key,
            format!("{} to {}", readable(from), readable(to)),
            readable(is),
        )
    }
}

/// A duration in human-readable form: `15s`, `1m 30s`.
pub fn readable(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// A size in the form of settings, exactly: `128KiB`, `1MiB`, `1000B`.
pub fn readable_size(size: ByteSize) -> String {
    let bytes = size.as_u64();
    for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    format!("{bytes}B")
}

/// A string that is not a size with a unit.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: give a number with its unit, like 64KiB or 8MiB")]
pub struct NotASize(pub String);

/// Parses a size with its unit.
///
/// # Errors
///
/// [`NotASize`] for a number without a unit or anything else.
pub fn size(word: &str) -> Result<ByteSize, NotASize> {
    if word.trim_end().ends_with(|c: char| c.is_ascii_digit()) {
        return Err(NotASize(word.to_owned()));
    }
    word.parse().map_err(|_| NotASize(word.to_owned()))
}

/// For serde: a size with its unit, as a string.
pub mod sized {
    use bytesize::ByteSize;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    /// Serializes the size with its unit.
    ///
    /// # Errors
    ///
    /// The serializer's own.
    pub fn serialize<S: Serializer>(size: &ByteSize, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::readable_size(*size))
    }

    /// Parses a size with its unit.
    ///
    /// # Errors
    ///
    /// [`super::NotASize`] as a deserializer error.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
        super::size(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// For serde: an optional size with its unit, as a string.
pub mod sized_if_any {
    use bytesize::ByteSize;
    use serde::{Deserializer, Serializer};

    /// Serializes the size with its unit.
    ///
    /// # Errors
    ///
    /// The serializer's own.
    pub fn serialize<S: Serializer>(
        size: &Option<ByteSize>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match size {
            Some(size) => super::sized::serialize(size, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Parses a size with its unit.
    ///
    /// # Errors
    ///
    /// [`super::NotASize`] as a deserializer error.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<ByteSize>, D::Error> {
        super::sized::deserialize(deserializer).map(Some)
    }
}

/// For serde: an optional value; an empty string means none.
pub mod if_not_empty {
    use std::{fmt::Display, str::FromStr};

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    /// Serializes the value as a string.
    ///
    /// # Errors
    ///
    /// The serializer's own.
    pub fn serialize<T: Display, S: Serializer>(
        value: &Option<T>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_str(""),
        }
    }

    /// Parses the value from a string.
    ///
    /// # Errors
    ///
    /// The value's own error, as a deserializer error.
    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        T: FromStr,
        T::Err: Display,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(deserializer)?;
        (!text.is_empty())
            .then(|| text.parse().map_err(D::Error::custom))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_outside_the_range_is_refused_with_the_range_in_the_message() {
        for wrong in [0.0, -1.0, 0.0009, 1_000_001.0, f64::NAN, f64::INFINITY] {
            let error = Rate::new(wrong).expect_err("must be refused").to_string();
            assert!(error.contains("0.001 to 1000000"), "{error}");
        }
        let error = serde_json::from_str::<Rate>("0").expect_err("zero is no rate");
        assert!(error.to_string().contains("0 is not a rate"), "{error}");
    }

    #[test]
    fn a_rate_is_a_plain_number_in_json() {
        let rate: Rate = serde_json::from_str("850").unwrap();
        assert_eq!(rate.per_second(), 850.0);
        assert_eq!(serde_json::to_string(&rate).unwrap(), "850.0");
        assert_eq!(rate.to_string(), "850/s");
    }

    #[test]
    fn the_interval_never_exceeds_the_rate() {
        assert_eq!(Rate(1000.0).interval(), Duration::from_millis(1));
        assert_eq!(Rate(3.0).interval(), Duration::from_nanos(333_333_334));
    }

    #[test]
    fn an_out_of_range_value_names_the_key_what_it_must_be_and_what_it_is() {
        let second = Duration::from_secs(1);
        let error = OutOfRange::unless_between("metrics.tick", second, second * 90, second * 60)
            .expect_err("90 s is too long");
        assert_eq!(
            error.to_string(),
            "metrics.tick must be 1s to 1m, but is 1m 30s"
        );
    }
}
