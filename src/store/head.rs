//! The head of a stored response.

use std::time::SystemTime;

use actix_http::{StatusCode, header::HeaderMap};

use super::freshness::Freshness;

/// Status, fields and freshness. Replaced when a 304 validates the response.
#[derive(Clone, Debug)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// The fields, without hop-by-hop ones.
    pub fields: HeaderMap,
    /// How long it may be used.
    pub freshness: Freshness,
    /// When it was stored or last validated.
    pub validated: SystemTime,
}

impl Head {
    /// Memory of its fields, in bytes.
    pub fn bytes(&self) -> u64 {
        let lines = self.fields.iter();
        lines
            .map(|(name, value)| name.as_str().len() + value.len() + 64)
            .sum::<usize>() as u64
    }
}
