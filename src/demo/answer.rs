//! Answers GET and HEAD for a representation, with conditions and ranges by RFC 9110, sections 13 and 14.

use std::{
    collections::VecDeque,
    ops::Range,
    time::{Duration, SystemTime},
};

use actix_web::{
    HttpMessage, HttpRequest, HttpResponse, HttpResponseBuilder,
    body::SizedStream,
    http::{
        Method, StatusCode,
        header::{self, ByteRangeSpec, EntityTag, HttpDate, IfRange},
    },
};
use bytes::Bytes;
use futures_util::stream;

use super::content::Content;

/// Bytes of a body that are generated at a time.
const PIECE: u64 = 64 * 1024;

/// Requests with more ranges are answered with the whole.
const MOST_RANGES: usize = 32;

/// 2024-01-01T00:00:00Z: a fixed date, because the content never changes.
const LAST_MODIFIED: Duration = Duration::from_secs(1_704_067_200);

/// Separates the parts of a multi-range response.
const BOUNDARY: &str = "fileproxy-demo-3d6b6a416f9e";

/// A resource: bytes and their type.
#[derive(Clone, Debug)]
pub struct Representation {
    /// The bytes.
    pub content: Content,
    /// The media type.
    pub media_type: &'static str,
}

impl Representation {
    /// The answer to `request`: 200, 206, 304, 412 or 416.
    pub fn answer(&self, request: &HttpRequest) -> HttpResponse {
        let etag = EntityTag::new_strong(self.content.fingerprint());
        let modified = SystemTime::UNIX_EPOCH + LAST_MODIFIED;
        if !holds(request, &etag, modified) {
            return self.head(StatusCode::PRECONDITION_FAILED, &etag).finish();
        }
        if is_known(request, &etag, modified) {
            return self.head(StatusCode::NOT_MODIFIED, &etag).finish();
        }
        let len = self.content.len();
        match wanted(request, len, &etag, modified) {
            Wanted::Whole => self.body(
                request,
                self.head(StatusCode::OK, &etag),
                vec![Part::Content(0..len)],
            ),
            Wanted::Nothing => {
                let mut response = self.head(StatusCode::RANGE_NOT_SATISFIABLE, &etag);
                response.insert_header((header::CONTENT_RANGE, format!("bytes */{len}")));
                response.finish()
            }
            Wanted::Ranges(ranges) if ranges.len() == 1 => {
                let range = ranges[0].clone();
                let mut response = self.head(StatusCode::PARTIAL_CONTENT, &etag);
                response.insert_header((header::CONTENT_RANGE, content_range(&range, len)));
                self.body(request, response, vec![Part::Content(range)])
            }
            Wanted::Ranges(ranges) => {
                let mut response = self.head(StatusCode::PARTIAL_CONTENT, &etag);
                response.insert_header((
                    header::CONTENT_TYPE,
                    format!("multipart/byteranges; boundary={BOUNDARY}"),
                ));
                self.body(request, response, self.multipart(ranges))
            }
        }
    }

    fn head(&self, status: StatusCode, etag: &EntityTag) -> HttpResponseBuilder {
        let mut response = HttpResponse::build(status);
        response
            .insert_header(header::ETag(etag.clone()))
            .insert_header(header::LastModified(HttpDate::from(
                SystemTime::UNIX_EPOCH + LAST_MODIFIED,
            )))
            .insert_header((header::ACCEPT_RANGES, "bytes"))
            .insert_header((header::CACHE_CONTROL, "public, max-age=3600"));
        if status.is_success() {
            response.content_type(self.media_type);
        }
        response
    }

    fn body(
        &self,
        request: &HttpRequest,
        mut response: HttpResponseBuilder,
        parts: Vec<Part>,
    ) -> HttpResponse {
        let len = parts.iter().map(Part::len).sum();
        if request.method() == Method::HEAD {
            let nothing = stream::empty::<Result<Bytes, std::convert::Infallible>>();
            return response.body(SizedStream::new(len, nothing));
        }
        let content = self.content.clone();
        let state = (content, VecDeque::from(parts));
        let pieces = stream::unfold(state, |(content, mut parts)| async move {
            let piece = next_piece(&content, &mut parts)?;
            Some((Ok::<_, std::convert::Infallible>(piece), (content, parts)))
        });
        response.body(SizedStream::new(len, Box::pin(pieces)))
    }

    fn multipart(&self, ranges: Vec<Range<u64>>) -> Vec<Part> {
        let len = self.content.len();
        let mut parts = Vec::new();
        for range in ranges {
            let head = format!(
                "\r\n--{BOUNDARY}\r\nContent-Type: {}\r\nContent-Range: {}\r\n\r\n",
                self.media_type,
                content_range(&range, len)
            );
            parts.push(Part::Text(head.into()));
            parts.push(Part::Content(range));
        }
        parts.push(Part::Text(format!("\r\n--{BOUNDARY}--\r\n").into()));
        parts
    }
}

/// A part of a body.
enum Part {
    Text(Bytes),
    Content(Range<u64>),
}

impl Part {
    fn len(&self) -> u64 {
        match self {
            Part::Text(text) => text.len() as u64,
            Part::Content(range) => range.end - range.start,
        }
    }
}

fn next_piece(content: &Content, parts: &mut VecDeque<Part>) -> Option<Bytes> {
    loop {
        match parts.front_mut()? {
            Part::Text(text) => {
                let text = std::mem::take(text);
                parts.pop_front();
                return Some(text);
            }
            Part::Content(range) if range.is_empty() => {
                parts.pop_front();
            }
            Part::Content(range) => {
                let end = range.end.min(range.start + PIECE);
                let piece = content.read(range.start..end);
                range.start = end;
                return Some(piece);
            }
        }
    }
}

fn content_range(range: &Range<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", range.start, range.end - 1)
}

/// Evaluates If-Match and If-Unmodified-Since: whether to continue (RFC 9110 section 13.2.2, steps 1 and 2).
fn holds(request: &HttpRequest, etag: &EntityTag, modified: SystemTime) -> bool {
    if let Some(tags) = request.get_header::<header::IfMatch>() {
        return match tags {
            header::IfMatch::Any => true,
            header::IfMatch::Items(tags) => tags.iter().any(|tag| tag.strong_eq(etag)),
        };
    }
    match request.get_header::<header::IfUnmodifiedSince>() {
        Some(header::IfUnmodifiedSince(date)) => modified <= SystemTime::from(date),
        None => true,
    }
}

/// Evaluates If-None-Match and If-Modified-Since: whether the client has it already (steps 3 and 4).
fn is_known(request: &HttpRequest, etag: &EntityTag, modified: SystemTime) -> bool {
    if let Some(tags) = request.get_header::<header::IfNoneMatch>() {
        return match tags {
            header::IfNoneMatch::Any => true,
            header::IfNoneMatch::Items(tags) => tags.iter().any(|tag| tag.weak_eq(etag)),
        };
    }
    match request.get_header::<header::IfModifiedSince>() {
        Some(header::IfModifiedSince(date)) => modified <= SystemTime::from(date),
        None => false,
    }
}

/// Which part of a representation is requested.
enum Wanted {
    Whole,
    /// Only ranges that are not satisfiable.
    Nothing,
    Ranges(Vec<Range<u64>>),
}

/// Evaluates Range and If-Range (step 5). An invalid range is ignored.
fn wanted(request: &HttpRequest, len: u64, etag: &EntityTag, modified: SystemTime) -> Wanted {
    if request.method() != Method::GET || !request.headers().contains_key(header::RANGE) {
        return Wanted::Whole;
    }
    let same = match request.get_header::<IfRange>() {
        Some(IfRange::EntityTag(tag)) => tag.strong_eq(etag),
        Some(IfRange::Date(date)) => SystemTime::from(date) == modified,
        None => !request.headers().contains_key(header::IF_RANGE),
    };
    let Some(header::Range::Bytes(specs)) = request.get_header::<header::Range>().filter(|_| same)
    else {
        return Wanted::Whole;
    };
    let backwards = |spec: &ByteRangeSpec| matches!(spec, ByteRangeSpec::FromTo(a, b) if b < a);
    if specs.is_empty() || specs.len() > MOST_RANGES || specs.iter().any(backwards) {
        return Wanted::Whole;
    }
    let ranges: Vec<_> = specs
        .iter()
        .filter_map(|spec| spec.to_satisfiable_range(len))
        .map(|(first, last)| first..last + 1)
        .collect();
    if ranges.is_empty() {
        Wanted::Nothing
    } else {
        Wanted::Ranges(ranges)
    }
}
