//! The time between two requests of an HTTP/1.1 connection: when it is closed as idle, as too slow, or to free a connection for
//! others.

use std::{
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{FutureExt as _, future::LocalBoxFuture};

use super::{head_deadline::HeadDeadline, idle::Listed, request_reader::RequestReader};

/// How long a connection without a request stays with actix-http, which holds two buffers for it (see [`super::lent_stream`]).
const LENT: Duration = Duration::from_secs(1);

/// Says when to close a connection that waits for a request: no head came, it came too slowly, the process drains, or the
/// connection limit is reached.
pub(super) struct BetweenRequests {
    /// Entry in the list of connections that may be closed when the limit is reached; none for a connection over the limit.
    listed: Option<Listed>,
    /// By when the next head must have begun or, if it has begun, be complete.
    deadline: HeadDeadline,
    /// Completes when the process drains and idle connections are to be closed.
    leaving: LocalBoxFuture<'static, ()>,
    /// Whether actix-http has the connection.
    pub lent: bool,
    /// Whether the deadline that runs is the one for taking it back.
    returns: bool,
}

/// How much of the next request head has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NextHead {
    /// Nothing.
    None,
    /// A part of it.
    Begun {
        /// Whether it is the first head of this connection.
        is_first: bool,
    },
}

/// What is due of a connection between two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Take the connection back from actix-http: no request has begun for a while.
    Return,
    /// Close without a response: no request has begun.
    Close,
    /// A head came too slowly: answer 408.
    SlowHead,
}

impl NextHead {
    fn of(reader: &RequestReader) -> Self {
        match reader.begun_head() {
            0 => NextHead::None,
            _ => NextHead::Begun {
                is_first: reader.requests() == 0,
            },
        }
    }
}

impl BetweenRequests {
    /// For a connection just accepted: its first head must be complete within `head`.
    pub fn new(
        listed: Option<Listed>,
        head: Duration,
        leaving: LocalBoxFuture<'static, ()>,
    ) -> Self {
        BetweenRequests {
            listed,
            deadline: HeadDeadline::new(head),
            leaving,
            lent: false,
            returns: false,
        }
    }

    /// Stops the deadline, because a request is being answered.
    pub fn stop(&mut self) {
        self.returns = false;
        self.deadline.stop();
    }

    /// Stops the deadline and marks the connection as busy: it is not closed to free a connection for others.
    pub fn set_busy(&mut self) {
        if let Some(listed) = &self.listed {
            listed.set_idle(false);
        }
        self.stop();
    }

    /// Polls the deadline of the next head; if none runs, it starts with `idle`. Ready when the connection is to be closed, or when
    /// actix-http has had it for long enough; not if the connection `closes` anyway.
    pub fn poll(
        &mut self,
        cx: &mut Context<'_>,
        reader: &RequestReader,
        idle: Duration,
        closes: bool,
    ) -> Poll<Due> {
        let next = NextHead::of(reader);
        let may_return = reader.is_clean() && !closes;
        if let Some(listed) = &self.listed {
            listed.set_idle(true);
        }
        if next == NextHead::None && self.leaving.poll_unpin(cx).is_ready() {
            return Poll::Ready(Due::Close);
        }
        let listed = self.listed.as_ref();
        if listed.is_some_and(|listed| listed.is_asked(cx.waker())) {
            return Poll::Ready(Due::Close);
        }
        if let NextHead::Begun { is_first } = next {
            self.deadline.head_began(is_first);
        }
        if self.lent && may_return && idle > LENT && !self.deadline.runs() {
            self.deadline.start(LENT);
            self.returns = true;
        }
        loop {
            ready!(self.deadline.poll(cx, idle));
            if matches!(next, NextHead::Begun { .. }) {
                return Poll::Ready(Due::SlowHead);
            }
            if !std::mem::take(&mut self.returns) {
                return Poll::Ready(Due::Close);
            }
            self.deadline.start(idle.saturating_sub(LENT));
            if may_return {
                return Poll::Ready(Due::Return);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::{pending, poll_fn};
    use tokio::io::ReadBuf;

    use super::*;

    fn between() -> BetweenRequests {
        BetweenRequests::new(None, Duration::from_secs(9), Box::pin(pending()))
    }

    async fn due(between: &mut BetweenRequests, reader: &RequestReader, closes: bool) -> Due {
        let idle = LENT + Duration::from_millis(300);
        poll_fn(|cx| between.poll(cx, reader, idle, closes)).await
    }

    #[actix_rt::test]
    async fn actix_http_gives_an_idle_connection_back_and_later_it_is_closed() {
        let (mut between, reader) = (between(), RequestReader::new(1024));
        between.stop();
        between.lent = true;
        assert_eq!(due(&mut between, &reader, false).await, Due::Return);
        between.lent = false;
        assert_eq!(due(&mut between, &reader, false).await, Due::Close);
    }

    #[actix_rt::test]
    async fn one_that_closes_anyway_is_not_taken_back() {
        let (mut between, reader) = (between(), RequestReader::new(1024));
        between.stop();
        between.lent = true;
        assert_eq!(due(&mut between, &reader, true).await, Due::Close);
    }

    #[actix_rt::test]
    async fn one_with_half_a_head_is_not_taken_back() {
        let (mut between, mut reader) = (between(), RequestReader::new(1024));
        between.stop();
        between.lent = true;
        let mut room = *b"GET / HTTP/1.1\r\n";
        let mut buf = ReadBuf::new(&mut room);
        buf.set_filled(16);
        reader.accept(&mut buf, 0).unwrap();
        between.deadline = HeadDeadline::new(Duration::from_millis(1));
        assert_eq!(due(&mut between, &reader, false).await, Due::SlowHead);
    }
}
