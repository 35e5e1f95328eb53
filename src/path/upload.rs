//! A request's body on its way to the origin, with the limits that a client must keep.

use std::{
    cell::Cell,
    future::Future as _,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use actix_web::{dev::Payload, error::PayloadError};
use bytes::Bytes;
use futures_util::Stream as _;
use tokio::time::Sleep;

use super::client::Client;

/// What a client that sends a body must keep to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest wait for the next bytes.
    pub idle: Duration,
    /// Least bytes per second, over the time that the proxy waited for the client.
    pub rate: u64,
    /// How long the least rate is not asked for.
    pub grace: Duration,
}

/// Why an upload ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client left, or sent a broken coding.
    Broken,
    /// The client trickled.
    TooSlow,
}

/// A request's body. Dropped before its end, the client need not send the rest.
pub struct Upload {
    client: Rc<Client>,
    payload: Payload,
    length: Option<u64>,
    limits: Limits,
    progress: Progress,
    /// Since when the client is waited for.
    waiting: Option<Instant>,
    waited: Duration,
    bytes: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

/// How an upload does, for whoever waits for the answer to it.
#[derive(Clone, Debug)]
pub struct Progress(Rc<State>);

#[derive(Debug)]
struct State {
    last: Cell<Instant>,
    ended: Cell<bool>,
    fault: Cell<Option<Fault>>,
    answered: Cell<bool>,
}

impl Progress {
    /// When the last bytes came, or the response last moved.
    pub fn last(&self) -> Instant {
        self.0.last.get()
    }

    /// Whether bytes are still to come.
    pub fn under_way(&self) -> bool {
        !self.0.ended.get()
    }

    /// Whether it ended early by the client's fault.
    pub fn failed(&self) -> bool {
        self.0.fault.get().is_some()
    }

    /// The response moves.
    pub fn touch(&self) {
        self.0.last.set(Instant::now());
    }

    /// The response has begun: from now on the client may be slow with the rest, as long as one of the two moves.
    pub fn answered(&self) {
        self.0.answered.set(true);
    }

    /// Why it ended early.
    pub fn fault(&self) -> Option<Fault> {
        self.0.fault.get()
    }
}

/// The upload cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The client left, or sent a broken coding.
    #[error("the request body broke: {0}")]
    Broken(#[from] PayloadError),
    /// The client trickled.
    #[error("the request body came too slowly")]
    TooSlow,
}

impl Upload {
    /// A body of `length` bytes, or chunked, from `client`.
    pub fn new(client: Rc<Client>, payload: Payload, length: Option<u64>, limits: Limits) -> Self {
        let state = State {
            last: Cell::new(Instant::now()),
            ended: Cell::new(false),
            fault: Cell::new(None),
            answered: Cell::new(false),
        };
        Upload {
            client,
            payload,
            length,
            limits,
            progress: Progress(Rc::new(state)),
            waiting: None,
            waited: Duration::ZERO,
            bytes: 0,
            timer: None,
        }
    }

    /// How it does, from now on.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Its length, where that was told.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    fn fail(&mut self, fault: Fault) {
        self.progress.0.fault.set(Some(fault));
        self.progress.0.ended.set(true);
    }

    /// Whether the client sends less than it must.
    fn trickles(&self, waited: Duration) -> bool {
        !self.progress.0.answered.get()
            && waited > self.limits.grace
            && (self.bytes as f64) < waited.as_secs_f64() * self.limits.rate as f64
    }

    /// The next piece; `None` at its end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, UploadError>>> {
        let this = self;
        match Pin::new(&mut this.payload).poll_next(cx) {
            Poll::Ready(Some(Ok(bytes))) => {
                let now = Instant::now();
                if let Some(since) = this.waiting.take() {
                    this.waited += now - since;
                }
                this.bytes += bytes.len() as u64;
                this.progress.0.last.set(now);
                if this.trickles(this.waited) {
                    this.fail(Fault::TooSlow);
                    return Poll::Ready(Some(Err(UploadError::TooSlow)));
                }
                Poll::Ready(Some(Ok(bytes)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.fail(Fault::Broken);
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                this.progress.0.last.set(Instant::now());
                this.progress.0.ended.set(true);
                Poll::Ready(None)
            }
            Poll::Pending => {
                let idle = this.limits.idle;
                let mut since = *this.waiting.get_or_insert_with(Instant::now);
                if this.progress.0.answered.get() {
                    since = since.max(this.progress.last());
                }
                let timer = this.timer.get_or_insert_with(|| {
                    Box::pin(tokio::time::sleep_until((since + idle).into()))
                });
                while timer.as_mut().poll(cx).is_ready() {
                    let at = since + idle;
                    if at <= Instant::now() {
                        this.fail(Fault::TooSlow);
                        return Poll::Ready(Some(Err(UploadError::TooSlow)));
                    }
                    timer.as_mut().reset(at.into());
                }
                Poll::Pending
            }
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // What is here already counts as sent: over HTTP/1.1 the connection goes on if that is all.
        let mut cx = Context::from_waker(Waker::noop());
        while !self.progress.0.ended.get()
            && matches!(self.payload, Payload::H1 { .. })
            && let Poll::Ready(piece) = Pin::new(&mut self.payload).poll_next(&mut cx)
        {
            self.progress.0.ended.set(!matches!(piece, Some(Ok(_))));
        }
        if !self.progress.0.ended.get() {
            self.client.refuses_body();
        }
    }
}
