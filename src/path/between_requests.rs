//! The time between two requests of an HTTP/1.1 connection: when it is closed as idle, as too slow, or to free a connection for
//! others.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt as _, future::LocalBoxFuture};

use super::{head_deadline::HeadDeadline, idle::Listed};

/// Says when to close a connection that waits for a request: no head came, it came too slowly, the process drains, or the
/// connection limit is reached.
pub(super) struct BetweenRequests {
    /// Entry in the list of connections that may be closed when the limit is reached; none for a connection over the limit.
    listed: Option<Listed>,
    /// By when the next head must have begun or, if it has begun, be complete.
    deadline: HeadDeadline,
    /// Completes when the process drains and idle connections are to be closed.
    leaving: LocalBoxFuture<'static, ()>,
}

/// How much of the next request head has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextHead {
    /// Nothing.
    None,
    /// A part of it.
    Begun {
        /// Whether it is the first head of this connection.
        is_first: bool,
    },
}

/// How to close a connection between two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Close without a response: no request has begun.
    Close,
    /// A head came too slowly: answer 408.
    SlowHead,
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
        }
    }

    /// Stops the deadline, because a request is being answered.
    pub fn stop(&mut self) {
        self.deadline.stop();
    }

    /// Stops the deadline and marks the connection as busy: it is not closed to free a connection for others.
    pub fn set_busy(&mut self) {
        if let Some(listed) = &self.listed {
            listed.set_idle(false);
        }
        self.stop();
    }

    /// Polls the deadline of the next head; if none runs, it starts with `idle`. Ready when the connection is to be closed.
    pub fn poll(&mut self, cx: &mut Context<'_>, next: NextHead, idle: Duration) -> Poll<Due> {
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
        self.deadline.poll(cx, idle).map(|()| match next {
            NextHead::None => Due::Close,
            NextHead::Begun { .. } => Due::SlowHead,
        })
    }
}
