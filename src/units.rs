//! Values with units, checked where they are read.

use bytesize::ByteSize;

/// A size without a unit, or no size at all.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size: give a number with its unit, like 64KiB or 8MiB")]
pub struct NotASize(pub String);

/// Reads a size that carries its unit.
///
/// # Errors
///
/// [`NotASize`] for a bare number or anything else.
pub fn size(word: &str) -> Result<ByteSize, NotASize> {
    if word.trim_end().ends_with(|c: char| c.is_ascii_digit()) {
        return Err(NotASize(word.to_owned()));
    }
    word.parse().map_err(|_| NotASize(word.to_owned()))
}

/// For serde: a size that carries its unit, as text.
pub mod sized {
    use bytesize::ByteSize;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    /// Writes the size with its unit.
    ///
    /// # Errors
    ///
    /// The serializer's own.
    pub fn serialize<S: Serializer>(size: &ByteSize, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(size)
    }

    /// Reads a size with its unit.
    ///
    /// # Errors
    ///
    /// [`super::NotASize`] in the deserializer's words.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
        super::size(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
