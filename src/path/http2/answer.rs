//! Sends a response over one HTTP/2 stream.

use std::{
    cell::Cell,
    future::{Future as _, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use actix_http::{
    Response, ResponseHead, StatusCode,
    body::{BodySize, MessageBody},
    header::{self, HttpDate, TryIntoHeaderValue as _},
};
use bytes::Bytes;
use h2::{Reason, SendStream, server::SendResponse};
use tokio::time::Sleep;

use super::outgoing::is_of_http1;
use crate::path::client::Client;

/// How the exchange over one stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The whole response was handed to the connection.
    Whole,
    /// The client cancelled the request or violated the protocol on this stream.
    Reset,
    /// The client read nothing for too long; the stream was reset.
    Stalled,
    /// The response's body failed; the stream was reset.
    Broken,
    /// The connection is closed.
    Gone,
}

impl From<h2::Error> for Ended {
    fn from(error: h2::Error) -> Self {
        // Reset by the client, or by h2 because of what the client did.
        if error.is_reset() {
            Ended::Reset
        } else {
            Ended::Gone
        }
    }
}

/// Send timeout and progress, shared by all responses of one connection.
#[derive(Clone, Debug)]
pub struct Pace {
    /// How long a client may read nothing before its stream is reset.
    pub patience: Duration,
    /// Bytes that the connection's socket has accepted so far.
    pub taken: Rc<Cell<u64>>,
}

/// Sends a response.
pub async fn send<B: MessageBody>(
    response: Response<B>,
    respond: &mut SendResponse<Bytes>,
    to_head: bool,
    client: &Client,
    pace: &Pace,
) -> Ended {
    let (response, body) = response.into_parts();
    let size = body.size();
    let bodiless = size.is_eof() || to_head || is_bodiless(response.status());
    let mut stream = match respond.send_response(head(response.head(), size), bodiless) {
        Ok(stream) => stream,
        Err(error) => return error.into(),
    };
    if bodiless {
        return Ended::Whole;
    }
    let mut body = pin!(body);
    loop {
        let next = poll_fn(|cx| match body.as_mut().poll_next(cx) {
            Poll::Pending => poll_left(&mut stream, cx).map(Err),
            ready => ready.map(Ok),
        });
        let mut piece = match next.await {
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(_))) => {
                // Bytes handed out earlier are flushed first, because a reset discards them. Yielding lets the connection be polled
                // at least once.
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                // Only a reset tells the client that the body is incomplete.
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Ended::Broken;
            }
            Ok(None) => {
                return match stream.send_data(Bytes::new(), true) {
                    Ok(()) => Ended::Whole,
                    Err(error) => error.into(),
                };
            }
            Err(ended) => return ended,
        };
        while !piece.is_empty() {
            stream.reserve_capacity(piece.len());
            let mut room = Room::new(pace);
            match poll_fn(|cx| room.poll(&mut stream, client, cx)).await {
                Ok(room) => {
                    let part = piece.split_to(room.min(piece.len()));
                    if let Err(error) = stream.send_data(part, false) {
                        return error.into();
                    }
                }
                Err(ended) => {
                    if ended == Ended::Stalled {
                        stream.send_reset(Reason::CANCEL);
                    }
                    return ended;
                }
            }
        }
    }
}

/// Ready when the client has cancelled the request or left.
fn poll_left(stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Ended> {
    stream.poll_reset(cx).map(|reset| match reset {
        Ok(_) => Ended::Reset,
        Err(error) => error.into(),
    })
}

/// Waits until the client allows more bytes: limited by the stream's window, the connection's window, or the socket.
struct Room<'a> {
    pace: &'a Pace,
    /// The value of `taken` when the timeout started, and the timer.
    timer: Option<(u64, Pin<Box<Sleep>>)>,
}

impl<'a> Room<'a> {
    fn new(pace: &'a Pace) -> Self {
        Room { pace, timer: None }
    }

    fn poll(
        &mut self,
        stream: &mut SendStream<Bytes>,
        client: &Client,
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, Ended>> {
        if let Poll::Ready(room) = stream.poll_capacity(cx) {
            return Poll::Ready(match room {
                Some(Ok(room)) => Ok(room),
                Some(Err(error)) => Err(error.into()),
                None => Err(Ended::Reset),
            });
        }
        // Meanwhile the origin's body is read ahead, as far as the level's buffer allows.
        client.poll_ahead(cx);
        let Pace { patience, taken } = self.pace;
        let (before, timer) = self
            .timer
            .get_or_insert_with(|| (taken.get(), Box::pin(tokio::time::sleep(*patience))));
        loop {
            ready!(timer.as_mut().poll(cx));
            // The connection serves its streams in turn: while others make progress, this one has not timed out.
            if *before == taken.get() {
                return Poll::Ready(Err(Ended::Stalled));
            }
            *before = taken.get();
            timer
                .as_mut()
                .reset(tokio::time::Instant::now() + *patience);
        }
    }
}

/// Statuses that never have a body (RFC 9110 §6.4.1).
fn is_bodiless(status: StatusCode) -> bool {
    status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
}

/// The response head, without fields that only HTTP/1.1 allows (RFC 9113 §8.2.2).
fn head(head: &ResponseHead, size: BodySize) -> http::Response<()> {
    let mut response = http::Response::new(());
    *response.status_mut() = head.status;
    let fields = response.headers_mut();
    for (name, value) in head.headers() {
        let told_by_size = *name == header::CONTENT_LENGTH && size != BodySize::None;
        if !is_of_http1(name) && !told_by_size {
            fields.append(name, value.clone());
        }
    }
    if let BodySize::Sized(length) = size
        && !is_bodiless(head.status)
    {
        fields.insert(header::CONTENT_LENGTH, length.into());
    }
    if !fields.contains_key(header::DATE)
        && let Ok(now) = HttpDate::from(SystemTime::now()).try_into_value()
    {
        fields.insert(header::DATE, now);
    }
    response
}
