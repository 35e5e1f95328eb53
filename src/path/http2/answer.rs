//! A response on its way out over one stream.

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

/// How an exchange over a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All of the response was handed over.
    Whole,
    /// The client gave the request up, or broke the stream.
    Reset,
    /// The client read nothing for too long: the stream was reset.
    Stalled,
    /// The response's body broke: the stream was reset.
    Broken,
    /// The connection is gone.
    Gone,
}

impl From<h2::Error> for Ended {
    fn from(error: h2::Error) -> Self {
        // By the client, or by the library for what the client did.
        if error.is_reset() {
            Ended::Reset
        } else {
            Ended::Gone
        }
    }
}

/// What the answers of one connection share.
#[derive(Clone, Debug)]
pub struct Pace {
    /// How long a client may read nothing.
    pub patience: Duration,
    /// Bytes that the connection took so far.
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
                // What was handed out before goes out first: a reset throws it away. The connection is polled in
                // between, once for sure.
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                // Nothing but a reset tells a cut body from a whole one.
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

/// Ready when the client has given the request up, or left.
fn poll_left(stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Ended> {
    stream.poll_reset(cx).map(|reset| match reset {
        Ok(_) => Ended::Reset,
        Err(error) => error.into(),
    })
}

/// A wait for the client to allow more: the stream's window, the connection's, or the socket.
struct Room<'a> {
    pace: &'a Pace,
    /// What the connection had taken when the time began to run, and when it is over.
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
        // Meanwhile the origin is read on, as far as the level's buffer allows.
        client.poll_ahead(cx);
        let Pace { patience, taken } = self.pace;
        let (before, timer) = self
            .timer
            .get_or_insert_with(|| (taken.get(), Box::pin(tokio::time::sleep(*patience))));
        loop {
            ready!(timer.as_mut().poll(cx));
            // A busy connection serves its streams one after the other: this one waits its turn.
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

/// The head, without what belongs to HTTP/1.1 alone (RFC 9113 §8.2.2).
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
