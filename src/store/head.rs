//! The head of a stored response.

use std::time::SystemTime;

use actix_http::{StatusCode, header::HeaderMap};

use super::freshness::Freshness;

/// Status, fields and freshness. A 304 puts another one in its place.
#[derive(Clone, Debug)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// The fields, without those of one hop.
    pub fields: HeaderMap,
    /// How long it may be used.
    pub freshness: Freshness,
    /// When it was stored or last validated.
    pub validated: SystemTime,
}

impl Head {
    /// Bytes that its fields take in memory.
    pub fn bytes(&self) -> u64 {
        let lines = self.fields.iter();
        lines
            .map(|(name, value)| name.as_str().len() + value.len() + 64)
            .sum::<usize>() as u64
    }
}
