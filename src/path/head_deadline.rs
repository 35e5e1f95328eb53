//! The time in which a client must send its next request's head.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::time::Sleep;

/// When the next head must have begun, or one that has begun be whole.
#[derive(Debug)]
pub(super) struct HeadDeadline {
    /// Longest time for one head.
    head: Duration,
    /// Whether the time of a head that has begun runs.
    has_begun: bool,
    /// None while a request is under way, or since the time ran out.
    due: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl HeadDeadline {
    /// The deadline of a connection just accepted: its first head must be whole within `head`.
    pub(super) fn new(head: Duration) -> Self {
        HeadDeadline {
            head,
            has_begun: false,
            due: Some(Instant::now() + head),
            timer: None,
        }
    }

    /// No head is waited for.
    pub(super) fn stop(&mut self) {
        (self.due, self.has_begun) = (None, false);
    }

    /// Some of a head is here. The first head has its time from the connection's begin, a later one from its own.
    pub(super) fn head_began(&mut self, is_first: bool) {
        if !std::mem::replace(&mut self.has_begun, true) && !is_first {
            self.due = Some(Instant::now() + self.head);
        }
    }

    /// Ready once, when the time has run out. It is `idle` from now on where none ran before.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, idle: Duration) -> Poll<()> {
        let due = *self.due.get_or_insert_with(|| Instant::now() + idle);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due.into())));
        if timer.deadline() > due.into() {
            timer.as_mut().reset(due.into());
        }
        // The timer is seldom moved: it may fire for an earlier deadline.
        while timer.as_mut().poll(cx).is_ready() {
            if due <= Instant::now() {
                self.due = None;
                return Poll::Ready(());
            }
            timer.as_mut().reset(due.into());
        }
        Poll::Pending
    }
}
