//! Passes a response on to the client: status, fields and the framing of its body.

use std::{
    convert::Infallible,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context as Task, Poll},
};

use actix_http::{
    ConnectionType, Method, Request, Response, Version,
    body::{self, BodySize, BoxBody, MessageBody},
};
use bytes::Bytes;

use super::{
    body::{Body, PIECE, Transfer},
    context::Context,
    framing::Framing,
    stored::reply::Reply,
};

/// The response for the client; its body is streamed.
pub(super) fn relay(request: &Request, reply: Reply, mut context: Context) -> Response<BoxBody> {
    let Reply {
        status,
        headers,
        told,
        framing,
        mut flow,
        hit: _,
    } = reply;
    let mut response = Response::new(status);
    *response.headers_mut() = headers;

    if framing == Framing::None {
        context.meter.completed();
        // To HEAD: the length that a GET would have, without a body.
        return match told {
            Some(length) if request.method() == Method::HEAD => {
                response.set_body(BoxBody::new(Nothing(length)))
            }
            _ => response.set_body(BoxBody::new(body::None::new())),
        };
    }
    let whole = flow.take_whole();
    if let Some(whole) = whole.as_ref().filter(|whole| whole.len() <= PIECE) {
        context.meter.passed(whole.len());
        context.meter.completed();
        return response.set_body(BoxBody::new(whole.clone()));
    }
    let published = Arc::clone(&context.worker.published);
    let origin = Arc::clone(context.origin.state());
    let framing = match &whole {
        Some(whole) => Framing::Length(whole.len() as u64),
        None => framing,
    };
    let transfer = Transfer::new(flow, published, origin, context.bucket, context.meter);
    if let Some(whole) = whole {
        transfer.borrow_mut().has(whole);
    }
    let client = context.client;
    client.sends(Rc::clone(&transfer) as Rc<_>);
    let body = match framing {
        Framing::Length(length) => Body::new(transfer, BodySize::Sized(length), client),
        // No chunks for HTTP/1.0, nor if actix-http expects a WebSocket: the body ends when the connection closes.
        _ if request.version() < Version::HTTP_11 || client.offers_websocket() => {
            let head = response.head_mut();
            head.no_chunking(true);
            head.set_connection_type(ConnectionType::Close);
            Body::to_the_close(transfer, client)
        }
        _ => Body::new(transfer, BodySize::Stream, client),
    };
    response.set_body(body.boxed())
}

/// A body with a declared length that sends nothing: for HEAD.
struct Nothing(u64);

impl MessageBody for Nothing {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Task<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }
}
