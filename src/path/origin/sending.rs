//! A request's body on its way to the origin: beside the wait for the response's head, and beside the response itself
//! where that comes first.

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

/// How much is gathered for one write.
const WRITE: usize = 32 * 1024;

/// A request's body, and the connection that it goes out on.
pub(super) struct Sending {
    upload: Upload,
    writer: Writer,
    /// Framed, but not yet written.
    out: BytesMut,
    /// Bytes still to come where a length was told; else the body is chunked.
    left: Option<u64>,
    ended: bool,
    /// When the connection last took some of it.
    written: Instant,
}

/// Why a body did not get there whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The client left, trickled, or sent what is no body.
    #[error("the request body ended early")]
    Upload,
    /// The origin takes no more of it.
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

    /// When the connection last took some of it.
    pub(super) fn written(&self) -> Instant {
        self.written
    }

    /// The progress of the upload.
    pub(super) fn progress(&self) -> Progress {
        self.upload.progress()
    }

    /// Ready when all of it is out, or it cannot go on.
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
                // What TLS holds may be flushed while the client is waited for.
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
            // One byte more would be the begin of another request.
            Some(left) => {
                *left = left
                    .checked_sub(piece.len() as u64)
                    .ok_or(SendError::Upload)?;
                self.out.extend_from_slice(piece);
            }
            // An empty chunk would be the last one.
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

    /// Goes on in a task of its own, for as long as what is given back lives.
    pub(super) fn go_on(mut self, outlives: bool) -> UploadUnderWay {
        let progress = self.progress();
        progress.answered();
        let state = Rc::new(State::default());
        let told = Rc::clone(&state);
        let task = actix_rt::spawn(async move {
            let sent = poll_fn(|cx| self.poll(cx)).await;
            if matches!(sent, Err(SendError::Upload)) {
                // Neither side may take the exchange for a whole one.
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

/// A body that is still sent while the response comes. Dropped, it ends.
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
    /// All of it is written.
    Whole,
    /// By the client's fault.
    Broken,
    /// The origin takes no more.
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
    /// Whether the response's end waits for it: one that says that all is well, on a connection that goes on.
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

    /// The response moves: the client need not.
    pub(super) fn touch(&self) {
        self.progress.touch();
    }

    /// When the client last sent something, or the response moved.
    pub(super) fn last(&self) -> Instant {
        self.progress.last()
    }
}

impl Drop for UploadUnderWay {
    fn drop(&mut self) {
        self.task.abort();
    }
}
