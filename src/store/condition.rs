//! What a stored 200 answers to conditional and range requests: RFC 9110 §13.2.2 and §14.2.

use std::{ops::Range, time::SystemTime};

use actix_http::header::{self, HeaderMap};

use super::freshness::{date, members_of};

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200 with the whole body.
    Whole,
    /// 206 with this range.
    Part(Range<u64>),
    /// 304
    NotModified,
    /// 416
    Unsatisfiable,
    /// Only the origin can decide: several ranges, a range of a body with unknown length, or a condition such as If-Match.
    Unknown,
}

/// The fields of a stored response that conditions are compared with.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Its fields.
    pub fields: &'a HeaderMap,
    /// Its complete length, if known.
    pub length: Option<u64>,
}

impl Stored<'_> {
    fn etag(&self) -> Option<&[u8]> {
        Some(self.fields.get(header::ETAG)?.as_bytes().trim_ascii())
    }

    /// Last-Modified, or Date if there is none (RFC 9111 §4.3.2).
    fn modified(&self) -> Option<SystemTime> {
        date(self.fields, &header::LAST_MODIFIED).or_else(|| date(self.fields, &header::DATE))
    }

    /// The answer to a GET or HEAD with these fields.
    pub fn answer(&self, asked: &HeaderMap) -> Answer {
        // Only the origin may evaluate these two (RFC 9111 §4.3.2).
        if asked.contains_key(header::IF_MATCH) || asked.contains_key(header::IF_UNMODIFIED_SINCE) {
            return Answer::Unknown;
        }
        if asked.contains_key(header::IF_NONE_MATCH) {
            if self.is_named(asked) {
                return Answer::NotModified;
            }
        } else if let Some(since) = date(asked, &header::IF_MODIFIED_SINCE)
            && self.modified().is_some_and(|modified| modified <= since)
        {
            return Answer::NotModified;
        }
        match asked.get(header::RANGE) {
            Some(range) if self.holds_if_range(asked) => self.range(range.as_bytes()),
            _ => Answer::Whole,
        }
    }

    /// Whether If-None-Match matches this response; `*` matches any.
    fn is_named(&self, asked: &HeaderMap) -> bool {
        members_of(asked, &header::IF_NONE_MATCH)
            .any(|tag| tag == b"*" || self.etag().is_some_and(|etag| weak(tag, etag)))
    }

    /// Whether If-Range, if present, allows the range (RFC 9110 §13.1.5): by a strong ETag or a strong date.
    fn holds_if_range(&self, asked: &HeaderMap) -> bool {
        let Some(condition) = asked.get(header::IF_RANGE) else {
            return true;
        };
        let condition = condition.as_bytes().trim_ascii();
        if condition.starts_with(b"\"") || condition.starts_with(b"W/") {
            return self.etag().is_some_and(|etag| strong(condition, etag));
        }
        let since = date(asked, &header::IF_RANGE);
        since.is_some() && since == strong_modified(self.fields)
    }

    fn range(&self, range: &[u8]) -> Answer {
        let Some(set) = unit(range) else {
            // An unknown range unit or an invalid range is ignored.
            return Answer::Whole;
        };
        let mut specs = set.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        let (Some(spec), None) = (specs.next(), specs.next()) else {
            return Answer::Unknown;
        };
        let Some(dash) = spec.iter().position(|&byte| byte == b'-') else {
            return Answer::Whole;
        };
        let (first, last) = (number(&spec[..dash]), number(&spec[dash + 1..]));
        let is_empty = |part: &[u8]| part.is_empty();
        let Some(length) = self.length else {
            return Answer::Unknown;
        };
        match (first, last) {
            (Some(first), Some(last)) if first > last => Answer::Whole,
            (Some(first), _)
                if first >= length && (last.is_some() || is_empty(&spec[dash + 1..])) =>
            {
                Answer::Unsatisfiable
            }
            (Some(first), Some(last)) => Answer::Part(first..last.saturating_add(1).min(length)),
            (Some(first), None) if is_empty(&spec[dash + 1..]) => Answer::Part(first..length),
            (None, Some(last)) if is_empty(&spec[..dash]) => match last.min(length) {
                0 => Answer::Unsatisfiable,
                suffix => Answer::Part(length - suffix..length),
            },
            _ => Answer::Whole,
        }
    }
}

/// Last-Modified, if it is a strong validator: at least a second before Date (RFC 9110 §8.8.2.2).
fn strong_modified(fields: &HeaderMap) -> Option<SystemTime> {
    let modified = date(fields, &header::LAST_MODIFIED)?;
    let sent = date(fields, &header::DATE)?;
    let apart = sent.duration_since(modified).ok()?;
    (apart.as_secs() >= 1).then_some(modified)
}

fn is_strong(tag: &[u8]) -> bool {
    tag.len() >= 2 && tag.starts_with(b"\"") && tag.ends_with(b"\"")
}

fn strong(a: &[u8], b: &[u8]) -> bool {
    is_strong(a) && a == b
}

fn weak(a: &[u8], b: &[u8]) -> bool {
    let opaque = |tag| <[u8]>::strip_prefix(tag, b"W/").unwrap_or(tag);
    opaque(a) == opaque(b)
}

/// The range set behind `bytes=` (case-insensitive).
fn unit(range: &[u8]) -> Option<&[u8]> {
    let at = range.iter().position(|&byte| byte == b'=')?;
    let (unit, set) = (&range[..at], &range[at + 1..]);
    unit.trim_ascii()
        .eq_ignore_ascii_case(b"bytes")
        .then_some(set)
}

fn number(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // A number that overflows exceeds any length.
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use actix_http::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        fields
    }

    fn answer(asked: &[(&'static str, &str)]) -> Answer {
        let stored = fields(&[
            ("etag", "\"a\""),
            ("last-modified", MODIFIED),
            ("date", LATER),
        ]);
        let stored = Stored {
            fields: &stored,
            length: Some(100),
        };
        stored.answer(&fields(asked))
    }

    #[test]
    fn conditions_are_looked_at_in_the_order_of_the_rfc() {
        use Answer::{NotModified, Unknown, Whole};
        let rows: &[(&[(&'static str, &str)], Answer)] = &[
            (&[], Whole),
            (&[("if-none-match", "\"a\"")], NotModified),
            (&[("if-none-match", "\"b\", W/\"a\"")], NotModified),
            (&[("if-none-match", "\"b\"")], Whole),
            (&[("if-none-match", "*")], NotModified),
            // If-None-Match takes precedence over If-Modified-Since.
            (
                &[("if-none-match", "\"b\""), ("if-modified-since", LATER)],
                Whole,
            ),
            (&[("if-modified-since", MODIFIED)], NotModified),
            (&[("if-modified-since", EARLIER)], Whole),
            (&[("if-modified-since", "yesterday")], Whole),
            (&[("if-match", "\"a\"")], Unknown),
            (&[("if-unmodified-since", EARLIER)], Unknown),
            (&[("if-match", "*"), ("if-none-match", "\"a\"")], Unknown),
        ];
        for (asked, expected) in rows {
            assert_eq!(answer(asked), *expected, "{asked:?}");
        }
    }

    #[test]
    fn without_last_modified_the_date_answers() {
        let stored = fields(&[("date", MODIFIED)]);
        let stored = Stored {
            fields: &stored,
            length: None,
        };
        let since = |date| stored.answer(&fields(&[("if-modified-since", date)]));
        assert_eq!(
            (since(MODIFIED), since(EARLIER)),
            (Answer::NotModified, Answer::Whole)
        );
    }

    #[test]
    fn one_range_is_a_part_and_what_is_no_range_is_not_looked_at() {
        use Answer::{Part, Unknown, Unsatisfiable, Whole};
        let rows = [
            ("bytes=0-0", Part(0..1)),
            ("BYTES=10-19", Part(10..20)),
            ("bytes=90-1000", Part(90..100)),
            ("bytes=90-99999999999999999999999", Part(90..100)),
            ("bytes=90-", Part(90..100)),
            ("bytes=-10", Part(90..100)),
            ("bytes=-1000", Part(0..100)),
            ("bytes=100-", Unsatisfiable),
            ("bytes=100-200", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=0-1, 5-6", Unknown),
            ("bytes=5-1", Whole),
            ("bytes=a-b", Whole),
            ("bytes=-", Whole),
            ("bytes=1", Whole),
            ("seconds=0-1", Whole),
            ("bytes 0-1", Whole),
        ];
        for (range, expected) in rows {
            assert_eq!(answer(&[("range", range)]), expected, "{range}");
        }
        let unknown = Stored {
            fields: &HeaderMap::new(),
            length: None,
        };
        assert_eq!(unknown.answer(&fields(&[("range", "bytes=0-1")])), Unknown);
    }

    #[test]
    fn if_range_lets_a_range_hold_only_for_the_same_version() {
        let range = |condition: &str| answer(&[("range", "bytes=0-1"), ("if-range", condition)]);
        assert_eq!(range("\"a\""), Answer::Part(0..2));
        assert_eq!(range(MODIFIED), Answer::Part(0..2));
        for other in ["\"b\"", "W/\"a\"", EARLIER, LATER, "x"] {
            assert_eq!(range(other), Answer::Whole, "{other}");
        }
    }

    #[test]
    fn a_last_modified_within_the_second_of_date_is_not_strong() {
        let of = |date| strong_modified(&fields(&[("last-modified", MODIFIED), ("date", date)]));
        assert!(of(LATER).is_some());
        assert!(of(MODIFIED).is_none() && of(EARLIER).is_none());
        assert!(strong_modified(&fields(&[("last-modified", MODIFIED)])).is_none());
    }

    proptest! {
        #[test]
        fn a_part_lies_within_the_body(range in "bytes=[0-9]{0,4}-[0-9]{0,4}", length in 0_u64..2000) {
            let stored = Stored { fields: &HeaderMap::new(), length: Some(length) };
            if let Answer::Part(part) = stored.answer(&fields(&[("range", &range)])) {
                prop_assert!(part.start < part.end && part.end <= length);
            }
        }
    }
}
