//! The response body: from the origin's connection to the client's, with the limits that the origin must keep.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::Future as _,
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use actix_http::body::{BodySize, MessageBody};
use bytes::{Bytes, BytesMut};
use tokio::time::Sleep;

use super::{
    client_stream::Client,
    framing::{Decoder, Head, Malformed, Step},
    meter::Meter,
    origin::{connection::Connection, pool::Pool, slots::Slot},
};
use crate::traffic::{published::Published, sample::Outcome};

/// How much is read at once: large enough that a system call is cheap beside it, small enough that a thousand slow
/// clients cost little.
const READ: usize = 32 * 1024;

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
}

impl BodyError {
    /// How the request ended by it.
    pub fn outcome(&self) -> Outcome {
        match self {
            BodyError::Idle(_) => Outcome::OriginTimeout,
            BodyError::Cut | BodyError::Broken(_) | BodyError::Malformed(_) => {
                Outcome::OriginBroken
            }
        }
    }
}

/// Reads one body from its connection, and gives connection and slot back at its end.
pub struct Source {
    lease: Option<Lease>,
    decoder: Decoder,
    keep_alive: bool,
    pool: Rc<Pool>,
    /// Since when the origin is waited for.
    waiting: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

struct Lease {
    connection: Connection,
    _slot: Slot,
}

impl Source {
    /// The body behind `head`. One that is empty gives its connection back at once.
    pub fn new(connection: Connection, head: Head, slot: Slot, pool: Rc<Pool>) -> Self {
        let mut source = Source {
            lease: Some(Lease {
                connection,
                _slot: slot,
            }),
            decoder: Decoder::new(head.framing),
            keep_alive: head.keep_alive,
            pool,
            waiting: None,
            timer: None,
        };
        if source.decoder.is_end() {
            source.finish();
        }
        source
    }

    /// The whole body, if it is already here.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        let Some(lease) = &mut self.lease else {
            return Some(Bytes::new());
        };
        if self.decoder.expected()? > lease.connection.buf.len() as u64 {
            return None;
        }
        match self.decoder.step(&mut lease.connection.buf) {
            Ok(Step::Data(bytes)) if self.decoder.is_end() => {
                self.finish();
                Some(bytes)
            }
            _ => None,
        }
    }

    /// The connection goes back to the pool, the slot to whoever waits.
    fn finish(&mut self) {
        self.timer = None;
        if let Some(lease) = self.lease.take()
            && self.keep_alive
        {
            self.pool.put(lease.connection);
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
            self.lease = None;
        }
        piece
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        idle: Duration,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            let Some(lease) = &mut self.lease else {
                return Poll::Ready(None);
            };
            let connection = &mut lease.connection;
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
            // One byte more than is expected: a read that fills its room leaves the socket marked as readable, and
            // a connection with an event is not kept.
            let most = self.decoder.expected().map_or(READ, |n| {
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
                    if self
                        .decoder
                        .expected()
                        .is_none_or(|expected| expected > n as u64)
                    {
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

/// One response body on its way: the source, what was read ahead, and the account of it.
pub struct Transfer {
    source: Source,
    ahead: VecDeque<Bytes>,
    ahead_bytes: usize,
    published: Arc<Published>,
    meter: Meter,
    /// Found while something could still be handed out; told after that.
    failed: Option<BodyError>,
    ended: bool,
    told: bool,
}

impl Transfer {
    /// A transfer that has not begun.
    pub fn new(source: Source, published: Arc<Published>, meter: Meter) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Transfer {
            source,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            published,
            meter,
            failed: None,
            ended: false,
            told: false,
        }))
    }

    /// Called while the client's socket takes nothing: reads on, as far as the level's buffer allows, so that a body
    /// that fits does not hold an origin connection.
    pub fn poll_ahead(&mut self, cx: &mut Context<'_>) {
        if self.ended || self.failed.is_some() {
            return;
        }
        let tuning = self.published.tuning.load();
        let buffer = tuning.buffer.as_u64() as usize;
        while self.ahead_bytes + READ <= buffer.max(READ) {
            match self.source.poll_piece(cx, tuning.idle_read) {
                Poll::Ready(Some(Ok(piece))) => {
                    self.ahead_bytes += piece.len();
                    self.ahead.push_back(piece);
                }
                Poll::Ready(Some(Err(error))) => {
                    self.failed = Some(error);
                    return;
                }
                Poll::Ready(None) => {
                    self.ended = true;
                    return;
                }
                Poll::Pending => return,
            }
        }
        self.source.waiting = None;
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(piece) = self.ahead.pop_front() {
            self.ahead_bytes -= piece.len();
            return Poll::Ready(Some(piece));
        }
        if self.ended || self.failed.is_some() {
            return Poll::Ready(None);
        }
        let idle = self.published.tuning.load().idle_read;
        match self.source.poll_piece(cx, idle) {
            Poll::Ready(Some(Ok(piece))) => Poll::Ready(Some(piece)),
            Poll::Ready(Some(Err(error))) => {
                self.failed = Some(error);
                Poll::Ready(None)
            }
            Poll::Ready(None) => {
                self.ended = true;
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    }

    /// The next piece for the client, small ones that are already here gathered up to the chunk.
    fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(first) = std::task::ready!(self.poll_piece(cx)) else {
            return Poll::Ready(None);
        };
        let chunk = self.published.tuning.load().chunk.as_u64() as usize;
        if first.len() >= chunk
            || self.ended
            || self.source.lease.is_none() && self.ahead.is_empty()
        {
            return Poll::Ready(Some(first));
        }
        let mut gathered: Option<BytesMut> = None;
        let mut len = first.len();
        while len < chunk
            && let Poll::Ready(Some(next)) = self.poll_piece(cx)
        {
            len += next.len();
            gathered
                .get_or_insert_with(|| BytesMut::from(&*first))
                .extend_from_slice(&next);
        }
        Poll::Ready(Some(gathered.map_or(first, BytesMut::freeze)))
    }
}

/// A response body as actix sends it.
pub struct Body {
    transfer: Rc<RefCell<Transfer>>,
    size: BodySize,
    to_the_close: Option<Rc<Client>>,
}

impl Body {
    /// The body of `transfer`, `size` as the client is told.
    pub fn new(transfer: Rc<RefCell<Transfer>>, size: BodySize) -> Self {
        Body {
            transfer,
            size,
            to_the_close: None,
        }
    }

    /// A body whose end is the connection's: unless it is whole, `client`'s connection ends with a reset, for
    /// nothing else tells a cut one from a whole one.
    pub fn to_the_close(transfer: Rc<RefCell<Transfer>>, client: Rc<Client>) -> Self {
        client.end_with_reset(true);
        Body {
            transfer,
            size: BodySize::Stream,
            to_the_close: Some(client),
        }
    }
}

impl MessageBody for Body {
    type Error = BodyError;

    fn size(&self) -> BodySize {
        self.size
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        let transfer = &mut *self.transfer.borrow_mut();
        match std::task::ready!(transfer.poll_gathered(cx)) {
            Some(piece) => {
                transfer.meter.passed(piece.len());
                return Poll::Ready(Some(Ok(piece)));
            }
            None => {
                if transfer.failed.is_some() && !transfer.told {
                    // What was handed out before goes out first: an error ends the connection at once.
                    transfer.told = true;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
        match transfer.failed.take() {
            Some(error) => {
                transfer.meter.broke(&error);
                Poll::Ready(Some(Err(error)))
            }
            None => {
                transfer.meter.completed();
                if let Some(client) = &self.to_the_close {
                    client.end_with_reset(false);
                }
                Poll::Ready(None)
            }
        }
    }
}
