//! Byte ranges (RFC 9110 §14). Pure.

use actix_http::header::{self, HeaderMap, HeaderValue};

use crate::store::validator::single;

/// `Content-Range: bytes first-last/complete`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The first byte's position.
    pub first: u64,
    /// The last byte's position.
    pub last: u64,
    /// The complete length, if the origin knows it.
    pub complete: Option<u64>,
}

impl ContentRange {
    /// Parses the field's value; `None` if it is invalid.
    pub fn parse(value: &HeaderValue) -> Option<Self> {
        let (range, complete) = unit_bytes(value)?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        let complete = match complete.trim() {
            "*" => None,
            complete => Some(number(complete)?),
        };
        let sound = first <= last && last < complete.unwrap_or(u64::MAX);
        sound.then_some(ContentRange {
            first,
            last,
            complete,
        })
    }

    /// The complete length from `bytes */complete`, as sent with a 416.
    pub fn unsatisfied(value: &HeaderValue) -> Option<u64> {
        number(unit_bytes(value)?.strip_prefix("*/")?)
    }
}

/// Whether the origin declares support for ranges (RFC 9110 §14.3).
pub fn offered(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT_RANGES)
        .is_some_and(|units| units.as_bytes().eq_ignore_ascii_case(b"bytes"))
}

/// How many bytes a request's `Range` covers; none if that is unknown, or for several ranges.
pub fn asked(value: &HeaderValue) -> Option<u64> {
    let value = value.to_str().ok()?.trim();
    let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
    match (number(first), number(last)) {
        (Some(first), Some(last)) => last.checked_sub(first)?.checked_add(1),
        (None, suffix) if first.trim().is_empty() => suffix,
        _ => None,
    }
}

fn unit_bytes(value: &HeaderValue) -> Option<&str> {
    let value = value.to_str().ok()?.trim();
    let (unit, rest) = value.split_at_checked(5)?;
    unit.eq_ignore_ascii_case("bytes")
        .then(|| rest.trim_start())
}

fn number(digits: &str) -> Option<u64> {
    let digits = digits.trim();
    (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        .then(|| digits.parse().ok())?
}

/// The body length of a 206 with one range, whatever its framing.
pub fn length(headers: &HeaderMap) -> Option<u64> {
    let range = ContentRange::parse(single(headers, header::CONTENT_RANGE)?)?;
    Some(range.last - range.first + 1)
}
