//! Errors that a client's HTTP/1.1 connection answers itself before it closes, and how that response is sent.

use std::{
    future::Future as _,
    io,
    mem::MaybeUninit,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix_http::StatusCode;
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    time::Sleep,
};

use super::{body_scan::BadBody, request_head::BadHead, transport::Transport};
use crate::{
    problem::Problem,
    traffic::{published::Published, sample::Outcome},
};

/// How long bytes from a refused client are discarded, so that a reset does not destroy the response.
pub const LINGER: Duration = Duration::from_secs(2);

/// Why a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 400 or 431: the head is not HTTP/1.x, or is ambiguous.
    #[error("the request head is not valid HTTP/1.1: {0}")]
    Head(#[from] BadHead),
    /// 400: actix-http cannot parse the head.
    #[error("the request head is not valid HTTP/1.1")]
    Unreadable,
    /// 431: the head is longer than this, in bytes.
    #[error("the request head is longer than {0} bytes")]
    LongHead(usize),
    /// 431: the head is too large for actix-http.
    #[error("the request head is too large")]
    LargeHead,
    /// 408: the head came too slowly.
    #[error("the request head took too long")]
    SlowHead,
    /// 400: the body's framing is invalid or ambiguous.
    #[error("the request body cannot be read: {0}")]
    Body(#[from] BadBody),
    /// 503: over the connection limit.
    #[error("too many connections: try again in a moment")]
    TooMany,
}

impl Refusal {
    /// The status that the client gets.
    pub fn status(self) -> StatusCode {
        match self {
            Refusal::Head(BadHead::TooManyFields) | Refusal::LongHead(_) | Refusal::LargeHead => {
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            }
            Refusal::Head(_) | Refusal::Unreadable | Refusal::Body(_) => StatusCode::BAD_REQUEST,
            Refusal::SlowHead => StatusCode::REQUEST_TIMEOUT,
            Refusal::TooMany => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Counts it and, if `log`, writes its access line: without anything that the client sent, and rate-limited.
    pub fn account(self, published: &Published, client: IpAddr, log: bool) {
        let counters = &published.clients;
        match self {
            Refusal::Head(_) | Refusal::Unreadable | Refusal::LongHead(_) | Refusal::LargeHead => {
                counters.bad_heads.increment();
            }
            Refusal::SlowHead => counters.head_timeouts.increment(),
            Refusal::Body(_) => counters.bad_bodies.increment(),
            // Counted already when the connection was accepted.
            Refusal::TooMany => {}
        }
        if log && let Some(unwritten) = published.refusals.take(Instant::now()) {
            let outcome = match self {
                Refusal::TooMany => Outcome::Overloaded,
                _ => Outcome::ClientFault,
            };
            tracing::info!(
                target: "access",
                client = %client.to_canonical(),
                status = self.status().as_u16(),
                outcome = outcome.as_str(),
                cause = %self,
                // How many similar refusals were not logged since the last line.
                unwritten,
                "refused"
            );
        }
    }
}

/// Sends an error response, and discards what the client still sends.
#[derive(Debug)]
pub struct Refusing {
    answer: Vec<u8>,
    sent: usize,
    shut: bool,
    until: Pin<Box<Sleep>>,
}

impl Refusing {
    /// With the error response for this refusal.
    pub fn answering(refusal: Refusal) -> Self {
        Self::saying(Problem::new(refusal.status(), refusal.to_string()).wire())
    }

    /// Without a response, because one was sent already.
    pub fn silently() -> Self {
        Self::saying(Vec::new())
    }

    fn saying(answer: Vec<u8>) -> Self {
        Refusing {
            answer,
            sent: 0,
            shut: false,
            until: Box::pin(tokio::time::sleep(LINGER)),
        }
    }

    /// Sends the response, then waits until the client has read it: a socket closed with unread bytes is reset, and a reset may
    /// overtake the response.
    pub fn poll(&mut self, cx: &mut Context<'_>, io: &mut Transport) -> Poll<()> {
        let mut over = self.until.as_mut().poll(cx).is_ready();
        while self.sent < self.answer.len() && !over {
            match Pin::new(&mut *io).poll_write(cx, &self.answer[self.sent..]) {
                Poll::Ready(Ok(n)) if n > 0 => self.sent += n,
                Poll::Ready(_) => over = true,
                Poll::Pending => break,
            }
        }
        let is_sent = self.sent == self.answer.len();
        if is_sent && !self.shut && !over {
            self.shut = Pin::new(&mut *io).poll_shutdown(cx).is_ready();
        }
        while !over {
            match poll_discard(cx, io) {
                Poll::Ready(Ok(0)) => over = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => over = true,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }
}

/// Reads and discards bytes; returns how many.
pub fn poll_discard(cx: &mut Context<'_>, io: &mut Transport) -> Poll<io::Result<usize>> {
    let mut scratch = [MaybeUninit::uninit(); 4096];
    let mut buf = ReadBuf::uninit(&mut scratch);
    Pin::new(io)
        .poll_read(cx, &mut buf)
        .map_ok(|()| buf.filled().len())
}
