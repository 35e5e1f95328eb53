//! The time between two requests of a connection over HTTP/1.1: who waits, for how long, and who makes room for others.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt as _, future::LocalBoxFuture};

use super::{head_deadline::HeadDeadline, idle::Listed};

/// Ends a connection whose next head does not come, or is not whole in time, or that makes room for others.
pub(super) struct BetweenRequests {
    /// Its place among those that make room for others; none for one too many.
    listed: Option<Listed>,
    /// When the next head must have begun, or one that has begun be whole.
    deadline: HeadDeadline,
    /// Ready once the process drains and idle connections are to end.
    leaving: LocalBoxFuture<'static, ()>,
}

/// What there is of the next head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextHead {
    /// Nothing.
    None,
    /// A part, of the connection's first one or a later one.
    Begun {
        /// Whether it is the first one.
        is_first: bool,
    },
}

/// How a connection ends between two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Nothing was asked: nothing is answered.
    Close,
    /// A head came too slowly.
    SlowHead,
}

impl BetweenRequests {
    /// A connection just accepted: its first head must be whole within `head`.
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

    /// A request is under way.
    pub fn stop(&mut self) {
        self.deadline.stop();
    }

    /// No head is waited for.
    pub fn set_busy(&mut self) {
        if let Some(listed) = &self.listed {
            listed.set_idle(false);
        }
        self.stop();
    }

    /// The next head is waited for, for `idle` where none ran before. Ready when the connection is to end.
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
