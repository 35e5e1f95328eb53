//! A request as HTTP/2 brings it, made one of actix's.

use std::{
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use actix_http::{
    HttpMessage as _, Payload, Request,
    error::PayloadError,
    header::{self, HeaderMap, HeaderValue},
};
use bytes::Bytes;
use futures_util::Stream;
use h2::RecvStream;

use crate::path::client::Client;

/// The request, with `client` in its extensions: each request has one of its own.
pub fn request(came: http::Request<RecvStream>, client: Rc<Client>) -> Request {
    let (parts, body) = came.into_parts();
    let payload = if body.is_end_stream() {
        Payload::None
    } else {
        Payload::Stream {
            payload: Box::pin(Incoming(body)) as actix_http::BoxedPayloadStream,
        }
    };
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

/// A request's body. The client may send more as this is read.
struct Incoming(RecvStream);

impl Stream for Incoming {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(piece) = ready!(self.0.poll_data(cx)) else {
            return Poll::Ready(None);
        };
        let piece = piece.and_then(|piece| {
            self.0.flow_control().release_capacity(piece.len())?;
            Ok(piece)
        });
        Poll::Ready(Some(piece.map_err(PayloadError::Http2Payload)))
    }
}
