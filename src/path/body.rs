//! The response body: from the origin's connection to the client's, with the limits that the origin must keep.

use std::{
    cell::RefCell,
    collections::VecDeque,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use actix_http::body::{BodySize, MessageBody};
use bytes::{Bytes, BytesMut};

use super::{
    client::Client,
    flow::Flow,
    meter::Meter,
    origin::{body::OriginBody, body_error::BodyError, reader::READ},
    read_ahead::ReadAhead,
};
use crate::traffic::{canary::split::Bucket, origin::OriginState, published::Published};

/// One response body on its way to a client: where its bytes come from, those read ahead, and the meter of its request.
pub struct Transfer {
    flow: Flow,
    ahead: VecDeque<Bytes>,
    ahead_bytes: usize,
    published: Arc<Published>,
    origin: Arc<OriginState>,
    bucket: Bucket,
    meter: Meter,
    /// The break, found while bytes read before it are still to be handed out: the client gets those first.
    failed: Option<BodyError>,
    ended: bool,
    told: bool,
}

impl Transfer {
    /// A transfer from this origin, or of what is stored of it, that has not begun, to a client of this bucket.
    pub fn new(
        flow: Flow,
        published: Arc<Published>,
        origin: Arc<OriginState>,
        bucket: Bucket,
        meter: Meter,
    ) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Transfer {
            flow,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            published,
            origin,
            bucket,
            meter,
            failed: None,
            ended: false,
            told: false,
        }))
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(piece) = self.ahead.pop_front() {
            self.ahead_bytes -= piece.len();
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

    /// The next piece for the client, small ones that are already here gathered up to the chunk.
    fn poll_gathered(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(first) = std::task::ready!(self.poll_piece(cx)) else {
            return Poll::Ready(None);
        };
        let chunk = self.origin.tuning_for(self.bucket).load().chunk;
        let level = self.published.level_for(self.bucket).load();
        let chunk = level.chunk_for(self.meter.client_class(), chunk).as_u64() as usize;
        if first.len() >= chunk || self.ended || self.flow.is_done() && self.ahead.is_empty() {
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

impl ReadAhead for Transfer {
    fn poll_ahead(&mut self, cx: &mut Context<'_>) {
        let span = self.meter.span().clone();
        let _logged = span.enter();
        if self.ended || self.failed.is_some() {
            return;
        }
        // What the store keeps is not read ahead of the client: nothing is gained by that.
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
        while self.ahead_bytes + READ <= buffer.max(READ) {
            match self.flow.poll_piece(cx, &tuning) {
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
        if let Some(body) = self.flow.origin_body() {
            body.park(cx);
        }
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
        let span = transfer.meter.span().clone();
        let _logged = span.enter();
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
