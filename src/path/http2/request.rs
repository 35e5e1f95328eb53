//! A request as HTTP/2 brings it, made one of actix's.

use std::rc::Rc;

use actix_http::{
    HttpMessage as _, Payload, Request,
    header::{self, HeaderMap, HeaderValue},
};
use h2::RecvStream;

use super::intake::Intake;
use crate::path::client::Client;

/// What a request says of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// It has none, or one that comes with or without a length.
    Told,
    /// Its length is zero, and whether that is true is not known yet.
    Empty,
    /// It tells two lengths, or what is no length, or of a body and ends without one (RFC 9113 §8.1.1).
    Malformed,
}

impl Body {
    /// What this one says.
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

/// Whether the client waits to be told to go on before it sends its body (RFC 9110 §10.1.1).
pub fn expects_100(came: &http::Request<RecvStream>) -> bool {
    came.headers()
        .get_all(header::EXPECT)
        .iter()
        .any(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// The request, with `client` in its extensions: each request has one of its own.
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

/// Cookies come as a field each; HTTP/1.1 has one for all (RFC 9113 §8.2.3).
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
