//! Strong validators, which tell versions of a file apart (RFC 9110 §8.8). Pure.

use std::{str::FromStr as _, time::Duration, time::SystemTime};

use actix_http::header::{self, HeaderMap, HeaderName, HeaderValue, HttpDate};
use serde::{Deserialize, Serialize};

/// A strong validator: responses with equal ones have the same bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validator {
    /// A strong entity tag (RFC 9110 §8.8.1).
    Tag(#[serde(with = "super::octets::value")] HeaderValue),
    /// Last-Modified of a response without ETag, if it is strong: at least a second before Date, so that there cannot be a second
    /// version within the same second (RFC 9110 §8.8.2.2).
    Date(#[serde(with = "super::octets::value")] HeaderValue),
}

impl Validator {
    /// The strong validator of a response; `None` if there is none. If there is an ETag of any kind, the date is not used (RFC 9110
    /// §13.1.5).
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        if headers.contains_key(header::ETAG) {
            return strong_tag(headers).cloned().map(Validator::Tag);
        }
        let modified = single(headers, header::LAST_MODIFIED)?;
        let age = time(single(headers, header::DATE)?)?
            .duration_since(time(modified)?)
            .ok()?;
        (age >= Duration::from_secs(1)).then(|| Validator::Date(modified.clone()))
    }

    /// Whether a response with these fields is the same version. For a date: an exact match, and no ETag.
    pub fn names(&self, headers: &HeaderMap) -> bool {
        match self {
            Validator::Tag(tag) => strong_tag(headers) == Some(tag),
            Validator::Date(modified) => {
                !headers.contains_key(header::ETAG)
                    && single(headers, header::LAST_MODIFIED) == Some(modified)
            }
        }
    }

    /// Whether the fields of a response without content, which may omit the validator, name another version.
    pub fn contradicts(&self, headers: &HeaderMap) -> bool {
        let repeated = match self {
            Validator::Tag(_) => header::ETAG,
            Validator::Date(_) => header::LAST_MODIFIED,
        };
        headers.contains_key(repeated) && !self.names(headers)
    }

    /// Memory it takes in addition to the value itself, in bytes.
    pub fn bytes(&self) -> usize {
        self.value().len()
    }

    /// Its value for If-Range.
    pub fn value(&self) -> &HeaderValue {
        let (Validator::Tag(value) | Validator::Date(value)) = self;
        value
    }
}

/// Whether the body has a content coding: its bytes may then differ between responses, whatever the ETag says.
pub fn is_coded(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// The ETag, if it is strong and the only one.
fn strong_tag(headers: &HeaderMap) -> Option<&HeaderValue> {
    let tag = single(headers, header::ETAG)?;
    let bytes = tag.as_bytes();
    let strong = bytes.len() >= 2 && bytes.starts_with(b"\"") && bytes.ends_with(b"\"");
    strong.then_some(tag)
}

fn time(value: &HeaderValue) -> Option<SystemTime> {
    HttpDate::from_str(value.to_str().ok()?)
        .ok()
        .map(Into::into)
}

/// The value of a field that occurs exactly once.
pub fn single(headers: &HeaderMap, name: HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name);
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODIFIED: (&str, &str) = ("last-modified", "Mon, 01 Jan 2024 00:00:10 GMT");
    const LATER: (&str, &str) = ("date", "Mon, 01 Jan 2024 00:00:11 GMT");

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name.parse().unwrap(), value.parse().unwrap());
        }
        map
    }

    #[test]
    fn a_strong_tag_and_a_date_a_second_old_are_strong() {
        let tag = Validator::of(&headers(&[("etag", "\"a\""), MODIFIED, LATER])).unwrap();
        assert_eq!(tag.value(), "\"a\"");
        let date = Validator::of(&headers(&[MODIFIED, LATER])).unwrap();
        assert_eq!(date.value(), MODIFIED.1);
    }

    #[test]
    fn nothing_else_is_strong() {
        for fields in [
            &[][..],
            &[MODIFIED],
            &[LATER],
            &[("etag", "W/\"a\""), MODIFIED, LATER],
            &[("etag", "a"), MODIFIED, LATER],
            &[("etag", "\"a\""), ("etag", "\"b\"")],
            &[MODIFIED, ("date", MODIFIED.1)],
            &[MODIFIED, ("date", "Mon, 01 Jan 2024 00:00:09 GMT")],
            &[MODIFIED, ("date", "yesterday")],
            &[("last-modified", "1704067210"), LATER],
            &[MODIFIED, MODIFIED, LATER],
        ] {
            assert_eq!(Validator::of(&headers(fields)), None, "{fields:?}");
        }
    }

    #[test]
    fn only_an_exact_match_names_the_same_version() {
        let date = Validator::of(&headers(&[MODIFIED, LATER])).unwrap();
        assert!(date.names(&headers(&[MODIFIED])));
        for other in [
            &[][..],
            &[("last-modified", "Mon, 01 Jan 2024 00:00:11 GMT")],
            &[("last-modified", "Monday, 01-Jan-24 00:00:10 GMT")],
            &[MODIFIED, ("etag", "\"b\"")],
            &[MODIFIED, MODIFIED],
        ] {
            assert!(!date.names(&headers(other)), "{other:?}");
        }
    }
}
