//! A connection that has switched protocols (RFC 9110 §7.8): bytes pass unchanged between client and origin in both directions,
//! until one of them closes or nothing passes for too long.

use std::{
    cell::Cell,
    convert::Infallible,
    future::{Future as _, poll_fn},
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use actix_http::{
    ConnectionType, Payload, Response, StatusCode,
    body::{BodySize, BoxBody, MessageBody},
    header::{self, HeaderMap},
};
use actix_rt::task::JoinHandle;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::Stream as _;
use tokio::time::Sleep;

use super::{
    client::Client,
    context::Context as RequestContext,
    headers,
    meter::Meter,
    origin::{connection::Connection, stream::Writer},
    upgrades::UpgradePermit,
};
use crate::traffic::published::Published;

/// Bytes that are read at once.
const READ: usize = 16 * 1024;
/// How often the idle time and the drain are checked.
const TICK: Duration = Duration::from_secs(1);

/// The origin's 101 for the client; after it, bytes pass in both directions. `payload` is what the client sends.
pub(super) fn response(
    origin: Connection,
    mut headers: HeaderMap,
    payload: Payload,
    permit: UpgradePermit,
    context: RequestContext,
) -> Response<BoxBody> {
    let RequestContext {
        worker,
        policy,
        client,
        id,
        mut meter,
        ..
    } = context;
    let chosen = headers.get(header::UPGRADE).cloned();
    let status = StatusCode::SWITCHING_PROTOCOLS;
    headers::to_client(&mut headers, status, &id);
    if let Some(chosen) = chosen {
        headers.insert(header::UPGRADE, chosen);
    }
    let mut response = Response::new(status);
    *response.headers_mut() = headers;
    response
        .head_mut()
        .set_connection_type(ConnectionType::Upgrade);
    worker.published.clients.upgrades.increment();
    meter.switched();
    client.switches_protocol();
    let idle = policy.upgrades.0.idle;
    let published = Arc::clone(&worker.published);
    let tunnel = Tunnel::new(origin, (client, payload), published, meter, (permit, idle));
    response.set_body(BoxBody::new(tunnel))
}

/// The origin's bytes, as the body of the 101; the client's bytes are forwarded by a separate task.
pub struct Tunnel {
    origin: Connection,
    client: Rc<Client>,
    upward: JoinHandle<()>,
    /// When bytes last passed, in either direction.
    moved: Rc<Cell<Instant>>,
    idle: Duration,
    tick: Pin<Box<Sleep>>,
    published: Arc<Published>,
    meter: Meter,
    ended: bool,
    _permit: UpgradePermit,
}

impl Tunnel {
    /// Between the client, whose bytes are `payload`, and the origin. Closes after `idle` without bytes.
    pub fn new(
        origin: Connection,
        (client, payload): (Rc<Client>, Payload),
        published: Arc<Published>,
        meter: Meter,
        (permit, idle): (UpgradePermit, Duration),
    ) -> Self {
        let moved = Rc::new(Cell::new(Instant::now()));
        let upward = actix_rt::spawn(upward(payload, origin.writer(), Rc::clone(&moved)));
        Tunnel {
            origin,
            client,
            upward,
            moved,
            idle,
            tick: Box::pin(tokio::time::sleep(TICK)),
            published,
            meter,
            ended: false,
            _permit: permit,
        }
    }

    /// Ready with bytes, or at the end.
    fn poll_origin(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if self.origin.buf.is_empty() {
            match self.origin.poll_fill(cx, READ) {
                Poll::Ready(filled) => _ = filled?,
                Poll::Pending => {
                    // Releases the buffer, because most tunnels are idle most of the time.
                    self.origin.buf = BytesMut::new();
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(self.origin.buf.split().freeze()))
    }

    /// Ready when nothing passed for too long, or the process drains.
    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.tick.as_mut().poll(cx).is_ready() {
            if self.published.is_draining() || self.moved.get().elapsed() >= self.idle {
                return Poll::Ready(());
            }
            self.tick
                .as_mut()
                .reset(tokio::time::Instant::now() + TICK.min(self.idle));
        }
        Poll::Pending
    }
}

impl MessageBody for Tunnel {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        match this.poll_origin(cx) {
            Poll::Ready(Ok(bytes)) if !bytes.is_empty() => {
                this.moved.set(Instant::now());
                this.meter.passed(bytes.len());
                return Poll::Ready(Some(Ok(bytes)));
            }
            // The origin's connection failed: so does the client's.
            Poll::Ready(Err(_)) => this.client.end_with_reset(true),
            Poll::Ready(Ok(_)) => {}
            Poll::Pending => ready!(this.poll_over(cx)),
        }
        this.ended = true;
        this.client.ends_tunnel();
        this.meter.completed();
        Poll::Ready(None)
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.upward.abort();
    }
}

/// Forwards the client's bytes, and their end.
async fn upward(mut payload: Payload, writer: Writer, moved: Rc<Cell<Instant>>) {
    let mut piece = Bytes::new();
    _ = poll_fn(|cx| {
        loop {
            while !piece.is_empty() {
                match ready!(writer.poll_write(cx, &piece)) {
                    Ok(n) if n > 0 => piece.advance(n),
                    // The client's bytes are read to their end all the same.
                    _ => return Poll::Ready(()),
                }
                moved.set(Instant::now());
            }
            match Pin::new(&mut payload).poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) => piece = bytes,
                // The end of the client's bytes is passed on as the end of the TCP stream.
                Poll::Ready(_) => return writer.poll_shutdown(cx).map(|_| ()),
                Poll::Pending => {
                    _ = writer.poll_flush(cx);
                    return Poll::Pending;
                }
            }
        }
    })
    .await;
}
