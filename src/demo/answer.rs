//! Gives the testbed's answers over actix-web.

use std::convert::Infallible;

use actix_web::{HttpRequest, HttpResponse, body::SizedStream, http::StatusCode};
use bytes::Bytes;
use fileproxy_testbed::{answer::Answer, representation::Representation};
use futures_util::{Stream, stream};

/// Bytes of a body that are generated at a time.
const PIECE: u64 = 64 * 1024;

/// Requests with more ranges are answered with the whole.
const MOST_RANGES: usize = 32;

/// The answer to `request`, GET or HEAD, for what was found: 200, 206, 304, 412 or 416.
pub fn respond(request: &HttpRequest, found: &Representation) -> HttpResponse {
    let field = |name: &str| {
        let values = request.headers().get_all(name);
        let values: Vec<_> = values.filter_map(|value| value.to_str().ok()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    };
    let mut answer = Answer::to(request.method().as_str(), field, found, MOST_RANGES);
    let mut response = HttpResponse::build(StatusCode::from_u16(answer.status).unwrap_or_default());
    for field in std::mem::take(&mut answer.fields) {
        response.insert_header(field);
    }
    match answer.length {
        Some(length) => response.body(SizedStream::new(length, pieces(answer))),
        None => response.finish(),
    }
}

/// What is left of an answer's body, piece by piece.
pub fn pieces(mut answer: Answer) -> impl Stream<Item = Result<Bytes, Infallible>> + Unpin {
    stream::iter(std::iter::from_fn(move || answer.next_piece(PIECE)).map(Ok))
}
