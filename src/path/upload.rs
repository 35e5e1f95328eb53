//! A request's body on its way to the origin, with the limits for the client.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::{Future as _, poll_fn},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use actix_http::{HttpMessage as _, Method, Payload, Request, Version, error::PayloadError};
use bytes::Bytes;
use futures_util::Stream as _;
use tokio::time::Sleep;

use super::{client::Client, headers, origin::slots::Slot};
use crate::traffic::counters::ClientCounters;

/// Memory in bytes, over all uploads, for bodies that are received completely before they request an exchange slot.
const HELD: u64 = 64 * 1024 * 1024;
/// How long to wait for the first bytes of a larger body before it requests an exchange slot.
const FIRST_BYTES: Duration = Duration::from_secs(1);

/// Limits for a client that sends a body.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest wait for the next bytes.
    pub idle: Duration,
    /// Lowest rate in bytes per second, over the time that the proxy waited for the client.
    pub rate: u64,
    /// For how long the rate is not enforced.
    pub grace: Duration,
}

/// Why an upload ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client left, or its transfer coding is malformed.
    Broken,
    /// The client was too slow.
    TooSlow,
}

/// A request's body. If it is dropped before its end, the client need not send the rest.
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
    /// Bytes received before it had an exchange slot.
    gathered: VecDeque<Bytes>,
    held: Option<Held>,
    /// The slot of its exchange, shared until the origin has answered.
    slot: Option<LentSlot>,
}

/// An exchange slot that an upload and its exchange share: the upload lends it to others while it waits for its client.
pub type LentSlot = Rc<RefCell<Option<Slot>>>;

/// Counts bytes as held while this lives.
struct Held {
    counters: Arc<ClientCounters>,
    bytes: u64,
}

impl Held {
    /// Reserves bytes, if the limit allows.
    fn reserve(counters: &Arc<ClientCounters>, bytes: u64) -> Option<Self> {
        let held = &counters.uploads_held;
        held.up_within(bytes, HELD).then(|| Held {
            counters: Arc::clone(counters),
            bytes,
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.counters.uploads_held.down_by(self.bytes);
    }
}

/// Progress of an upload, for the task that waits for the response.
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
    /// When the last bytes arrived, or the response last moved.
    pub fn last(&self) -> Instant {
        self.0.last.get()
    }

    /// Whether bytes are still missing.
    pub fn under_way(&self) -> bool {
        !self.0.ended.get()
    }

    /// Whether it ended early by the client's fault.
    pub fn failed(&self) -> bool {
        self.0.fault.get().is_some()
    }

    /// Bytes of the response moved: the upload does not have to be faster.
    pub fn touch(&self) {
        self.0.last.set(Instant::now());
    }

    /// The response has begun: from now on the client may be slow, while either direction moves.
    pub fn answered(&self) {
        self.0.answered.set(true);
    }

    /// Why it ended early.
    pub fn fault(&self) -> Option<Fault> {
        self.0.fault.get()
    }
}

/// Why the upload failed.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The client left, or its transfer coding is malformed.
    #[error("the request body broke: {0}")]
    Broken(#[from] PayloadError),
    /// The client was too slow.
    #[error("the request body came too slowly")]
    TooSlow,
}

impl Upload {
    /// The body of a request, if it has one.
    pub fn of(request: &mut Request, client: &Rc<Client>, limits: Limits) -> Option<Self> {
        let upload = |payload, length| Upload::new(Rc::clone(client), payload, length, limits);
        if request.chunked().unwrap_or(false) {
            return Some(upload(request.take_payload(), None));
        }
        let Some(length) = headers::content_length(request.headers()) else {
            // In HTTP/2 a body need not declare its length.
            let has_body = request.version() == Version::HTTP_2;
            let payload = has_body.then(|| request.take_payload());
            return payload
                .filter(|payload| !matches!(payload, Payload::None))
                .map(|payload| upload(payload, None));
        };
        // Zero is declared for methods that expect a body (RFC 9110 §8.6).
        let means_a_body = matches!(
            *request.method(),
            Method::POST | Method::PUT | Method::PATCH
        );
        (length > 0 || means_a_body).then(|| upload(request.take_payload(), Some(length)))
    }

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
            gathered: VecDeque::new(),
            held: None,
            slot: None,
        }
    }

    /// Waits for something to send: for the whole body if it has at most `small` bytes and the memory limit allows; otherwise for
    /// the first bytes, briefly, as the client may wait for a response first. False if the client left or was too slow: see
    /// [`Progress::fault`].
    pub async fn gather(&mut self, small: u64) -> bool {
        let counters = &self.client.published().clients;
        self.held = self
            .length
            .filter(|&length| length <= small)
            .and_then(|length| Held::reserve(counters, length));
        if self.held.is_some() {
            while let Some(piece) = poll_fn(|cx| self.poll_payload(cx)).await {
                match piece {
                    Ok(piece) => self.gathered.push_back(piece),
                    Err(_) => return false,
                }
            }
            return true;
        }
        let first = poll_fn(|cx| self.poll_payload(cx));
        match tokio::time::timeout(FIRST_BYTES, first).await {
            Ok(Some(Ok(piece))) => self.gathered.push_back(piece),
            Ok(Some(Err(_))) => return false,
            Ok(None) | Err(_) => {}
        }
        true
    }

    /// Sets the slot that others may use while the client is waited for.
    pub fn parks(&mut self, slot: LentSlot) {
        self.slot = Some(slot);
    }

    /// Tells the slot whether the client is waited for.
    fn tell_slot(&self, waits_for_client: bool) {
        if let Some(slot) = &self.slot
            && let Some(slot) = &mut *slot.borrow_mut()
        {
            if waits_for_client {
                slot.waits_for_client();
            } else {
                slot.waits_for_origin();
            }
        }
    }

    /// A view of its progress, which stays up to date.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Its length, if declared.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    fn fail(&mut self, fault: Fault) {
        self.progress.0.fault.set(Some(fault));
        self.progress.0.ended.set(true);
    }

    /// Whether the client is slower than `limits.rate`, after it was waited for `waited` in total.
    fn trickles(&self, waited: Duration) -> bool {
        !self.progress.0.answered.get()
            && waited > self.limits.grace
            && (self.bytes as f64) < waited.as_secs_f64() * self.limits.rate as f64
    }

    /// The next piece; `None` at its end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, UploadError>>> {
        if let Some(piece) = self.gathered.pop_front() {
            return Poll::Ready(Some(Ok(piece)));
        }
        self.held = None;
        if !self.progress.under_way() && !self.progress.failed() {
            return Poll::Ready(None);
        }
        let piece = self.poll_payload(cx);
        self.tell_slot(piece.is_pending());
        piece
    }

    /// The next piece from the client, within its limits.
    fn poll_payload(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, UploadError>>> {
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
        // Bytes that have already arrived count as sent: over HTTP/1.1 the connection can be kept if that is all.
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
