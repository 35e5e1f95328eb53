//! One request at the origin: a connection lent to awc until the response head is there.
//!
//! awc writes the request and reads the head; it takes a cut body for a whole one, though, a 103 for the response
//! and a body without length for none. So it never sees a body: the stream handed to it, [`Lent`], swallows interim
//! responses, ends after the final head, and the body is read from the connection itself, framed by
//! [`Framing`](crate::path::framing).

use std::{
    cell::RefCell,
    future::{Ready, ready},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};

use actix_http::Uri;
use actix_rt::net::{ActixStream, Ready as Readiness};
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection as ConnectedTo};
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;
use crate::path::framing::{Head, Malformed};

/// How much is read at once while a head is awaited.
const HEAD_READ: usize = 8 * 1024;

tokio::task_local! {
    /// The exchange whose request awc is sending; read by [`Lend`] when awc asks for a connection.
    pub static CURRENT: Exchange;
}

/// One request and its response head, on one connection.
#[derive(Clone, Debug)]
pub struct Exchange(Rc<RefCell<State>>);

#[derive(Debug)]
struct State {
    connection: Option<Connection>,
    /// Whether the request is HEAD: its response has no body.
    to_head: bool,
    max_head: usize,
    /// Whether any byte of a response came.
    answered: bool,
    /// When the request was last written to.
    sent: Option<Instant>,
    head: Option<(Head, Bytes, Instant)>,
    /// How much of the head awc has read.
    handed: usize,
    failure: Option<HeadError>,
}

/// Why there is no response head.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// The origin closed the connection, or it broke.
    #[error("the connection broke before the response head: {0}")]
    Broken(#[source] io::Error),
    /// What came is no HTTP.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The head does not end.
    #[error("the response head is longer than {0} bytes")]
    TooLong(usize),
    /// The origin switched to another protocol, which nobody had asked for.
    #[error("the origin switched protocols without being asked")]
    Switched,
}

/// A response head, its bytes, and the connection that its body comes from.
#[derive(Debug)]
pub struct Answered {
    /// What the head says of the message.
    pub head: Head,
    /// The head as it came.
    pub bytes: Bytes,
    /// When the request was out.
    pub sent: Instant,
    /// When the head was there.
    pub received: Instant,
    /// Where the body comes from.
    pub connection: Connection,
}

impl Exchange {
    /// A request about to be sent over `connection`.
    pub fn new(connection: Connection, to_head: bool, max_head: usize) -> Self {
        Exchange(Rc::new(RefCell::new(State {
            connection: Some(connection),
            to_head,
            max_head,
            answered: false,
            sent: None,
            head: None,
            handed: 0,
            failure: None,
        })))
    }

    /// Whether any byte of a response came.
    pub fn answered(&self) -> bool {
        self.0.borrow().answered
    }

    /// Why there is no head, where the stream knows.
    pub fn take_failure(&self) -> Option<HeadError> {
        self.0.borrow_mut().failure.take()
    }

    /// The connection cannot be used again: the origin still waits for a part of the request on it.
    pub fn spoil(&self) {
        if let Some((head, ..)) = &mut self.0.borrow_mut().head {
            head.keep_alive = false;
        }
    }

    /// The final response head as it came; `None` while there is none.
    pub fn head_bytes(&self) -> Option<Bytes> {
        self.0
            .borrow()
            .head
            .as_ref()
            .map(|(_, bytes, _)| bytes.clone())
    }

    /// Waits for the final response head, whatever awc is doing.
    pub fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Result<Head, io::Error>> {
        self.0.borrow_mut().poll_head(cx)
    }

    /// The head and the connection; `None` if there is no head.
    pub fn into_answered(self) -> Option<Answered> {
        let mut state = self.0.borrow_mut();
        let (head, bytes, received) = state.head.take()?;
        let connection = state.connection.take()?;
        Some(Answered {
            head,
            bytes,
            sent: state.sent.unwrap_or(received),
            received,
            connection,
        })
    }
}

impl State {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Head>> {
        loop {
            if let Some((head, ..)) = &self.head {
                return Poll::Ready(Ok(*head));
            }
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            if !connection.buf.is_empty() {
                self.answered = true;
                let parsed = match Head::parse(&connection.buf, self.to_head) {
                    Ok(None) if connection.buf.len() >= self.max_head => {
                        Err(HeadError::TooLong(self.max_head))
                    }
                    Ok(Some(head)) if head.len > self.max_head => {
                        Err(HeadError::TooLong(self.max_head))
                    }
                    Ok(Some(head)) if head.status == 101 => Err(HeadError::Switched),
                    other => other.map_err(HeadError::from),
                };
                match parsed {
                    Ok(Some(head)) if head.status < 200 => {
                        // An interim response: the final one follows on the same connection (RFC 9110 §15.2).
                        connection.buf.advance(head.len);
                        continue;
                    }
                    Ok(Some(head)) => {
                        let bytes = connection.buf.split_to(head.len).freeze();
                        self.head = Some((head, bytes, Instant::now()));
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

/// The stream that awc gets: writes go to the connection, reads end after the final response head.
#[derive(Debug)]
pub struct Lent(Exchange);

impl AsyncRead for Lent {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let state = &mut *self.0.0.borrow_mut();
        if let Poll::Ready(Err(error)) = state.poll_head(cx) {
            return Poll::Ready(Err(error));
        }
        let Some((_, bytes, _)) = &state.head else {
            return Poll::Pending;
        };
        let rest = &bytes[state.handed..];
        let n = rest.len().min(out.remaining());
        out.put_slice(&rest[..n]);
        state.handed += n;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Lent {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let state = &mut *self.0.0.borrow_mut();
        let Some(connection) = &mut state.connection else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let written = connection.poll_write(cx, bytes);
        if written.is_ready() {
            state.sent = Some(Instant::now());
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0.0.borrow_mut().connection {
            Some(connection) => connection.poll_flush(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection is not awc's to close.
        Poll::Ready(Ok(()))
    }
}

impl ActixStream for Lent {
    fn poll_read_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Readiness>> {
        Poll::Ready(Ok(Readiness::READABLE))
    }

    fn poll_write_ready(&self, _: &mut Context<'_>) -> Poll<io::Result<Readiness>> {
        Poll::Ready(Ok(Readiness::WRITABLE))
    }
}

/// The connector that awc asks: it lends the connection of the [`CURRENT`] exchange.
#[derive(Clone, Debug)]
pub struct Lend;

impl Service<ConnectInfo<Uri>> for Lend {
    type Response = ConnectedTo<Uri, Lent>;
    type Error = ConnectError;
    type Future = Ready<Result<Self::Response, Self::Error>>;

    actix_service::always_ready!();

    fn call(&self, request: ConnectInfo<Uri>) -> Self::Future {
        ready(
            CURRENT
                .try_with(Exchange::clone)
                .map(|exchange| ConnectedTo::new(request.request().clone(), Lent(exchange)))
                .map_err(|_| ConnectError::Unresolved),
        )
    }
}
