//! Reads one body from one connection, and returns the connection to the pool at its end.

use std::{
    future::{Future as _, poll_fn},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use tokio::time::Sleep;

use super::{
    body_error::BodyError,
    connection::Connection,
    pool::Pool,
    sending::{UploadEnd, UploadUnderWay},
};
use crate::path::framing::{Decoder, Framing, Head, Step};

/// Bytes read at once: enough to make a system call cheap, little enough that a thousand slow clients need little memory.
pub const READ: usize = 32 * 1024;

/// Reads one body from one connection of the origin.
pub struct Reader {
    connection: Option<Connection>,
    decoder: Decoder,
    /// Bytes that were read before the caller asked for any.
    ahead: Option<Bytes>,
    /// The most bytes that may follow, if a header declares it besides the framing (Content-Range).
    promised: Option<u64>,
    keep_alive: bool,
    pool: Rc<Pool>,
    /// Since when the origin is waited for.
    waiting: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Reader {
    /// For the body behind `head`. If it is empty, the connection is returned at once.
    pub fn new(connection: Connection, head: Head, pool: Rc<Pool>) -> Self {
        let mut connection = connection;
        connection.declared_forbidden_body = head.declares_forbidden_body;
        let mut reader = Reader {
            connection: Some(connection),
            decoder: Decoder::new(head.framing),
            ahead: None,
            promised: None,
            keep_alive: head.keep_alive,
            pool,
            waiting: None,
            timer: None,
        };
        if reader.decoder.is_end() {
            reader.finish();
        }
        reader
    }

    /// Without body and connection.
    pub fn nothing(pool: Rc<Pool>) -> Self {
        Reader {
            connection: None,
            decoder: Decoder::new(Framing::None),
            ahead: None,
            promised: None,
            keep_alive: false,
            pool,
            waiting: None,
            timer: None,
        }
    }

    /// Limits the body to `bytes`: more are an error.
    pub fn promise(&mut self, bytes: u64) {
        self.promised = Some(bytes);
    }

    /// How many of the last delivered bytes the framing has not confirmed yet.
    pub fn unproven(&self) -> u64 {
        self.decoder.unproven()
    }

    /// The connection, while the body is being read.
    pub fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    /// Whether the whole body has arrived, and the request's body was sent.
    pub fn is_here(&self) -> bool {
        let arrived = self.connection.as_ref().is_none_or(|connection| {
            connection.upload.is_none()
                && self
                    .decoder
                    .expected_in_all()
                    .is_some_and(|expected| expected <= connection.buf.len() as u64)
        });
        arrived && self.ahead.is_none()
    }

    /// Waits at most `idle` for the first bytes of the body, and keeps them for the next [`Reader::poll_piece`].
    ///
    /// # Errors
    ///
    /// [`BodyError`] if the body fails before that.
    pub async fn begin(&mut self, idle: Duration) -> Result<(), BodyError> {
        let first = poll_fn(|cx| self.poll_piece(cx, idle)).await;
        self.ahead = first.transpose()?;
        Ok(())
    }

    /// The number of bytes kept by [`Reader::begin`].
    pub fn ahead(&self) -> u64 {
        self.ahead.as_ref().map_or(0, |ahead| ahead.len() as u64)
    }

    /// The whole body, if it has arrived.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        if !self.is_here() {
            return None;
        }
        let Some(connection) = &mut self.connection else {
            return Some(Bytes::new());
        };
        match self.decoder.step(&mut connection.buf) {
            Ok(Step::Data(bytes)) if self.decoder.is_end() => {
                self.finish();
                Some(bytes)
            }
            _ => None,
        }
    }

    /// Since when the origin is waited for, if it is.
    pub fn waiting(&self) -> Option<Instant> {
        self.waiting
    }

    /// Stops the clock for idle reads, because nobody waits for the origin just now.
    pub fn pause(&mut self) {
        self.waiting = None;
    }

    /// Frees the room for bytes, because none are read for a while.
    pub fn release(&mut self) {
        if let Some(connection) = &mut self.connection
            && connection.buf.is_empty()
        {
            connection.buf = BytesMut::new();
        }
    }

    /// Whether the connection is no longer needed: the body ended or failed.
    pub fn is_done(&self) -> bool {
        self.connection.is_none() && self.ahead.is_none()
    }

    /// Returns the connection to the pool, if response and request body both ended properly.
    fn finish(&mut self) {
        self.timer = None;
        if let Some(mut connection) = self.connection.take()
            && self.keep_alive
            && connection
                .upload
                .take()
                .is_none_or(|upload| upload.ended() == Some(UploadEnd::Whole))
        {
            self.pool.put(connection);
        }
    }

    /// Ready when a completely received response has ended. A successful response to an upload ends only with the upload.
    fn poll_over(&mut self, cx: &mut Context<'_>, idle: Duration) -> Poll<Result<(), BodyError>> {
        if let Some(upload) = self.connection.as_ref().and_then(|c| c.upload.as_ref())
            && upload.outlives()
        {
            match upload.poll_ended(cx) {
                Poll::Ready(UploadEnd::Broken) => return Poll::Ready(Err(BodyError::Upload)),
                Poll::Ready(UploadEnd::Whole | UploadEnd::Refused) => {}
                Poll::Pending => {
                    let last = upload.last();
                    self.waiting = self.waiting.max(Some(last));
                    // The origin no longer reads the upload, but has answered.
                    ready!(self.poll_idle(cx, idle));
                }
            }
        }
        self.finish();
        Poll::Ready(Ok(()))
    }

    /// The next piece; `None` at the end. Silence for longer than `idle` is an error.
    pub fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        idle: Duration,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        if let Some(ahead) = self.ahead.take() {
            return Poll::Ready(Some(Ok(ahead)));
        }
        let piece = self.poll_read(cx, idle);
        if let Poll::Ready(Some(Err(_))) = piece {
            self.connection = None;
        }
        piece
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        idle: Duration,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let Some(connection) = &mut self.connection else {
                return Poll::Ready(None);
            };
            match self.decoder.step(&mut connection.buf) {
                Ok(Step::Data(bytes)) => {
                    self.waiting = None;
                    if let Some(promised) = &mut self.promised {
                        let Some(left) = promised.checked_sub(bytes.len() as u64) else {
                            return Poll::Ready(Some(Err(BodyError::TooLong)));
                        };
                        *promised = left;
                    }
                    match &connection.upload {
                        Some(upload) => upload.touch(),
                        None if self.decoder.is_end() => self.finish(),
                        None => {}
                    }
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Ok(Step::End) => {
                    return match ready!(self.poll_over(cx, idle)) {
                        Ok(()) => Poll::Ready(None),
                        Err(error) => Poll::Ready(Some(Err(error))),
                    };
                }
                Ok(Step::NeedMore) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
            let expected = self.decoder.expected();
            // One byte more than expected: a read that fills its buffer leaves the socket marked as readable, and another system
            // call would be needed to clear that.
            let most = expected.map_or(READ, |n| {
                usize::try_from(n).map_or(READ, |n| n.saturating_add(1).min(READ))
            });
            let filled = connection.poll_fill(cx, most);
            let broken = |upload: &UploadUnderWay| upload.ended() == Some(UploadEnd::Broken);
            if matches!(filled, Poll::Ready(Ok(0) | Err(_)))
                && connection.upload.as_ref().is_some_and(broken)
            {
                return Poll::Ready(Some(Err(BodyError::Upload)));
            }
            match filled {
                Poll::Ready(Ok(0)) => {
                    if !self.decoder.ends_at_close() {
                        return Poll::Ready(Some(Err(BodyError::Cut)));
                    }
                    self.keep_alive = false;
                    self.finish();
                    return Poll::Ready(None);
                }
                Poll::Ready(Ok(n)) => {
                    if expected.is_none_or(|expected| expected > n as u64) {
                        connection.rearm_quickack();
                    }
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(BodyError::Broken(error)))),
                Poll::Pending => {
                    return self
                        .poll_idle(cx, idle)
                        .map(|()| Some(Err(BodyError::Idle(idle))));
                }
            }
        }
    }

    /// Ready when the origin has been waited for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>, idle: Duration) -> Poll<()> {
        let at = *self.waiting.get_or_insert_with(Instant::now) + idle;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at.into())));
        // The timer is rarely reset: it may fire for a wait that has ended, and is then set for the current one.
        while timer.as_mut().poll(cx).is_ready() {
            if at <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(at.into());
        }
        Poll::Pending
    }
}
