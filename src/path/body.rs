//! The response body: from the origin's connection to the client's, with the limits that the origin must keep.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use actix_http::body::{BodySize, MessageBody};
use bytes::{Bytes, BytesMut};

use super::{
    body_queue::BodyQueue,
    client::Client,
    flow::Flow,
    meter::Meter,
    origin::{body::OriginBody, body_error::BodyError, reader::READ},
    read_ahead::ReadAhead,
};
use crate::traffic::{canary::split::Bucket, origin::OriginState, published::Published};

/// Most bytes that actix-http is handed at once, where pieces are larger than the chunk: it copies them, and each connection keeps
/// the room for that. Half as many cost more CPU, twice as many no less; pieces of 32 and 64 KiB leave no rest.
pub(super) const PIECE: usize = 16 * 1024;

/// One response body on its way to a client: the source of its bytes, what was read ahead, and the meter of its request.
pub struct Transfer {
    flow: Flow,
    ahead: BodyQueue,
    published: Arc<Published>,
    origin: Arc<OriginState>,
    bucket: Bucket,
    meter: Meter,
    /// An error found while bytes read before it still wait: they are delivered first.
    failed: Option<BodyError>,
    ended: bool,
    told: bool,
}

impl Transfer {
    /// A transfer that has not begun, of a body from this origin or from the store, to a client of this canary bucket.
    pub fn new(
        flow: Flow,
        published: Arc<Published>,
        origin: Arc<OriginState>,
        bucket: Bucket,
        meter: Meter,
    ) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Transfer {
            flow,
            ahead: BodyQueue::default(),
            published,
            origin,
            bucket,
            meter,
            failed: None,
            ended: false,
            told: false,
        }))
    }

    /// The whole rest of the body, which is here: nothing is read any more.
    pub fn has(&mut self, whole: Bytes) {
        self.ahead.push(whole);
        self.ended = true;
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(piece) = self.ahead.pop() {
            return Poll::Ready(Some(piece));
        }
        if self.ended || self.failed.is_some() {
            return Poll::Ready(None);
        }
        let tuning = self.origin.tuning_for(self.bucket).load();
        match self.flow.poll_piece(cx, &tuning) {
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

    /// The next piece for the client: small pieces that are here already are joined up to the chunk size.
    fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(first) = std::task::ready!(self.poll_piece(cx)) else {
            return Poll::Ready(None);
        };
        let chunk = self.origin.tuning_for(self.bucket).load().chunk;
        let level = self.published.level_for(self.bucket).load();
        let chunk = level.chunk_for(self.meter.client_class(), chunk).as_u64() as usize;
        let (chunk, most) = match self.flow {
            Flow::Origin(_) if !self.ended => (chunk, chunk.max(PIECE)),
            // It is here: waiting for more saves no wake-up.
            _ => (chunk.min(PIECE), PIECE),
        };
        if first.len() >= chunk || self.ended || self.flow.is_done() && self.ahead.is_empty() {
            return Poll::Ready(Some(self.cut(first, most)));
        }
        let mut gathered: Option<BytesMut> = None;
        let mut len = first.len();
        while len < chunk
            && let Poll::Ready(Some(next)) = self.poll_piece(cx)
        {
            let next = self.cut(next, most - len);
            len += next.len();
            gathered
                .get_or_insert_with(|| BytesMut::from(&*first))
                .extend_from_slice(&next);
        }
        Poll::Ready(Some(gathered.map_or(first, BytesMut::freeze)))
    }

    /// As much of a piece as one call hands out at most; the rest is the next one.
    fn cut(&mut self, mut piece: Bytes, most: usize) -> Bytes {
        if piece.len() > most {
            self.ahead.put_back(piece.split_off(most));
        }
        piece
    }
}

impl ReadAhead for Transfer {
    fn poll_ahead(&mut self, cx: &mut Context<'_>) {
        let span = self.meter.span().clone();
        let _logged = span.enter();
        if self.ended || self.failed.is_some() {
            return;
        }
        // A body from the store is not read ahead: it is local already.
        let Some(body) = self.flow.origin_body() else {
            return;
        };
        if body.is_asked_for() && !body.give_up() {
            self.origin.counters.cut.increment();
            tracing::warn!(
                "a body was ended: its client takes nothing, and others have no connection left"
            );
            self.flow = Flow::Origin(OriginBody::Closed);
            self.failed = Some(BodyError::Unread);
            return;
        }
        let tuning = self.origin.tuning_for(self.bucket).load();
        let level = self.published.level_for(self.bucket).load();
        let buffer = level.buffer_for(self.meter.client_class()).as_u64() as usize;
        body.make_room(cx);
        while self.ahead.len() + READ <= buffer.max(READ) {
            match self.flow.poll_piece(cx, &tuning) {
                Poll::Ready(Some(Ok(piece))) => {
                    self.ahead.push(piece);
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
        if let Some(body) = self.flow.origin_body() {
            body.park(cx);
        }
    }
}

/// A response body as actix sends it.
pub struct Body {
    transfer: Rc<RefCell<Transfer>>,
    size: BodySize,
    client: Rc<Client>,
    /// Whether the body ends with the connection.
    is_to_the_close: bool,
}

impl Body {
    /// The body of `transfer`; `size` is what the head declares.
    pub fn new(transfer: Rc<RefCell<Transfer>>, size: BodySize, client: Rc<Client>) -> Self {
        Body {
            transfer,
            size,
            client,
            is_to_the_close: false,
        }
    }

    /// A body without length that ends when the connection closes (RFC 9112 §6.3). If it is incomplete, `client`'s connection is
    /// reset: nothing else would tell the client that it was cut.
    pub fn to_the_close(transfer: Rc<RefCell<Transfer>>, client: Rc<Client>) -> Self {
        client.end_with_reset(true);
        Body {
            transfer,
            size: BodySize::Stream,
            client,
            is_to_the_close: true,
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
        if self.client.blocked.get() {
            // actix-http would put more behind what the socket did not take, in a buffer that grows. The client's stream wakes it.
            return Poll::Pending;
        }
        let transfer = &mut *self.transfer.borrow_mut();
        let span = transfer.meter.span().clone();
        let _logged = span.enter();
        match std::task::ready!(transfer.poll_gathered(cx)) {
            Some(piece) => {
                transfer.meter.passed(piece.len());
                return Poll::Ready(Some(Ok(piece)));
            }
            None => {
                if transfer.failed.is_some() && !transfer.told {
                    // Bytes that were handed out are flushed first, because actix-http closes the connection at once on an error.
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
                if self.is_to_the_close {
                    self.client.end_with_reset(false);
                }
                Poll::Ready(None)
            }
        }
    }
}
