//! Parses cache directives: Cache-Control (RFC 9111 §5.2) and targeted fields (RFC 9213).

use std::time::Duration;

use actix_http::header::{self, HeaderMap, HeaderName};

use super::dictionary::{self, Value};

/// The greatest age; larger or overflowing values count as this (RFC 9111 §1.2.2).
const GREATEST_AGE: u64 = 1 << 31;

/// A directive with an age in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Age {
    /// The directive is absent.
    #[default]
    Absent,
    /// It cannot be parsed: the response then counts as stale (RFC 9111 §4.2.1).
    Invalid,
    /// The value in seconds.
    Seconds(u64),
}

impl Age {
    /// The age, if there is a valid one.
    pub fn get(self) -> Option<Duration> {
        match self {
            Age::Absent => None,
            Age::Invalid => Some(Duration::ZERO),
            Age::Seconds(seconds) => Some(Duration::from_secs(seconds)),
        }
    }

    fn parse(value: Option<&[u8]>) -> Self {
        let Some(digits) = value else {
            return Age::Invalid;
        };
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Age::Invalid;
        }
        let seconds = digits.iter().fold(0_u64, |sum, digit| {
            (sum * 10 + u64::from(digit - b'0')).min(GREATEST_AGE)
        });
        Age::Seconds(seconds)
    }

    /// Combines two values of one directive: the smaller counts, and an invalid one counts as smallest.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Age::Absent, age) | (age, Age::Absent) => age,
            (Age::Seconds(a), Age::Seconds(b)) => Age::Seconds(a.min(b)),
            _ => Age::Invalid,
        }
    }
}

/// The directives of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseDirectives {
    /// `no-store`
    pub no_store: bool,
    /// `no-cache`, with or without field names: both are treated as validation before each use.
    pub no_cache: bool,
    /// `private`, with or without field names.
    pub private: bool,
    /// `public`
    pub public: bool,
    /// `must-revalidate`
    pub must_revalidate: bool,
    /// `proxy-revalidate`
    pub proxy_revalidate: bool,
    /// `must-understand`
    pub must_understand: bool,
    /// `max-age`
    pub max_age: Age,
    /// `s-maxage`
    pub s_maxage: Age,
    /// `stale-while-revalidate` (RFC 5861 §3)
    pub stale_while_revalidate: Age,
    /// `stale-if-error` (RFC 5861 §4)
    pub stale_if_error: Age,
}

impl ResponseDirectives {
    /// The directives in Cache-Control, in all its lines.
    pub fn of(fields: &HeaderMap) -> Self {
        let mut directives = Self::default();
        for (name, value) in directives_in(fields, &header::CACHE_CONTROL) {
            directives.take(name, value);
        }
        directives
    }

    /// The directives in the targeted field `name`; none if it is absent, empty or invalid, which counts as absent (RFC 9213 §2.1).
    pub fn targeted(fields: &HeaderMap, name: &HeaderName) -> Option<Self> {
        let lines: Vec<_> = fields.get_all(name).map(|line| line.as_bytes()).collect();
        let members = dictionary::parse(&lines.join(&b", "[..]))?;
        if members.is_empty() {
            return None;
        }
        let mut directives = Self::default();
        for (name, value) in members {
            match value {
                Value::Boolean(true) => directives.take(name.as_bytes(), None),
                Value::Integer(age) => {
                    directives.take(name.as_bytes(), Some(age.to_string().as_bytes()))
                }
                // Such as `no-cache="field"`.
                Value::String => directives.take(name.as_bytes(), Some(b"")),
                // ?0 switches a directive off; values of other types are ignored.
                Value::Boolean(false) | Value::Other => {}
            }
        }
        Some(directives)
    }

    fn take(&mut self, name: &[u8], value: Option<&[u8]>) {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        let age = |age: &mut Age| *age = age.and(Age::parse(value));
        if is(b"no-store") {
            self.no_store = true;
        } else if is(b"no-cache") {
            self.no_cache = true;
        } else if is(b"private") {
            self.private = true;
        } else if is(b"public") {
            self.public = true;
        } else if is(b"must-revalidate") {
            self.must_revalidate = true;
        } else if is(b"proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is(b"must-understand") {
            self.must_understand = true;
        } else if is(b"max-age") {
            age(&mut self.max_age);
        } else if is(b"s-maxage") {
            age(&mut self.s_maxage);
        } else if is(b"stale-while-revalidate") {
            age(&mut self.stale_while_revalidate);
        } else if is(b"stale-if-error") {
            age(&mut self.stale_if_error);
        }
    }
}

/// The directives of a request (RFC 9111 §5.2.1). Unknown ones are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestDirectives {
    /// `no-store`: neither the request nor its response is stored.
    pub no_store: bool,
    /// `no-cache`, or `Pragma: no-cache` without Cache-Control (RFC 9111 §5.4).
    pub no_cache: bool,
    /// `only-if-cached`
    pub only_if_cached: bool,
    /// `max-age`
    pub max_age: Age,
    /// `min-fresh`
    pub min_fresh: Age,
    /// `max-stale`; without a value, any time.
    pub max_stale: Option<Duration>,
    /// `stale-if-error`
    pub stale_if_error: Age,
}

impl RequestDirectives {
    /// Parses the request's fields.
    pub fn of(fields: &HeaderMap) -> Self {
        let mut directives = Self::default();
        let mut any = false;
        for (name, value) in directives_in(fields, &header::CACHE_CONTROL) {
            any = true;
            let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
            let age = |age: &mut Age| *age = age.and(Age::parse(value));
            if is(b"no-store") {
                directives.no_store = true;
            } else if is(b"no-cache") {
                directives.no_cache = true;
            } else if is(b"only-if-cached") {
                directives.only_if_cached = true;
            } else if is(b"max-age") {
                age(&mut directives.max_age);
            } else if is(b"min-fresh") {
                age(&mut directives.min_fresh);
            } else if is(b"stale-if-error") {
                age(&mut directives.stale_if_error);
            } else if is(b"max-stale") {
                directives.max_stale = match value {
                    None => Some(Duration::MAX),
                    // An invalid value allows nothing.
                    Some(_) => match Age::parse(value) {
                        Age::Seconds(seconds) => Some(Duration::from_secs(seconds)),
                        _ => None,
                    },
                };
            }
        }
        if !any {
            directives.no_cache = directives_in(fields, &header::PRAGMA)
                .any(|(name, _)| name.eq_ignore_ascii_case(b"no-cache"));
        }
        directives
    }
}

/// The directives in all lines of a field: name and unquoted value.
fn directives_in<'a>(
    fields: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
    fields
        .get_all(name)
        .flat_map(|line| members(line.as_bytes()))
        .map(
            |member| match member.iter().position(|&byte| byte == b'=') {
                Some(at) => {
                    let value = member[at + 1..].trim_ascii();
                    let inside = value
                        .strip_prefix(b"\"")
                        .and_then(|value| value.strip_suffix(b"\""));
                    (member[..at].trim_ascii(), Some(inside.unwrap_or(value)))
                }
                None => (member, None),
            },
        )
}

/// The members of a list (RFC 9110 §5.6.1). A comma in a quoted string does not separate.
pub fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let mut escaped = false;
    line.split(move |&byte| {
        if escaped {
            escaped = false;
        } else if quoted && byte == b'\\' {
            escaped = true;
        } else if byte == b'"' {
            quoted = !quoted;
        } else {
            return byte == b',' && !quoted;
        }
        false
    })
    .map(<[u8]>::trim_ascii)
    .filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use actix_http::header::HeaderValue;

    use super::*;

    fn fields(name: &'static str, lines: &[&str]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for line in lines {
            fields.append(
                HeaderName::from_static(name),
                HeaderValue::from_bytes(line.as_bytes()).unwrap(),
            );
        }
        fields
    }

    fn response(lines: &[&str]) -> ResponseDirectives {
        ResponseDirectives::of(&fields("cache-control", lines))
    }

    fn request(line: &str) -> RequestDirectives {
        RequestDirectives::of(&fields("cache-control", &[line]))
    }

    #[test]
    fn directives_are_read_in_all_lines_and_whatever_their_case() {
        let read = response(&["PUBLIC , Max-Age = 60", "s-maxage=\"30\", must-revalidate"]);
        assert!(read.public && read.must_revalidate && !read.no_store);
        assert_eq!(
            (read.max_age, read.s_maxage),
            (Age::Seconds(60), Age::Seconds(30))
        );
    }

    #[test]
    fn a_directive_inside_of_a_quoted_string_is_none() {
        let read = response(&["private=\"a, no-store\", max-age=1, x=\"\\\", no-cache\""]);
        assert!(read.private && !read.no_store && !read.no_cache);
        assert_eq!(read.max_age, Age::Seconds(1));
    }

    #[test]
    fn an_age_that_is_no_number_counts_as_none_at_all() {
        for line in [
            "max-age",
            "max-age=",
            "max-age=-1",
            "max-age=1.5",
            "max-age=1s",
            "max-age=\"\"",
        ] {
            assert_eq!(
                response(&[line]).max_age.get(),
                Some(Duration::ZERO),
                "{line}"
            );
        }
        assert_eq!(response(&["max-age=x, max-age=9"]).max_age, Age::Invalid);
        assert_eq!(response(&["max-age=9, max-age=5"]).max_age, Age::Seconds(5));
        assert_eq!(response(&["x=1"]).max_age.get(), None);
    }

    #[test]
    fn an_age_that_overflows_is_the_greatest() {
        let digits = "9".repeat(60);
        assert_eq!(
            response(&[&format!("max-age={digits}")]).max_age,
            Age::Seconds(GREATEST_AGE)
        );
    }

    #[test]
    fn an_unknown_request_directive_or_pragma_changes_nothing() {
        assert_eq!(
            request("no-stor, x=\"no-cache\""),
            RequestDirectives::default()
        );
        let pragma = |line| RequestDirectives::of(&fields("pragma", &[line])).no_cache;
        assert!(pragma("no-cache") && !pragma("no-store"));
        let mut both = fields("pragma", &["no-cache"]);
        both.append(header::CACHE_CONTROL, HeaderValue::from_static("max-age=5"));
        assert!(!RequestDirectives::of(&both).no_cache);
    }

    #[test]
    fn max_stale_without_a_value_takes_any_age() {
        assert_eq!(request("max-stale").max_stale, Some(Duration::MAX));
        assert_eq!(
            request("max-stale=5").max_stale,
            Some(Duration::from_secs(5))
        );
        assert_eq!(request("max-stale=soon").max_stale, None);
    }

    #[test]
    fn a_targeted_field_is_a_dictionary_and_one_that_is_none_counts_as_absent() {
        let name = HeaderName::from_static("cdn-cache-control");
        let read = |lines: &[&str]| {
            ResponseDirectives::targeted(&fields("cdn-cache-control", lines), &name)
        };
        let both = read(&["max-age=60;x=1", "must-revalidate, no-store=?0"]).unwrap();
        assert_eq!(both.max_age, Age::Seconds(60));
        assert!(both.must_revalidate && !both.no_store);
        assert!(read(&["no-store"]).unwrap().no_store);
        for broken in [
            "",
            "max-age=60 no-store",
            "Max-Age=60",
            "max-age=60,",
            "max-age=\"60",
        ] {
            assert_eq!(read(&[broken]), None, "{broken}");
        }
        assert_eq!(read(&[]), None);
    }
}
