//! Sends a request's body to the origin: while the response head is awaited, and while the response is received if that comes
//! first.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
    time::Instant,
};

use actix_rt::task::JoinHandle;
use bytes::{Buf as _, BytesMut};

use super::stream::Writer;
use crate::path::upload::{Progress, Upload};

/// Bytes that are gathered for one write.
const WRITE: usize = 32 * 1024;

/// A request's body and the connection to send it on.
pub(super) struct Sending {
    upload: Upload,
    writer: Writer,
    /// Bytes that are framed, but not written yet.
    out: BytesMut,
    /// Bytes that are still to be sent, if the length is declared; otherwise the body is chunked.
    left: Option<u64>,
    ended: bool,
    /// When the connection last accepted bytes.
    written: Instant,
}

/// Why a body was not sent completely.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The client left, was too slow, or sent a malformed body.
    #[error("the request body ended early")]
    Upload,
    /// The origin accepts no more bytes.
    #[error("the origin stopped reading: {0}")]
    Refused(#[source] io::Error),
}

impl Sending {
    pub(super) fn new(upload: Upload, writer: Writer) -> Self {
        Sending {
            left: upload.length(),
            upload,
            writer,
            out: BytesMut::new(),
            ended: false,
            written: Instant::now(),
        }
    }

    /// When the connection last accepted bytes.
    pub(super) fn written(&self) -> Instant {
        self.written
    }

    /// The progress of the upload.
    pub(super) fn progress(&self) -> Progress {
        self.upload.progress()
    }

    /// Ready when the whole body is sent, or sending failed.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        loop {
            while !self.ended && self.out.len() < WRITE {
                match self.upload.poll_next(cx) {
                    Poll::Ready(Some(Ok(piece))) => self.frame(&piece)?,
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(SendError::Upload)),
                    Poll::Ready(None) => self.end()?,
                    Poll::Pending => break,
                }
            }
            if self.out.is_empty() {
                // Flushes what TLS has buffered while the client is waited for.
                let flushed = self.writer.poll_flush(cx).map_err(SendError::Refused)?;
                return if self.ended {
                    flushed.map(Ok)
                } else {
                    Poll::Pending
                };
            }
            match ready!(self.writer.poll_write(cx, &self.out)) {
                Ok(0) => {
                    return Poll::Ready(Err(SendError::Refused(io::ErrorKind::WriteZero.into())));
                }
                Ok(n) => {
                    self.out.advance(n);
                    self.written = Instant::now();
                }
                Err(error) => return Poll::Ready(Err(SendError::Refused(error))),
            }
        }
    }

    fn frame(&mut self, piece: &[u8]) -> Result<(), SendError> {
        match &mut self.left {
            // Bytes beyond the declared length would be read as another request.
            Some(left) => {
                *left = left
                    .checked_sub(piece.len() as u64)
                    .ok_or(SendError::Upload)?;
                self.out.extend_from_slice(piece);
            }
            // An empty chunk would end the body.
            None if piece.is_empty() => {}
            None => {
                self.out
                    .extend_from_slice(format!("{:X}\r\n", piece.len()).as_bytes());
                self.out.extend_from_slice(piece);
                self.out.extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), SendError> {
        match self.left {
            Some(0) => {}
            Some(_) => return Err(SendError::Upload),
            None => self.out.extend_from_slice(b"0\r\n\r\n"),
        }
        self.ended = true;
        Ok(())
    }

    /// Continues in a separate task while the returned value lives.
    pub(super) fn go_on(mut self, outlives: bool) -> UploadUnderWay {
        let progress = self.progress();
        progress.answered();
        let state = Rc::new(State::default());
        let told = Rc::clone(&state);
        let task = actix_rt::spawn(async move {
            let sent = poll_fn(|cx| self.poll(cx)).await;
            if matches!(sent, Err(SendError::Upload)) {
                // Closes the connection, so that neither side takes the exchange as complete.
                self.writer.end();
            }
            told.end(sent);
        });
        UploadUnderWay {
            task,
            state,
            progress,
            outlives,
        }
    }
}

/// A body that is still being sent while the response arrives. Dropping it stops that.
#[derive(Debug)]
pub(super) struct UploadUnderWay {
    task: JoinHandle<()>,
    state: Rc<State>,
    progress: Progress,
    outlives: bool,
}

#[derive(Debug, Default)]
struct State {
    ended: Cell<Option<UploadEnd>>,
    waiting: RefCell<Option<Waker>>,
}

/// How the upload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UploadEnd {
    /// It is sent completely.
    Whole,
    /// The client left, was too slow, or sent a malformed body.
    Broken,
    /// The origin accepts no more bytes.
    Refused,
}

impl State {
    fn end(&self, sent: Result<(), SendError>) {
        self.ended.set(Some(match sent {
            Ok(()) => UploadEnd::Whole,
            Err(SendError::Upload) => UploadEnd::Broken,
            Err(SendError::Refused(_)) => UploadEnd::Refused,
        }));
        let waiting = self.waiting.take();
        if let Some(waker) = waiting {
            waker.wake();
        }
    }
}

impl UploadUnderWay {
    /// Whether the response's end waits for the upload: for a success on a connection that stays open.
    pub(super) fn outlives(&self) -> bool {
        self.outlives
    }

    /// How it ended, if it has.
    pub(super) fn ended(&self) -> Option<UploadEnd> {
        self.state.ended.get()
    }

    /// Ready when it has ended.
    pub(super) fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<UploadEnd> {
        match self.state.ended.get() {
            Some(how) => Poll::Ready(how),
            None => {
                *self.state.waiting.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Response bytes moved: extends the upload's idle time.
    pub(super) fn touch(&self) {
        self.progress.touch();
    }

    /// When the client last sent something, or the response last moved.
    pub(super) fn last(&self) -> Instant {
        self.progress.last()
    }
}

impl Drop for UploadUnderWay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
