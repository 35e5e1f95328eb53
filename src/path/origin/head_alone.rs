//! Has awc send the head of a request by itself: what follows it, and how it is framed, is the exchange's own matter.
//!
//! awc writes Content-Length, Transfer-Encoding and Connection as it understands the body that it is given. Here the
//! fields of the request say it.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use actix_http::{
    ConnectionType, RequestHead, RequestHeadType,
    body::{BodySize, MessageBody},
    header,
};
use actix_service::Service;
use awc::{ConnectRequest, middleware::Transform};
use bytes::Bytes;

/// A body that follows the head, but not through awc.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    asked: bool,
}

impl MessageBody for Elsewhere {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        // awc asks once before the head is written: a body that ends there has a length of zero for it.
        if std::mem::replace(&mut self.asked, true) {
            Poll::Ready(None)
        } else {
            Poll::Pending
        }
    }
}

/// Lets the fields of a request's head stand as they are.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadAlone;

impl<S: Service<ConnectRequest>> Transform<S, ConnectRequest> for HeadAlone {
    type Transform = Sender<S>;

    fn new_transform(self, service: S) -> Sender<S> {
        Sender { inner: service }
    }
}

/// [`HeadAlone`] before awc's own service.
#[derive(Debug)]
pub(super) struct Sender<S> {
    inner: S,
}

impl<S: Service<ConnectRequest>> Service<ConnectRequest> for Sender<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    actix_service::forward_ready!(inner);

    fn call(&self, request: ConnectRequest) -> S::Future {
        self.inner.call(match request {
            ConnectRequest::Client(RequestHeadType::Rc(head, None), body, address)
                if is_framed(&head) =>
            {
                let mut head = (*head).clone();
                head.no_chunking(true);
                if head.headers.contains_key(header::UPGRADE) {
                    head.set_connection_type(ConnectionType::Upgrade);
                }
                ConnectRequest::Client(RequestHeadType::Owned(head), body, address)
            }
            other => other,
        })
    }
}

fn is_framed(head: &RequestHead) -> bool {
    [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ]
    .iter()
    .any(|name| head.headers.contains_key(name))
}
