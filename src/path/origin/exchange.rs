//! One request at the origin: a connection lent to awc until the response head is there.
//!
//! awc writes the request's head and waits for an answer; it takes a cut body for a whole one, though, a 103 for the
//! response and a body without length for none, and refuses heads that can be read. So it sees neither: the stream handed
//! to it, [`Lent`], says only `ANSWERED` once the final head is here. The head is read here, and the body from the
//! connection itself, framed by [`Framing`](crate::path::framing).

use std::{
    cell::RefCell,
    future::{Ready, ready},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Instant,
};

use actix_http::{
    StatusCode, Uri,
    header::{self, HeaderMap, HeaderValue},
};
use actix_rt::net::{ActixStream, Ready as Readiness};
use actix_service::Service;
use actix_tls::connect::{ConnectError, ConnectInfo, Connection as ConnectedTo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    answer_head::AnswerHead,
    connection::{Connection, Writer},
};
use crate::path::{
    client::Client,
    framing::{Head, Malformed},
    headers,
};

/// How much is read at once while a head is awaited.
const HEAD_READ: usize = 8 * 1024;

/// What awc gets to read when there is an answer: with a body to come, for only then it forgets the connection.
const ANSWERED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n";

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
    /// What the request offers to speak.
    offer: Option<HeaderValue>,
    /// Who gets interim responses, where anybody does.
    informed: Option<Rc<Client>>,
    max_head: usize,
    /// Whether any byte of a response came.
    answered: bool,
    /// Whether awc is through with the request's head: it then begins to read.
    head_is_out: bool,
    /// When the request was last written to.
    sent: Option<Instant>,
    head: Option<(AnswerHead, Instant)>,
    /// How much of [`ANSWERED`] awc has read.
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
    /// The origin switched to a protocol that nobody had asked for.
    #[error("the origin switched to a protocol that was not asked for")]
    Switched,
}

/// A response head, and the connection that its body comes from.
#[derive(Debug)]
pub struct Answered {
    /// What the head says of the message.
    pub head: Head,
    /// The status.
    pub status: StatusCode,
    /// The fields as they came.
    pub headers: HeaderMap,
    /// When the request was out.
    pub sent: Instant,
    /// When the head was there.
    pub received: Instant,
    /// Where the body comes from.
    pub connection: Connection,
}

impl Exchange {
    /// A request about to be sent over `connection`: whether it is HEAD, and what it offers to speak. `informed` gets the
    /// interim responses.
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

    /// Where the request's body goes, once its head is out.
    pub fn writer(&self) -> Option<Writer> {
        let state = self.0.borrow();
        let connection = state.connection.as_ref().filter(|_| state.head_is_out)?;
        Some(connection.writer())
    }

    /// What the final response's head says of the message; `None` while there is none.
    pub fn head(&self) -> Option<Head> {
        Some(self.0.borrow().head.as_ref()?.0.head)
    }

    /// The head and the connection; `None` if there is no head.
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
                        // What a client expects is answered before the request goes out (100).
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

/// Whether a 101 switches to what was offered, and to nothing else (RFC 9110 §15.2.2).
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

/// The stream that awc gets: writes go to the connection, reads end once the final response head is here.
#[derive(Debug)]
pub struct Lent(Exchange);

impl AsyncRead for Lent {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let state = &mut *self.0.0.borrow_mut();
        state.head_is_out = true;
        ready!(state.poll_head(cx))?;
        let rest = &ANSWERED[state.handed..];
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
        let Some(connection) = &state.connection else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let written = connection.writer().poll_write(cx, bytes);
        if written.is_ready() {
            state.sent = Some(Instant::now());
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.0.0.borrow().connection {
            Some(connection) => connection.writer().poll_flush(cx),
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
