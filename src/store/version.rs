//! Which version of a response an object is.

use actix_http::header::HeaderMap;

use super::validator::{Validator, is_coded};

/// A version of a response, told apart strongly: the same validator means the same bytes (RFC 9110 §8.8.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// What tells it apart.
    pub validator: Validator,
    /// The complete length.
    pub length: u64,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.validator.value().as_bytes()))
    }
}

impl Version {
    /// The version of a response with these fields and this complete length; none without a strong validator, or where it is coded:
    /// many servers code on the fly, give the same validator to what is not coded, and parts of that alone.
    pub fn of(fields: &HeaderMap, length: u64) -> Option<Self> {
        if is_coded(fields) {
            return None;
        }
        let validator = Validator::of(fields)?;
        Some(Version { validator, length })
    }

    /// Whether a response with these fields and this complete length is of the same version.
    pub fn names(&self, fields: &HeaderMap, length: u64) -> bool {
        self.length == length && self.validator.names(fields) && !is_coded(fields)
    }
}
