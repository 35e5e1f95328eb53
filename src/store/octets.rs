//! Byte strings in JSON: each byte is written as the character with its number (ISO 8859-1). Field values may not be UTF-8 (RFC
//! 9110 §5.5), and are restored byte for byte.

use serde::{Deserialize, Serialize};

/// Bytes that are serialized as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Octets(pub Box<[u8]>);

/// A character above 255.
#[derive(Debug, thiserror::Error)]
#[error("a character over U+00FF is no octet")]
pub struct NoOctet;

impl From<&[u8]> for Octets {
    fn from(bytes: &[u8]) -> Self {
        Octets(bytes.into())
    }
}

impl From<Octets> for String {
    fn from(octets: Octets) -> Self {
        octets.0.iter().map(|&byte| char::from(byte)).collect()
    }
}

impl TryFrom<String> for Octets {
    type Error = NoOctet;

    fn try_from(text: String) -> Result<Self, NoOctet> {
        let octets = text.chars().map(u8::try_from);
        octets
            .collect::<Result<_, _>>()
            .map(Octets)
            .map_err(|_| NoOctet)
    }
}

/// Serializes a field value as its bytes.
pub mod value {
    use actix_http::header::HeaderValue;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de};

    use super::Octets;

    /// Serializes it.
    ///
    /// # Errors
    ///
    /// Those of the format.
    pub fn serialize<S: Serializer>(value: &HeaderValue, to: S) -> Result<S::Ok, S::Error> {
        Octets::from(value.as_bytes()).serialize(to)
    }

    /// Deserializes it.
    ///
    /// # Errors
    ///
    /// It is not a valid field value.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<HeaderValue, D::Error> {
        let octets = Octets::deserialize(from)?;
        HeaderValue::from_bytes(&octets.0).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        let json = serde_json::to_string(&Octets::from(&all[..])).unwrap();
        let back: Octets = serde_json::from_str(&json).unwrap();
        assert_eq!(*back.0, *all);
        assert!(serde_json::from_str::<Octets>("\"\u{100}\"").is_err());
    }
}
