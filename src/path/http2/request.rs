//! Converts a request from h2's form to actix-http's.

use std::rc::Rc;

use actix_http::{
    HttpMessage as _, Payload, Request,
    header::{self, HeaderMap, HeaderValue},
};
use h2::RecvStream;

use super::intake::Intake;
use crate::path::client::Client;

/// What a request's head says about its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// There is none, or one with or without a length.
    Told,
    /// Content-Length is zero; whether that is true is not known yet.
    Empty,
    /// Conflicting or invalid lengths, or a length beside END_STREAM (RFC 9113 §8.1.1).
    Malformed,
}

impl Body {
    /// Reads it from the request head.
    pub fn of(came: &http::Request<RecvStream>) -> Self {
        let mut lengths = came.headers().get_all(header::CONTENT_LENGTH).iter();
        let Some(length) = lengths.next() else {
            return Body::Told;
        };
        let is_number = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
        let is_zero = length.as_bytes().iter().all(|b| *b == b'0');
        match came.body().is_end_stream() {
            _ if !is_number || lengths.any(|other| other != length) => Body::Malformed,
            true if !is_zero => Body::Malformed,
            false if is_zero => Body::Empty,
            _ => Body::Told,
        }
    }
}

/// Whether the client waits for a 100 before it sends its body (RFC 9110 §10.1.1).
pub fn expects_100(came: &http::Request<RecvStream>) -> bool {
    came.headers()
        .get_all(header::EXPECT)
        .iter()
        .any(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The request, with `client` in its extensions: each stream has its own.
pub fn request(
    parts: http::request::Parts,
    intake: Option<&Intake>,
    client: Rc<Client>,
) -> Request {
    let payload = intake.map_or(Payload::None, |intake| Payload::Stream {
        payload: Box::pin(intake.incoming()) as actix_http::BoxedPayloadStream,
    });
    let mut request = Request::with_payload(payload);
    let head = request.head_mut();
    head.uri = parts.uri;
    head.method = parts.method;
    head.version = parts.version;
    head.headers = parts.headers.into();
    head.peer_addr = Some(client.peer);
    one_cookie(&mut head.headers);
    request.extensions_mut().insert(client);
    request
}

/// Joins the Cookie fields, which HTTP/2 may split, into one as HTTP/1.1 requires (RFC 9113 §8.2.3).
fn one_cookie(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .map(HeaderValue::as_bytes)
        .collect();
    if crumbs.len() > 1
        && let Ok(all) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, all);
    }
}
