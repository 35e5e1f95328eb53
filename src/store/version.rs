//! The version of an object.

use actix_http::header::HeaderMap;

use super::validator::{Validator, is_coded};

/// A version of a response: the same strong validator means the same bytes (RFC 9110 §8.8.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its strong validator.
    pub validator: Validator,
    /// Its complete length.
    pub length: u64,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.validator.value().as_bytes()))
    }
}

impl Version {
    /// The version of a response with these fields and this complete length; none without a strong validator or with a content
    /// coding: many servers code on the fly, use the same validator for the uncoded body, and serve ranges only of that.
    pub fn of(fields: &HeaderMap, length: u64) -> Option<Self> {
        if is_coded(fields) {
            return None;
        }
        let validator = Validator::of(fields)?;
        Some(Version { validator, length })
    }

    /// Whether a response with these fields and this complete length is the same version.
    pub fn names(&self, fields: &HeaderMap, length: u64) -> bool {
        self.length == length && self.validator.names(fields) && !is_coded(fields)
    }
}
