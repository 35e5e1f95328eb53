//! Builds a stored response for one client: status, fields and body, by the client's range and conditions.

use std::{ops::Range, rc::Rc, sync::Arc, time::SystemTime};

use actix_http::{
    Method, StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};

use super::{cache_status::CacheStatus, fetcher::Fetcher, reader::StoredReader};
use crate::{
    path::{
        flow::Flow,
        framing::Framing,
        headers::{self, content_length},
        origin::{Fetched, body::OriginBody},
        rendered::response::Hit,
    },
    store::{
        Store,
        condition::{Answer, Stored},
        counters::Kind,
        head::Head,
        object::Object,
    },
};

/// A response, ready to be passed on.
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The fields.
    pub headers: HeaderMap,
    /// The length that a GET would have, if no body follows.
    pub told: Option<u64>,
    /// How the body is delimited.
    pub framing: Framing,
    /// The body.
    pub flow: Flow,
    /// What it is of the store, if it came completely from memory.
    pub hit: Option<Box<Hit>>,
}

/// Fields that a 304 carries (RFC 9110 §15.4.5), and Last-Modified for clients without an ETag.
const OF_NOT_MODIFIED: [HeaderName; 8] = [
    header::CACHE_CONTROL,
    header::CONTENT_LOCATION,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::VARY,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
];

impl Reply {
    /// The origin's response, for the request with this id.
    pub fn fetched(fetched: Fetched, id: &HeaderValue) -> Self {
        let told = content_length(&fetched.headers);
        let mut reply = Reply {
            status: fetched.status,
            headers: fetched.headers,
            told,
            framing: fetched.framing,
            flow: Flow::Origin(OriginBody::One(fetched.source)),
            hit: None,
        };
        reply.pass_on(id);
        reply
    }

    /// Turns its fields into those for the client.
    pub fn pass_on(&mut self, id: &HeaderValue) {
        headers::to_client(&mut self.headers, self.status, id);
    }

    /// The range of `object` that a request with these fields gets; none if it gets no body.
    pub fn part(object: &Object, method: &Method, asked: &HeaderMap) -> Option<Range<u64>> {
        if *method == Method::HEAD {
            return None;
        }
        let length = object.length();
        match Self::answer(&object.head(), length, asked) {
            Answer::Part(part) => Some(part),
            Answer::Whole => Some(0..length.unwrap_or(u64::MAX)),
            Answer::NotModified | Answer::Unsatisfiable | Answer::Unknown => None,
        }
    }

    fn answer(head: &Head, length: Option<u64>, asked: &HeaderMap) -> Answer {
        if head.status != StatusCode::OK {
            return Answer::Whole;
        }
        let fields = &head.fields;
        Stored { fields, length }.answer(asked)
    }

    /// The response from `object` to the client's request; `is_own`: this request fetched it. None if only the origin can decide.
    pub fn of(
        store: &Arc<Store>,
        object: &Arc<Object>,
        kind: Kind,
        method: &Method,
        fetcher: &Rc<Fetcher>,
        is_own: bool,
    ) -> Option<Self> {
        let head = object.head();
        let length = object.length();
        let (status, part) = match Self::answer(&head, length, &fetcher.fields) {
            // The origin sent the whole body to this very request.
            Answer::Unknown if is_own && length.is_none() => (head.status, None),
            Answer::Unknown => return None,
            Answer::NotModified => (StatusCode::NOT_MODIFIED, None),
            Answer::Unsatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, None),
            Answer::Part(part) => (StatusCode::PARTIAL_CONTENT, Some(part)),
            Answer::Whole => (head.status, None),
        };
        let headers = fields(
            object,
            &head,
            kind,
            status,
            part.as_ref().map(|part| (part.start, part.end)),
        );
        let bodiless = *method == Method::HEAD || status == StatusCode::NOT_MODIFIED;
        let part = match status {
            // No bytes at all.
            StatusCode::RANGE_NOT_SATISFIABLE => Some(0..0),
            _ => part,
        };
        let framing = match (&part, length) {
            _ if bodiless => Framing::None,
            (Some(part), _) => Framing::Length(part.end - part.start),
            (None, Some(length)) => Framing::Length(length),
            (None, None) => Framing::Chunked,
        };
        let told = match status {
            StatusCode::NOT_MODIFIED => None,
            _ => part.as_ref().map(|part| part.end - part.start).or(length),
        };
        let (begin, end) = match &part {
            Some(part) => (part.start, Some(part.end)),
            None => (0, None),
        };
        let reader = StoredReader::new(Arc::clone(store), object, begin, end, Rc::clone(fetcher));
        object.hit();
        Some(Reply {
            status,
            headers,
            told,
            framing,
            flow: Flow::Stored(Box::new(reader)),
            hit: None,
        })
    }
}

/// The fields for the client: the stored ones, with Age and Cache-Status.
fn fields(
    object: &Object,
    head: &Head,
    kind: Kind,
    status: StatusCode,
    part: Option<(u64, u64)>,
) -> HeaderMap {
    let now = SystemTime::now();
    let mut fields = HeaderMap::new();
    for (name, value) in &head.fields {
        if status != StatusCode::NOT_MODIFIED || OF_NOT_MODIFIED.contains(name) {
            fields.append(name.clone(), value.clone());
        }
    }
    let length = object.length();
    let range = match (status, part) {
        (StatusCode::PARTIAL_CONTENT, Some((begin, end))) => {
            let complete = length.map_or_else(|| "*".to_owned(), |length| length.to_string());
            Some(format!("bytes {begin}-{}/{complete}", end - 1))
        }
        (StatusCode::RANGE_NOT_SATISFIABLE, _) => {
            fields.remove(header::CONTENT_TYPE);
            fields.remove(header::CONTENT_ENCODING);
            length.map(|length| format!("bytes */{length}"))
        }
        _ => None,
    };
    if let Some(range) = range.and_then(|range| HeaderValue::from_str(&range).ok()) {
        fields.insert(header::CONTENT_RANGE, range);
    }
    fields.insert(header::AGE, head.freshness.age(now).as_secs().into());
    let status = CacheStatus {
        kind,
        ttl: Some(head.freshness.ttl(now)),
        stored: matches!(kind, Kind::Miss | Kind::Joined | Kind::Revalidated) && !object.is_gone(),
        partial: kind.is_hit() && !object.is_whole(),
    };
    fields.append(header::CACHE_STATUS, status.value());
    fields
}
