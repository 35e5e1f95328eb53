//! Receives a request's body over an HTTP/2 stream.
//!
//! Received data is taken from h2 at once and buffered here until the origin takes it, because h2 spends hundreds of bytes on each
//! buffered frame, and a client may send frames of one byte. The flow-control window opens only as the origin takes data.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use actix_http::error::PayloadError;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use h2::RecvStream;
use http::StatusCode;

use super::{outgoing::Answering, window::UploadWindow};

/// Frames smaller than this are joined; larger ones are kept as they are.
const SMALL: usize = 4096;
/// Size up to which small frames are joined.
const PIECE: usize = 16 * 1024;

/// A request body, on the side that serves the stream.
#[derive(Clone)]
pub struct Intake(Rc<Shared>);

/// The same body, on the handler's side.
pub struct Incoming(Rc<Shared>);

struct Shared {
    state: RefCell<State>,
    whole: Cell<bool>,
    window: Rc<UploadWindow>,
    answering: Rc<Answering>,
}

struct State {
    /// None once nobody reads the body any more.
    body: Option<RecvStream>,
    pieces: VecDeque<Bytes>,
    gathered: BytesMut,
    /// How the body ended, once it has.
    end: Option<Option<PayloadError>>,
    reader: Option<Waker>,
    /// Whether the client waits for a 100 before it sends the body (RFC 9110 §10.1.1).
    expects: bool,
}

impl Intake {
    /// The body of a request; `expects`: the client waits for a 100 before it sends.
    pub fn new(
        body: RecvStream,
        expects: bool,
        window: Rc<UploadWindow>,
        answering: Rc<Answering>,
    ) -> Self {
        let whole = Cell::new(body.is_end_stream());
        Intake(Rc::new(Shared {
            state: RefCell::new(State {
                body: Some(body),
                pieces: VecDeque::new(),
                gathered: BytesMut::new(),
                end: None,
                reader: None,
                expects,
            }),
            whole,
            window,
            answering,
        }))
    }

    /// The body as the handler reads it.
    pub fn incoming(&self) -> Incoming {
        Incoming(Rc::clone(&self.0))
    }

    /// Whether the whole body was received.
    pub fn is_whole(&self) -> bool {
        self.0.whole.get()
    }

    /// Takes the received data out of h2. Call it whenever the stream is polled.
    pub fn fill(&self, cx: &mut Context<'_>) {
        let state = &mut *self.0.state.borrow_mut();
        let mut came = false;
        while state.end.is_none()
            && let Some(body) = &mut state.body
            && let Poll::Ready(piece) = body.poll_data(cx)
        {
            came = true;
            match piece {
                Some(Ok(piece)) => state.keep(piece),
                Some(Err(error)) => state.end = Some(Some(PayloadError::Http2Payload(error))),
                None => {
                    self.0.whole.set(true);
                    state.end = Some(None);
                }
            }
        }
        if came && let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    /// Ready when the body has ended or data has arrived; true if it ended without a byte.
    pub fn poll_empty(&self, cx: &mut Context<'_>) -> Poll<bool> {
        self.fill(cx);
        let state = self.0.state.borrow();
        if state.has_bytes() {
            return Poll::Ready(false);
        }
        match state.end {
            Some(ref error) => Poll::Ready(error.is_none()),
            None => Poll::Pending,
        }
    }
}

impl State {
    fn has_bytes(&self) -> bool {
        !self.pieces.is_empty() || !self.gathered.is_empty()
    }

    fn keep(&mut self, piece: Bytes) {
        if piece.len() < SMALL {
            self.gathered.extend_from_slice(&piece);
            if self.gathered.len() >= PIECE {
                self.pieces.push_back(self.gathered.split().freeze());
            }
        } else {
            if !self.gathered.is_empty() {
                self.pieces.push_back(self.gathered.split().freeze());
            }
            self.pieces.push_back(piece);
        }
    }

    fn take(&mut self) -> Option<Bytes> {
        let piece = self.pieces.pop_front();
        piece.or_else(|| (!self.gathered.is_empty()).then(|| self.gathered.split().freeze()))
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let shared = &*self.0;
        let state = &mut *shared.state.borrow_mut();
        if let Some(piece) = state.take() {
            if let Some(body) = &mut state.body
                // A reset stream has no window any more.
                && body.flow_control().release_capacity(piece.len()).is_ok()
            {
                shared.window.took(piece.len());
            }
            return Poll::Ready(Some(Ok(piece)));
        }
        match &mut state.end {
            Some(error) => Poll::Ready(error.take().map(Err)),
            None => {
                if std::mem::take(&mut state.expects) {
                    shared.answering.send_interim(StatusCode::CONTINUE, []);
                }
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // The rest of the body is not needed.
        let mut state = self.0.state.borrow_mut();
        if state.body.take().is_some_and(|body| body.is_end_stream()) {
            self.0.whole.set(true);
        }
        state.pieces.clear();
        state.gathered = BytesMut::new();
    }
}
