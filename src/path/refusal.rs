//! Why a client's connection ends with an answer that the stream itself gives, and how that answer goes out.

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

/// How long a refused client may go on sending, so that the answer is not lost to a reset.
pub const LINGER: Duration = Duration::from_secs(2);

/// Why a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 400 or 431: the head is no HTTP/1, or can be read in more than one way.
    #[error("the request head is not valid HTTP/1.1: {0}")]
    Head(#[from] BadHead),
    /// 400: the same, by actix-http's judgement.
    #[error("the request head is not valid HTTP/1.1")]
    Unreadable,
    /// 431: the head is longer than this, in bytes.
    #[error("the request head is longer than {0} bytes")]
    LongHead(usize),
    /// 431: too large by actix-http's judgement.
    #[error("the request head is too large")]
    LargeHead,
    /// 408: the head trickled.
    #[error("the request head took too long")]
    SlowHead,
    /// 400: the body is no HTTP/1, or can be read in more than one way.
    #[error("the request body cannot be read: {0}")]
    Body(#[from] BadBody),
    /// 503: over the connections that may be open.
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

    /// Counts it, and where `log`, writes its access line: without a word of what the client sent, and no more lines
    /// than a person could read.
    pub fn account(self, published: &Published, client: IpAddr, log: bool) {
        let counters = &published.clients;
        match self {
            Refusal::Head(_) | Refusal::Unreadable | Refusal::LongHead(_) | Refusal::LargeHead => {
                counters.bad_heads.increment();
            }
            Refusal::SlowHead => counters.head_timeouts.increment(),
            Refusal::Body(_) => counters.bad_bodies.increment(),
            // It was counted when it took its place.
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
                // How many like it have no line, since the last one that has.
                unwritten,
                "refused"
            );
        }
    }
}

/// An answer on its way out, and what the client still sends on its way to nowhere.
#[derive(Debug)]
pub struct Refusing {
    answer: Vec<u8>,
    sent: usize,
    shut: bool,
    until: Pin<Box<Sleep>>,
}

impl Refusing {
    /// With the answer to this refusal.
    pub fn answering(refusal: Refusal) -> Self {
        Self::saying(Problem::new(refusal.status(), refusal.to_string()).wire())
    }

    /// Without an answer: there was one.
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

    /// Sends the answer, then waits until the client has read it: a socket closed over unread bytes is reset, and a
    /// reset can overtake the answer.
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

/// Throws away what comes; how much that was.
pub fn poll_discard(cx: &mut Context<'_>, io: &mut Transport) -> Poll<io::Result<usize>> {
    let mut scratch = [MaybeUninit::uninit(); 4096];
    let mut buf = ReadBuf::uninit(&mut scratch);
    Pin::new(io)
        .poll_read(cx, &mut buf)
        .map_ok(|()| buf.filled().len())
}
