//! A request as HTTP/2 brings it, made one of actix's.

use std::{
    cell::Cell,
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

/// Whether it tells of a body and ends without one: it is malformed (RFC 9113 §8.1.1).
pub fn lacks_its_body(came: &http::Request<RecvStream>) -> bool {
    let length = came.headers().get(header::CONTENT_LENGTH);
    came.body().is_end_stream() && length.is_some_and(|length| length != "0")
}

/// The request, with `client` in its extensions: each request has one of its own. With it whether all of its body came,
/// once it is dropped.
pub fn request(came: http::Request<RecvStream>, client: Rc<Client>) -> (Request, Rc<Cell<bool>>) {
    let (parts, body) = came.into_parts();
    let whole = Rc::new(Cell::new(body.is_end_stream()));
    let payload = if whole.get() {
        Payload::None
    } else {
        let whole = Rc::clone(&whole);
        Payload::Stream {
            payload: Box::pin(Incoming { body, whole }) as actix_http::BoxedPayloadStream,
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
    (request, whole)
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
struct Incoming {
    body: RecvStream,
    whole: Rc<Cell<bool>>,
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.whole.set(self.body.is_end_stream());
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(piece) = ready!(self.body.poll_data(cx)) else {
            return Poll::Ready(None);
        };
        let piece = piece.and_then(|piece| {
            self.body.flow_control().release_capacity(piece.len())?;
            Ok(piece)
        });
        Poll::Ready(Some(piece.map_err(PayloadError::Http2Payload)))
    }
}
