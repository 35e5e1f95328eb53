//! Whom a response is for (RFC 9111, RFC 9213): whether it may answer more than the one request that it was made for. Pure.

use std::time::SystemTime;

use actix_http::{
    StatusCode,
    header::{self, HeaderMap, HeaderName, HttpDate},
};

/// Whether more than one request may be answered by a response with this status and these fields: a plain 200 that is
/// nobody's own (RFC 9111 §3, and without the exceptions made there for answers to credentials). What is said to caches
/// of the origin's side (RFC 9213) may forbid it as well.
pub fn may_be_shared(status: StatusCode, headers: &HeaderMap) -> bool {
    let mut has_age = false;
    let forbidden = directives(headers).any(|directive| {
        has_age |= directive.age().is_some();
        // `private` and `no-cache` may name fields: then, too, the answer is not for all.
        ["no-store", "private", "no-cache"]
            .iter()
            .any(|name| directive.is(name))
            || directive.age() == Some(false)
    });
    status == StatusCode::OK
        && !forbidden
        && (has_age || !has_expired(headers))
        && !members(headers, header::PRAGMA).any(|word| word.eq_ignore_ascii_case(b"no-cache"))
        && !headers.contains_key(header::SET_COOKIE)
        && !members(headers, header::VARY).any(|name| name == b"*")
}

/// Whether a response may be shared and says so itself: then it is for all who agree in what Vary names, whatever else
/// they send (RFC 9111 §3 and §4.1). One that says nothing may be made for whoever sent an API key or the like.
pub fn is_for_all(status: StatusCode, headers: &HeaderMap) -> bool {
    may_be_shared(status, headers) && tells_so(headers)
}

/// Whether it says that it is for all, apart from whether it may be shared.
pub fn tells_so(headers: &HeaderMap) -> bool {
    directives(headers).any(|directive| directive.is("public") || directive.age() == Some(true))
        || headers.contains_key(header::EXPIRES) && !has_expired(headers)
}

/// One directive of Cache-Control, or of CDN-Cache-Control (RFC 9213).
struct Directive<'a> {
    name: &'a [u8],
    value: &'a [u8],
}

impl Directive<'_> {
    fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// Whether it is an age over zero; none where it is no age.
    fn age(&self) -> Option<bool> {
        (self.is("max-age") || self.is("s-maxage")).then(|| lasts(self.value))
    }
}

fn directives(headers: &HeaderMap) -> impl Iterator<Item = Directive<'_>> {
    [header::CACHE_CONTROL, header::CDN_CACHE_CONTROL]
        .into_iter()
        .flat_map(|name| members(headers, name))
        .map(|directive| {
            let at = directive.iter().position(|&b| b == b'=');
            let (name, value) = directive.split_at(at.unwrap_or(directive.len()));
            Directive {
                name: name.trim_ascii(),
                value: value.get(1..).unwrap_or_default().trim_ascii(),
            }
        })
}

/// Whether this is an age over zero. What cannot be read is none (RFC 9111 §4.2.1).
fn lasts(age: &[u8]) -> bool {
    age.iter().all(u8::is_ascii_digit) && age.iter().any(|&b| b != b'0')
}

/// Whether Expires tells that the answer was old when it was made, as a date or as what is none (RFC 9111 §5.3).
fn has_expired(headers: &HeaderMap) -> bool {
    let date = |name| {
        let value = headers.get(name)?.to_str().ok()?;
        value
            .parse()
            .ok()
            .map(|date: HttpDate| SystemTime::from(date))
    };
    let made = date(header::DATE).unwrap_or_else(SystemTime::now);
    headers.contains_key(header::EXPIRES) && date(header::EXPIRES).is_none_or(|then| then <= made)
}

/// The members of a field that is a list (RFC 9110 §5.6.1).
pub fn members(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(name)
        .flat_map(|value| value.as_bytes().split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use actix_http::header::HeaderValue;

    use super::*;

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        fields
    }

    #[test]
    fn an_answer_that_is_somebody_s_own_is_not_shared() {
        for own in [
            ("set-cookie", "a=b"),
            ("vary", "accept, *"),
            ("cache-control", "max-age=60, Private"),
            ("cache-control", "private=\"set-cookie\""),
            ("cache-control", "no-store"),
            ("cache-control", "no-cache"),
            ("cache-control", "s-maxage=0"),
            ("cache-control", "max-age=-1"),
            ("cdn-cache-control", "private"),
            ("pragma", "no-cache"),
            ("expires", "0"),
            ("expires", "Thu, 19 Nov 1981 08:52:00 GMT"),
        ] {
            assert!(!may_be_shared(StatusCode::OK, &fields(&[own])), "{own:?}");
        }
        for anybody_s in [
            ("etag", "\"a\""),
            ("vary", "accept-encoding"),
            ("cache-control", "public, max-age=60"),
            ("cache-control", "max-age=10"),
            ("expires", "Fri, 19 Nov 2399 08:52:00 GMT"),
        ] {
            assert!(may_be_shared(StatusCode::OK, &fields(&[anybody_s])));
        }
        // max-age is heard before Expires.
        let both = [("cache-control", "max-age=10"), ("expires", "0")];
        assert!(may_be_shared(StatusCode::OK, &fields(&both)));
        assert!(!may_be_shared(StatusCode::NOT_FOUND, &HeaderMap::new()));
        assert!(!may_be_shared(
            StatusCode::PARTIAL_CONTENT,
            &HeaderMap::new()
        ));
    }
}
