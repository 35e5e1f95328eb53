//! The deadline for a client's next request head.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::time::Sleep;

/// By when the next head must have begun or, if it has begun, be complete.
#[derive(Debug)]
pub(super) struct HeadDeadline {
    /// Longest time for one head.
    head: Duration,
    /// Whether a head has begun, so that its own time runs.
    has_begun: bool,
    /// The current deadline; none while a request is answered, or after it has expired.
    due: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl HeadDeadline {
    /// For a connection just accepted: its first head must be complete within `head`.
    pub(super) fn new(head: Duration) -> Self {
        HeadDeadline {
            head,
            has_begun: false,
            due: Some(Instant::now() + head),
            timer: None,
        }
    }

    /// Stops the deadline.
    pub(super) fn stop(&mut self) {
        (self.due, self.has_begun) = (None, false);
    }

    /// Whether a deadline runs.
    pub(super) fn runs(&self) -> bool {
        self.due.is_some()
    }

    /// Starts the deadline anew: the next head must begin within `idle`.
    pub(super) fn start(&mut self, idle: Duration) {
        self.due = Some(Instant::now() + idle);
    }

    /// Part of a head has arrived. The first head's time runs from the accept, a later one's from its first byte.
    pub(super) fn head_began(&mut self, is_first: bool) {
        if !std::mem::replace(&mut self.has_begun, true) && !is_first {
            self.due = Some(Instant::now() + self.head);
        }
    }

    /// Ready once, when the deadline has passed. If none runs, it starts now with `idle`.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, idle: Duration) -> Poll<()> {
        let due = *self.due.get_or_insert_with(|| Instant::now() + idle);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due.into())));
        if timer.deadline() > due.into() {
            timer.as_mut().reset(due.into());
        }
        // The timer is rarely reset: it may fire for an earlier deadline.
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
