//! Byte ranges (RFC 9110 §14), and when a body that broke may be continued. Pure.

use actix_http::{
    StatusCode,
    header::{self, HeaderMap, HeaderValue},
};

use super::framing::Framing;

/// `Content-Range: bytes first-last/complete`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The first byte's position.
    pub first: u64,
    /// The last byte's position.
    pub last: u64,
    /// The length of the whole, if the origin knows it.
    pub complete: Option<u64>,
}

impl ContentRange {
    /// Reads the field's value; `None` for anything that makes no sense.
    pub fn parse(value: &HeaderValue) -> Option<Self> {
        let (range, complete) = unit_bytes(value)?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let (first, last) = (number(first)?, number(last)?);
        let complete = match complete.trim() {
            "*" => None,
            complete => Some(number(complete)?),
        };
        let sound = first <= last && complete.is_none_or(|complete| last < complete);
        sound.then_some(ContentRange {
            first,
            last,
            complete,
        })
    }

    /// The length of the whole, from `bytes */complete`: what a 416 says.
    pub fn unsatisfied(value: &HeaderValue) -> Option<u64> {
        number(unit_bytes(value)?.strip_prefix("*/")?)
    }
}

/// Whether the origin says that it has ranges (RFC 9110 §14.3).
pub fn offered(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT_RANGES)
        .is_some_and(|units| units.as_bytes().eq_ignore_ascii_case(b"bytes"))
}

/// How many bytes a request's `Range` asks for; none where it does not tell, or asks for several ranges.
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

/// The entity tag, if it is a strong one (RFC 9110 §8.8.1): only that says that two bodies are the same to the byte.
pub fn strong_validator(headers: &HeaderMap) -> Option<&HeaderValue> {
    let mut tags = headers.get_all(header::ETAG);
    let tag = tags.next()?;
    let bytes = tag.as_bytes();
    let strong = bytes.len() >= 2 && bytes.starts_with(b"\"") && bytes.ends_with(b"\"");
    (strong && tags.next().is_none()).then_some(tag)
}

/// Whether the body is coded: its bytes may then differ from one answer to the next, whatever the tag says.
pub fn is_coded(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Where a body stands, and what must hold for another response to go on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    etag: HeaderValue,
    /// The position of the next byte, counted from the start of the whole.
    next: u64,
    /// The position behind the last byte that is wanted, if known.
    end: Option<u64>,
    /// The length of the whole, if known.
    complete: Option<u64>,
}

/// Why a response does not go on with a body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Not a 206: the origin has no ranges, or the file is another one now.
    #[error("the origin answered {0} to a request for the rest")]
    Status(u16),
    /// Another version.
    #[error("the file changed: its validator is another one")]
    Validator,
    /// Another part than the one asked for.
    #[error("the origin sent another range than the one asked for")]
    Range,
    /// A coded body.
    #[error("the rest came with a content coding")]
    Coded,
}

/// What a response to the request for the rest brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continued {
    /// The rest.
    Body,
    /// The word that there is no rest: everything came before the break.
    Nothing,
}

impl Continuation {
    /// At the first byte of a response's body; `None` if another response could not go on with it.
    pub fn of(status: StatusCode, headers: &HeaderMap, framing: Framing) -> Option<Self> {
        let etag = strong_validator(headers)?.clone();
        if is_coded(headers) {
            return None;
        }
        let (next, end, complete) = match (status, framing) {
            (StatusCode::OK, Framing::Length(length)) => (0, Some(length), Some(length)),
            (StatusCode::OK, Framing::Chunked | Framing::UntilClose) => (0, None, None),
            (StatusCode::PARTIAL_CONTENT, framing) => {
                let range = ContentRange::parse(single(headers, header::CONTENT_RANGE)?)?;
                let length = range.last - range.first + 1;
                if matches!(framing, Framing::Length(told) if told != length) {
                    return None;
                }
                (range.first, Some(range.last + 1), range.complete)
            }
            _ => return None,
        };
        Some(Continuation {
            etag,
            next,
            end,
            complete,
        })
    }

    /// The part from `from` to before `end`, of the same version.
    pub fn part(&self, from: u64, end: u64) -> Self {
        Continuation {
            next: from,
            end: Some(end),
            ..self.clone()
        }
    }

    /// Only what lies before `end` is wanted.
    pub fn limit(&mut self, end: u64) {
        self.end = Some(end);
    }

    /// The position behind the last byte that is wanted, if known.
    pub fn end(&self) -> Option<u64> {
        self.end
    }

    /// So many bytes of the body were taken.
    pub fn advance(&mut self, bytes: u64) {
        self.next += bytes;
    }

    /// Whether all that is wanted was taken, as far as that is known.
    pub fn is_whole(&self) -> bool {
        self.end.is_some_and(|end| self.next >= end)
    }

    /// Whether an end here would leave something out.
    pub fn falls_short(&self) -> bool {
        self.end.is_some_and(|end| self.next < end)
    }

    /// The position of the next byte.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The tag for If-Range.
    pub fn validator(&self) -> &HeaderValue {
        &self.etag
    }

    /// The Range to ask for.
    pub fn range(&self) -> String {
        match self.end {
            // All the way to the end of the whole needs no end.
            Some(end) if self.complete != Some(end) => {
                format!("bytes={}-{}", self.next, end.saturating_sub(1))
            }
            _ => format!("bytes={}-", self.next),
        }
    }

    /// Whether a response goes on just here, with the same version.
    ///
    /// # Errors
    ///
    /// [`Mismatch`]: not a byte of it may be used.
    pub fn check(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        framing: Framing,
    ) -> Result<Continued, Mismatch> {
        if status == StatusCode::RANGE_NOT_SATISFIABLE {
            // A body without a length that broke behind its last byte.
            let complete =
                single(headers, header::CONTENT_RANGE).and_then(ContentRange::unsatisfied);
            let same = strong_validator(headers).is_none_or(|etag| *etag == self.etag);
            return match complete {
                Some(complete) if self.end.is_none() && complete == self.next && same => {
                    Ok(Continued::Nothing)
                }
                _ => Err(Mismatch::Status(status.as_u16())),
            };
        }
        if status != StatusCode::PARTIAL_CONTENT {
            return Err(Mismatch::Status(status.as_u16()));
        }
        if strong_validator(headers) != Some(&self.etag) {
            return Err(Mismatch::Validator);
        }
        if is_coded(headers) {
            return Err(Mismatch::Coded);
        }
        let range = single(headers, header::CONTENT_RANGE)
            .and_then(ContentRange::parse)
            .ok_or(Mismatch::Range)?;
        let length = range.last - range.first + 1;
        let fits = range.first == self.next
            && self.end.is_none_or(|end| range.last + 1 == end)
            && (self.complete.is_none()
                || range.complete.is_none()
                || range.complete == self.complete)
            && (self.end.is_some() || range.complete == Some(range.last + 1))
            && !matches!(framing, Framing::Length(told) if told != length)
            && framing != Framing::None;
        if !fits {
            return Err(Mismatch::Range);
        }
        self.end = Some(range.last + 1);
        self.complete = self.complete.or(range.complete);
        Ok(Continued::Body)
    }
}

/// How many bytes the body of a 206 with one range has, whatever its framing says.
pub fn length(headers: &HeaderMap) -> Option<u64> {
    let range = ContentRange::parse(single(headers, header::CONTENT_RANGE)?)?;
    Some(range.last - range.first + 1)
}

/// A field that must stand alone.
fn single(headers: &HeaderMap, name: header::HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name.parse().unwrap(), value.parse().unwrap());
        }
        map
    }

    fn of_ten() -> Continuation {
        Continuation::of(
            StatusCode::OK,
            &headers(&[("etag", "\"a\"")]),
            Framing::Length(10),
        )
        .unwrap()
    }

    fn answer(etag: &str, range: &str) -> HeaderMap {
        headers(&[("etag", etag), ("content-range", range)])
    }

    const PARTIAL: StatusCode = StatusCode::PARTIAL_CONTENT;

    #[test]
    fn only_a_strong_validator_lets_a_body_go_on() {
        for fields in [
            &[("etag", "W/\"a\"")][..],
            &[("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT")],
            &[],
        ] {
            assert_eq!(
                Continuation::of(StatusCode::OK, &headers(fields), Framing::Length(10)),
                None
            );
        }
    }

    #[test]
    fn a_coded_body_does_not_go_on() {
        let coded = headers(&[("etag", "\"a\""), ("content-encoding", "gzip")]);
        assert_eq!(
            Continuation::of(StatusCode::OK, &coded, Framing::Length(10)),
            None
        );
    }

    #[test]
    fn the_rest_is_asked_for_from_the_next_byte() {
        let mut body = of_ten();
        body.advance(4);
        assert_eq!(body.range(), "bytes=4-");
        let mut part = Continuation::of(
            PARTIAL,
            &answer("\"a\"", "bytes 2-5/10"),
            Framing::Length(4),
        )
        .unwrap();
        part.advance(1);
        assert_eq!(part.range(), "bytes=3-5");
    }

    #[test]
    fn the_right_rest_is_taken() {
        let mut body = of_ten();
        body.advance(4);
        let rest = answer("\"a\"", "bytes 4-9/10");
        assert_eq!(
            body.check(PARTIAL, &rest, Framing::Length(6)),
            Ok(Continued::Body)
        );
    }

    #[test]
    fn every_lie_about_the_rest_is_seen() {
        for (etag, range, length, why) in [
            ("\"b\"", "bytes 4-9/10", 6, Mismatch::Validator),
            ("W/\"a\"", "bytes 4-9/10", 6, Mismatch::Validator),
            ("\"a\"", "bytes 3-9/10", 7, Mismatch::Range),
            ("\"a\"", "bytes 4-8/10", 5, Mismatch::Range),
            ("\"a\"", "bytes 4-9/11", 6, Mismatch::Range),
            ("\"a\"", "bytes 4-9/10", 7, Mismatch::Range),
            ("\"a\"", "bytes 9-4/10", 6, Mismatch::Range),
            ("\"a\"", "lines 4-9/10", 6, Mismatch::Range),
        ] {
            let mut body = of_ten();
            body.advance(4);
            let answered = body.check(PARTIAL, &answer(etag, range), Framing::Length(length));
            assert_eq!(answered, Err(why), "{etag} {range} {length}");
        }
        let mut body = of_ten();
        assert_eq!(
            body.check(StatusCode::OK, &answer("\"a\"", "x"), Framing::Length(10)),
            Err(Mismatch::Status(200))
        );
    }

    #[test]
    fn a_body_without_length_that_broke_behind_its_last_byte_is_whole() {
        let mut body = Continuation::of(
            StatusCode::OK,
            &headers(&[("etag", "\"a\"")]),
            Framing::Chunked,
        )
        .unwrap();
        body.advance(10);
        let status = StatusCode::RANGE_NOT_SATISFIABLE;
        let all = headers(&[("content-range", "bytes */10")]);
        assert_eq!(
            body.clone().check(status, &all, Framing::Length(0)),
            Ok(Continued::Nothing)
        );
        let more = headers(&[("content-range", "bytes */11")]);
        assert!(body.check(status, &more, Framing::Length(0)).is_err());
    }
}
