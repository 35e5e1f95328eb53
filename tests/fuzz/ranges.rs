//! Ranges, and whether another response may go on with a body: only from the very byte, of the very version.

use actix_http::{
    StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use fileproxy::path::{
    continuation::{Ask, Continuation, Continued},
    framing::{Framing, Head},
    range::{self, ContentRange},
};

pub const TARGET: crate::Target = crate::Target {
    name: "ranges",
    words: WORDS,
    check,
};

const WORDS: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 206 Partial Content\r\n",
    "HTTP/1.1 416 Range Not Satisfiable\r\n",
    "Content-Range: bytes 4-9/10\r\n",
    "Content-Range: bytes 4-9/*\r\n",
    "Content-Range: bytes */10\r\n",
    "Content-Range: bytes 0-18446744073709551615/*\r\n",
    "Content-Length: 10\r\n",
    "Content-Length: 6\r\n",
    "Transfer-Encoding: chunked\r\n",
    "ETag: \"a\"\r\n",
    "ETag: W/\"a\"\r\n",
    "ETag: \"b\"\r\n",
    "Last-Modified: Mon, 01 Jan 2024 00:00:10 GMT\r\n",
    "Date: Mon, 01 Jan 2024 00:00:11 GMT\r\n",
    "Content-Encoding: gzip\r\n",
    "bytes=0-4",
    "bytes=-5",
    "18446744073709551615",
    "-",
    "/",
    "*",
    "\r\n",
    "\n",
    " ",
];

struct Response {
    status: StatusCode,
    fields: HeaderMap,
    framing: Framing,
}

/// The responses whose heads the input holds, one behind the other.
fn responses(mut bytes: &[u8]) -> Vec<Response> {
    let mut found = Vec::new();
    while let Ok(Some(head)) = Head::parse(bytes, false) {
        let mut fields = HeaderMap::new();
        for line in bytes[..head.len].split(|&b| b == b'\n').skip(1) {
            let Some(colon) = line.iter().position(|&b| b == b':') else {
                continue;
            };
            let name = HeaderName::from_bytes(&line[..colon]);
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
            if let (Ok(name), Ok(value)) = (name, value) {
                fields.append(name, value);
            }
        }
        if let Ok(status) = StatusCode::from_u16(head.status) {
            found.push(Response {
                status,
                fields,
                framing: head.framing,
            });
        }
        bytes = &bytes[head.len..];
    }
    found
}

fn check(bytes: &[u8]) {
    for line in bytes.split(|&b| b == b'\n') {
        let value = line.splitn(2, |&b| b == b':').last().unwrap_or_default();
        if let Ok(value) = HeaderValue::from_bytes(value.trim_ascii()) {
            check_value(&value);
        }
    }
    let responses = responses(bytes);
    let Some((first, others)) = responses.split_first() else {
        return;
    };
    let Some(body) = Continuation::of(first.status, &first.fields, first.framing) else {
        return;
    };
    let range = HeaderValue::from_str(&body.range()).unwrap();
    if let Some(length) = range::asked(&range) {
        assert_eq!(body.end().unwrap(), body.next() + length);
    }
    for taken in [0, 1, 4, 10] {
        let mut body = body.clone();
        if body.next().checked_add(taken).is_none() {
            continue;
        }
        body.advance(taken);
        for other in others {
            for ask in [Ask::Rest, Ask::Part, Ask::Beside, Ask::Whole] {
                check_continuation(&body, first, ask, other);
            }
            // One break after the other.
            _ = body.check(Ask::Rest, other.status, &other.fields, other.framing);
        }
    }
}

fn check_value(value: &HeaderValue) {
    if let Some(range) = ContentRange::parse(value) {
        let ContentRange {
            first,
            last,
            complete,
        } = range;
        assert!(first <= last && complete.is_none_or(|complete| last < complete));
        // So that no sum of it wraps.
        assert!(last < u64::MAX);
        let complete = complete.map_or("*".to_owned(), |complete| complete.to_string());
        let again = HeaderValue::from_str(&format!("bytes {first}-{last}/{complete}")).unwrap();
        assert_eq!(ContentRange::parse(&again), Some(range));
        assert_eq!(ContentRange::unsatisfied(value), None);
    }
    if let Some(complete) = ContentRange::unsatisfied(value) {
        let again = HeaderValue::from_str(&format!("bytes */{complete}")).unwrap();
        assert_eq!(ContentRange::unsatisfied(&again), Some(complete));
    }
    if range::asked(value).is_some() {
        assert!(!value.to_str().unwrap().contains(','), "several ranges");
    }
}

fn check_continuation(body: &Continuation, first: &Response, ask: Ask, other: &Response) {
    let mut after = body.clone();
    let checked = after.check(ask, other.status, &other.fields, other.framing);
    let Ok(continued) = checked else {
        return;
    };
    // The same version, in the same coding.
    let tags = |response: &Response| -> Vec<_> {
        response.fields.get_all(header::ETAG).cloned().collect()
    };
    if continued == Continued::Body {
        assert_eq!(tags(first), tags(other));
        if tags(first).is_empty() {
            let modified = |of: &Response| of.fields.get(header::LAST_MODIFIED).cloned();
            assert!(modified(first).is_some() && modified(first) == modified(other));
        }
        assert!(!fileproxy::store::validator::is_coded(&other.fields));
    } else {
        assert!(tags(other).is_empty() || tags(first) == tags(other));
    }
    // A length that was told stays told, and nothing else is believed.
    assert!(after.is_told() || !body.is_told());
    if let (true, Framing::Length(length), StatusCode::OK) =
        (body.is_told(), first.framing, first.status)
    {
        assert_eq!(after.end(), Some(length));
    }
    match (other.status, continued) {
        (StatusCode::PARTIAL_CONTENT, Continued::Body) => {
            let field = other.fields.get(header::CONTENT_RANGE).unwrap();
            let range = ContentRange::parse(field).unwrap();
            assert_eq!((range.first, after.next()), (body.next(), body.next()));
            assert_eq!(after.end(), Some(range.last + 1));
            assert!(body.end().is_none_or(|end| Some(end) == after.end()));
            assert!(!after.is_whole());
            if let Framing::Length(length) = other.framing {
                assert_eq!(length, range.last + 1 - range.first);
            }
        }
        (StatusCode::OK, Continued::Body) => {
            assert!(matches!(ask, Ask::Rest | Ask::Whole));
            assert_eq!(after.next(), 0);
            assert!(after.end().is_none_or(|end| end >= body.next()));
            assert!(!after.is_assumed());
        }
        (StatusCode::RANGE_NOT_SATISFIABLE, Continued::Nothing) => {
            assert!(after.is_whole() && after.is_assumed());
            assert_eq!(
                (after.next(), after.end()),
                (body.next(), Some(body.next()))
            );
        }
        other => panic!("{other:?}"),
    }
}
