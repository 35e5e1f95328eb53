//! One request to the origin, up to its response head.
//!
//! awc builds the request and passes it to its connector service, which [`Exchanger`] replaces, because awc accepts a truncated
//! body as complete, a 103 as the final response and a body without length as empty, refuses heads that are acceptable, and reads
//! nothing while it sends a body. So the head is written and read here, on a [`Connection`] of the pool, and the body is read from
//! the connection itself, framed by [`Framing`](crate::path::framing).

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Instant,
};

use actix_http::{
    RequestHeadType, StatusCode,
    header::{self, HeaderMap, HeaderValue},
};
use actix_service::Service;
use awc::{
    ConnectRequest, ConnectResponse, error::SendRequestError, middleware::Transform,
    test::TestResponse,
};
use bytes::Buf as _;
use futures_util::future::LocalBoxFuture;

use super::{
    answer_head::AnswerHead, connection::Connection, head_error::HeadError,
    request_head::write_head, stream::Writer,
};
use crate::path::{client::Client, framing::Head, headers};

/// Bytes that are read at once while the head is awaited.
const HEAD_READ: usize = 8 * 1024;

tokio::task_local! {
    /// The current exchange; read by [`Exchanger`] within awc's call.
    pub static CURRENT: Exchange;
}

/// One request and its response head, on one connection.
#[derive(Clone, Debug)]
pub struct Exchange(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    connection: Option<Connection>,
    /// Whether the request is HEAD, whose response has no body.
    to_head: bool,
    /// The protocol that the request offers to switch to.
    offer: Option<HeaderValue>,
    /// The client that receives interim responses; none if they are dropped.
    informed: Option<Rc<Client>>,
    max_head: usize,
    /// Whether any byte of a response came.
    answered: bool,
    /// Whether the whole request head is written.
    head_is_out: bool,
    /// When part of the request was last written.
    sent: Option<Instant>,
    head: Option<(AnswerHead, Instant)>,
    failure: Option<HeadError>,
}

/// A response head, and the connection to read the body from.
#[derive(Debug)]
pub struct Answered {
    /// The framing that the head declares.
    pub head: Head,
    /// The status.
    pub status: StatusCode,
    /// The fields as received.
    pub headers: HeaderMap,
    /// When the request was sent completely.
    pub sent: Instant,
    /// When the head was received.
    pub received: Instant,
    /// The connection to read the body from.
    pub connection: Connection,
}

impl Exchange {
    /// An exchange over `connection`: whether the request is HEAD, and the protocol it offers. `informed` receives interim
    /// responses.
    pub fn new(
        connection: Connection,
        (to_head, offer): (bool, Option<HeaderValue>),
        informed: Option<Rc<Client>>,
        max_head: usize,
    ) -> Self {
        Exchange(Rc::new(RefCell::new(State {
            connection: Some(connection),
            to_head,
            offer,
            informed,
            max_head,
            answered: false,
            head_is_out: false,
            sent: None,
            head: None,
            failure: None,
        })))
    }

    /// Whether any byte of a response came.
    pub fn answered(&self) -> bool {
        self.0.borrow().answered
    }

    /// Why there is no head, if the connection knows.
    pub fn take_failure(&self) -> Option<HeadError> {
        self.0.borrow_mut().failure.take()
    }

    /// The write half for the request's body, once its head is sent.
    pub fn writer(&self) -> Option<Writer> {
        let state = self.0.borrow();
        let connection = state.connection.as_ref().filter(|_| state.head_is_out)?;
        Some(connection.body_writer())
    }

    /// The framing of the final response; `None` before it has arrived.
    pub fn head(&self) -> Option<Head> {
        Some(self.0.borrow().head.as_ref()?.0.head)
    }

    /// The response head and the connection; `None` if there is no head.
    pub fn into_answered(self) -> Option<Answered> {
        let mut state = self.0.borrow_mut();
        let (answer, received) = state.head.take()?;
        let connection = state.connection.take()?;
        Some(Answered {
            head: answer.head,
            status: answer.status,
            headers: answer.headers,
            sent: state.sent.unwrap_or(received),
            received,
            connection,
        })
    }
}

impl State {
    /// Writes the request head, then reads the response head.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.head_is_out {
            ready!(self.poll_send(cx))?;
            self.head_is_out = true;
        }
        self.poll_head(cx)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let writer = connection.writer();
        let sent = loop {
            if connection.out.is_empty() {
                break ready!(writer.poll_flush(cx));
            }
            match ready!(writer.poll_write(cx, &connection.out)) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    connection.out.advance(n);
                    self.sent = Some(Instant::now());
                }
                Err(error) => break Err(error),
            }
        };
        Poll::Ready(sent.map_err(|error| self.fail(HeadError::Broken(error))))
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.head.is_some() {
                return Poll::Ready(Ok(()));
            }
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            if !connection.buf.is_empty() {
                self.answered = true;
                match AnswerHead::take(&mut connection.buf, self.to_head, self.max_head) {
                    Ok(Some(answer)) if answer.head.status == 101 => {
                        if !switches_as(self.offer.as_ref(), &answer.headers) {
                            return Poll::Ready(Err(self.fail(HeadError::Switched)));
                        }
                        self.head = Some((answer, Instant::now()));
                        continue;
                    }
                    // An interim response: the final one follows on the same connection (RFC 9110 §15.2).
                    Ok(Some(mut answer)) if answer.head.status < 200 => {
                        // A 100 is not passed on: the client's Expect was answered before the request was sent.
                        if let Some(client) = &self.informed
                            && answer.status != StatusCode::CONTINUE
                        {
                            headers::to_client_early(&mut answer.headers);
                            client.send_interim(answer.status, &answer.headers);
                        }
                        continue;
                    }
                    Ok(Some(answer)) => {
                        self.head = Some((answer, Instant::now()));
                        continue;
                    }
                    Ok(None) => {}
                    Err(error) => return Poll::Ready(Err(self.fail(error))),
                }
            }
            let most = HEAD_READ;
            match connection.poll_fill(cx, most) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => {
                    let end = io::Error::new(io::ErrorKind::UnexpectedEof, "the origin closed it");
                    return Poll::Ready(Err(self.fail(HeadError::Broken(end))));
                }
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(self.fail(HeadError::Broken(error))));
                }
            }
        }
    }

    fn fail(&mut self, error: HeadError) -> io::Error {
        self.connection = None;
        let told = io::Error::other(error.to_string());
        self.failure = Some(error);
        told
    }
}

/// Whether a 101 switches to exactly the offered protocol (RFC 9110 §15.2.2).
fn switches_as(offer: Option<&HeaderValue>, headers: &HeaderMap) -> bool {
    let mut chosen = headers.get_all(header::UPGRADE);
    match (offer, chosen.next(), chosen.next()) {
        (Some(offer), Some(chosen), None) => offer
            .as_bytes()
            .trim_ascii()
            .eq_ignore_ascii_case(chosen.as_bytes().trim_ascii()),
        _ => false,
    }
}

/// Installs [`Exchanger`] instead of awc's connector service.
#[derive(Clone, Copy, Debug)]
pub struct Exchanging;

impl<S> Transform<S, ConnectRequest> for Exchanging {
    type Transform = Exchanger;

    fn new_transform(self, _: S) -> Exchanger {
        Exchanger
    }
}

/// Performs the [`CURRENT`] exchange instead of awc, up to the response head.
#[derive(Clone, Copy, Debug)]
pub struct Exchanger;

impl Service<ConnectRequest> for Exchanger {
    type Response = ConnectResponse;
    type Error = SendRequestError;
    type Future = LocalBoxFuture<'static, Result<ConnectResponse, SendRequestError>>;

    actix_service::always_ready!();

    fn call(&self, request: ConnectRequest) -> Self::Future {
        let exchange = CURRENT.try_with(Exchange::clone);
        let head = match request {
            ConnectRequest::Client(RequestHeadType::Rc(head, _), ..) => Some(head),
            _ => None,
        };
        Box::pin(async move {
            let (Ok(exchange), Some(head)) = (exchange, head) else {
                return Err(SendRequestError::TunnelNotSupported);
            };
            if let Some(connection) = &mut exchange.0.borrow_mut().connection {
                write_head(&head, &mut connection.out);
            }
            poll_fn(|cx| exchange.0.borrow_mut().poll(cx)).await?;
            // The exchange keeps the real response. awc needs one to return, and this is its only public way to make one.
            Ok(ConnectResponse::Client(TestResponse::default().finish()))
        })
    }
}
