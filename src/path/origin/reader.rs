//! Reads one body from one connection, and gives the connection back at its end.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::time::Sleep;

use super::{connection::Connection, pool::Pool};
use crate::{
    path::framing::{Decoder, Framing, Head, Malformed, Step},
    traffic::sample::Outcome,
};

/// How much is read at once: large enough that a system call is cheap beside it, small enough that a thousand slow
/// clients cost little.
pub const READ: usize = 32 * 1024;

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The origin closed the connection in the middle.
    #[error("the origin closed the connection in the middle of the body")]
    Cut,
    /// The connection broke.
    #[error("the origin connection broke in the middle of the body: {0}")]
    Broken(#[source] io::Error),
    /// The chunked coding is broken.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Nothing came for too long.
    #[error("the origin sent nothing for {0:?}")]
    Idle(Duration),
    /// The client took nothing for long, and others needed the connection.
    #[error("the client took nothing while others had no connection left")]
    Unread,
    /// A part of the body cannot be had.
    #[error("the origin does not give a part of the body")]
    NoRest,
}

impl BodyError {
    /// How the request ended by it.
    pub fn outcome(&self) -> Outcome {
        match self {
            BodyError::Idle(_) => Outcome::OriginTimeout,
            BodyError::Unread => Outcome::ClientFault,
            BodyError::Cut | BodyError::Broken(_) | BodyError::Malformed(_) | BodyError::NoRest => {
                Outcome::OriginBroken
            }
        }
    }
}

/// One body on one connection.
pub struct Reader {
    connection: Option<Connection>,
    decoder: Decoder,
    keep_alive: bool,
    pool: Rc<Pool>,
    /// Since when the origin is waited for.
    waiting: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Reader {
    /// The body behind `head`. One that is empty gives its connection back at once.
    pub fn new(connection: Connection, head: Head, pool: Rc<Pool>) -> Self {
        let mut reader = Reader {
            connection: Some(connection),
            decoder: Decoder::new(head.framing),
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

    /// No body, and no connection.
    pub fn nothing(pool: Rc<Pool>) -> Self {
        Reader {
            connection: None,
            decoder: Decoder::new(Framing::None),
            keep_alive: false,
            pool,
            waiting: None,
            timer: None,
        }
    }

    /// The connection, while the body is under way.
    pub fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    /// Whether all of the body has arrived.
    pub fn is_here(&self) -> bool {
        self.connection.as_ref().is_none_or(|connection| {
            self.decoder
                .expected_in_all()
                .is_some_and(|expected| expected <= connection.buf.len() as u64)
        })
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

    /// The origin is not waited for just now.
    pub fn pause(&mut self) {
        self.waiting = None;
    }

    /// Whether the connection is done with: the body ended, or broke.
    pub fn is_done(&self) -> bool {
        self.connection.is_none()
    }

    /// The connection goes back to the pool.
    fn finish(&mut self) {
        self.timer = None;
        if let Some(connection) = self.connection.take()
            && self.keep_alive
        {
            self.pool.put(connection);
        }
    }

    /// The next piece; `None` at the end. Nothing for longer than `idle` is an error.
    pub fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        idle: Duration,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
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
                    if self.decoder.is_end() {
                        self.finish();
                    }
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Ok(Step::End) => {
                    self.finish();
                    return Poll::Ready(None);
                }
                Ok(Step::NeedMore) => {}
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
            let expected = self.decoder.expected();
            // One byte more than is expected: a read that fills its room leaves the socket marked as readable, and
            // it takes one more system call to see that it is not.
            let most = expected.map_or(READ, |n| {
                usize::try_from(n).map_or(READ, |n| n.saturating_add(1).min(READ))
            });
            match connection.poll_fill(cx, most) {
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
        // The timer is seldom moved: it fires for a gap that has ended, and is then set for the one that has not.
        while timer.as_mut().poll(cx).is_ready() {
            if at <= Instant::now() {
                return Poll::Ready(());
            }
            timer.as_mut().reset(at.into());
        }
        Poll::Pending
    }
}
