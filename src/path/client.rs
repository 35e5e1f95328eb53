//! The state of one client that the connection's stream and the request handlers share: of an HTTP/1.1 connection, or of one HTTP/2
//! stream.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::{Rc, Weak},
    sync::Arc,
    task::Context,
};

use actix_http::{
    HttpMessage as _, Request, StatusCode,
    header::{HeaderName, HeaderValue},
};

use super::{
    http2::outgoing::Answering,
    interim_heads::InterimHeads,
    read_ahead::ReadAhead,
    refusal::Refusal,
    rendered::response::{Asked, Hit},
};
use crate::traffic::{
    canary::split::Bucket, counters::ClientCounters, published::Published, quality::Class,
};

/// A client connection over HTTP/1.1, or one stream of an HTTP/2 connection; shared by handler and connection.
#[derive(Debug)]
pub struct Client {
    /// The client's address.
    pub peer: SocketAddr,
    /// The client's address in the form of an X-Forwarded-For value.
    pub address: HeaderValue,
    /// Whether it is one of the trusted proxies (`server.trusted_proxies`).
    pub trusted: bool,
    /// Quality class of the client's TCP connection, as last measured. HTTP/2 streams share their connection's.
    pub(super) class: Rc<Cell<Class>>,
    /// Whether it speaks TLS.
    pub secure: bool,
    /// Bucket of the client's address, which decides whether a canary applies to it. All clients behind a trusted proxy share one.
    pub bucket: Bucket,
    /// Requests that are in a handler or whose response is not yet sent completely.
    pub(super) engaged: Cell<u32>,
    /// Number of requests so far.
    pub(super) begun: Cell<u64>,
    /// The transfer of the response body that is being sent, if there is one; read ahead while the socket is blocked.
    transfer: RefCell<Option<Weak<RefCell<dyn ReadAhead>>>>,
    pub(super) reset: Cell<bool>,
    /// Set when a request whose body came too slowly is answered: the rest of the body is not awaited.
    pub(super) body_refused: Cell<bool>,
    /// Whether the current request offers WebSocket (RFC 6455 §4.1). Handlers see another protocol's offer as WebSocket, too.
    pub(super) offers_websocket: Cell<bool>,
    /// The Upgrade value of the current request, if it offers another protocol than WebSocket.
    pub(super) other_offer: RefCell<Option<HeaderValue>>,
    /// Whether a handler accepted the protocol switch (101).
    pub(super) switched: Cell<bool>,
    /// Why the connection ends, if the current request's body violated a rule after its head had been passed on.
    pub(super) refused: Cell<Option<Refusal>>,
    /// Interim responses (1xx) to be written before the final response.
    pub(super) interim_heads: RefCell<InterimHeads>,
    /// Whether the origin's side of a switched protocol has ended.
    pub(super) tunnel_ended: Cell<bool>,
    /// Whether a response is being written, so that part of it may be out.
    pub(super) writing: Cell<bool>,
    /// Whether the client's socket took nothing of a response over HTTP/1.1 at the last write.
    pub(super) blocked: Cell<bool>,
    /// The response to the current request, if it may be repeated for identical requests (see [`super::rendered`]).
    pub(super) repeatable: RefCell<Option<Box<(Hit, Asked)>>>,
    pub(super) published: Arc<Published>,
    /// Sends interim responses of an HTTP/2 stream; none over HTTP/1.1.
    pub(super) interim: Option<Rc<Answering>>,
}

/// Marks a response as under way while this lives: the connection is not idle.
#[derive(Debug)]
pub struct Held(Rc<Client>);

/// Marks a request to the origin as under way while this lives.
#[derive(Debug)]
pub struct Engaged(Held);

impl Client {
    /// The canary bucket of a client with this address.
    pub fn bucket_of(peer: SocketAddr, trusted: bool) -> Bucket {
        if trusted {
            Bucket::SHARED
        } else {
            Bucket::of(peer.ip())
        }
    }

    /// Quality class of the client's TCP connection, as last measured.
    pub fn class(&self) -> Class {
        self.class.get()
    }

    /// Whether the connection's TCP options follow the class of its line.
    pub(super) fn follows_lines(&self) -> bool {
        self.published.level_for(self.bucket).load().follow_lines
    }

    /// The socket took bytes of a response again: its body goes on, which gave nothing meanwhile.
    pub(super) fn unblock(&self, cx: &Context<'_>) {
        if self.blocked.take() {
            cx.waker().wake_by_ref();
        }
    }

    /// A client whose connection was just accepted.
    pub fn new(peer: SocketAddr, trusted: bool, secure: bool, published: Arc<Published>) -> Self {
        Client {
            peer,
            address: HeaderValue::from_str(&peer.ip().to_canonical().to_string())
                .unwrap_or(HeaderValue::from_static("unknown")),
            trusted,
            secure,
            bucket: Self::bucket_of(peer, trusted),
            class: Rc::default(),
            engaged: Cell::new(0),
            begun: Cell::new(0),
            transfer: RefCell::default(),
            reset: Cell::new(false),
            body_refused: Cell::new(false),
            offers_websocket: Cell::new(false),
            other_offer: RefCell::default(),
            switched: Cell::new(false),
            refused: Cell::new(None),
            interim_heads: RefCell::default(),
            writing: Cell::new(false),
            blocked: Cell::new(false),
            repeatable: RefCell::default(),
            tunnel_ended: Cell::new(false),
            published,
            interim: None,
        }
    }

    /// State for a new HTTP/2 stream of the same connection: shares address and class, request state starts empty.
    pub fn again(&self) -> Self {
        Client {
            address: self.address.clone(),
            published: Arc::clone(&self.published),
            class: Rc::clone(&self.class),
            engaged: Cell::new(0),
            begun: Cell::new(0),
            transfer: RefCell::default(),
            reset: Cell::new(false),
            body_refused: Cell::new(false),
            offers_websocket: Cell::new(false),
            other_offer: RefCell::default(),
            switched: Cell::new(false),
            refused: Cell::new(None),
            interim_heads: RefCell::default(),
            writing: Cell::new(false),
            blocked: Cell::new(false),
            repeatable: RefCell::default(),
            tunnel_ended: Cell::new(false),
            interim: None,
            ..*self
        }
    }

    /// The levels in force and the client counters.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// Reads the current transfer ahead. Called while the client's socket is blocked.
    pub fn poll_ahead(&self, cx: &mut Context<'_>) {
        let transfer = self.transfer.borrow().as_ref().and_then(Weak::upgrade);
        if let Some(transfer) = transfer {
            transfer.borrow_mut().poll_ahead(cx);
        }
    }

    /// The client of a request: its connection (HTTP/1.1), or its stream (HTTP/2).
    pub fn of(request: &Request) -> Option<Rc<Self>> {
        let client = request.conn_data::<Rc<Self>>().cloned();
        client.or_else(|| request.extensions().get::<Rc<Self>>().cloned())
    }

    /// Counts a request whose head is complete.
    pub fn begin(&self) {
        self.begun.set(self.begun.get() + 1);
    }

    /// Marks a response as under way, until the returned guard is dropped.
    pub fn hold(self: &Rc<Self>) -> Held {
        self.engaged.set(self.engaged.get() + 1);
        Held(Rc::clone(self))
    }

    /// As [`Client::hold`], for a request that is also counted among those under way.
    pub fn engage(self: &Rc<Self>) -> Engaged {
        self.published.clients.requests.up();
        Engaged(self.hold())
    }

    /// Sets the transfer that is read ahead while the socket is blocked.
    pub fn sends(&self, transfer: Rc<RefCell<dyn ReadAhead>>) {
        *self.transfer.borrow_mut() = Some(Rc::downgrade(&transfer));
    }

    /// Stops waiting for the rest of a request body that came too slowly.
    pub fn refuses_body(&self) {
        self.body_refused.set(true);
    }

    /// The protocol that the current request offers to switch to, if the offer may be passed on (RFC 9110 §7.8).
    pub fn offer(&self) -> Option<HeaderValue> {
        let other = || self.other_offer.borrow().clone();
        self.offers_websocket()
            .then(|| other().unwrap_or(HeaderValue::from_static("websocket")))
    }

    /// Whether the current request offers WebSocket (RFC 6455 §4.1): a GET over HTTP/1.1 without a body, with `Connection: upgrade`
    /// and `Upgrade: websocket`; or another protocol, which handlers see as WebSocket (see [`Client::offer`]). All other offers are
    /// removed before a handler sees them.
    pub fn offers_websocket(&self) -> bool {
        self.offers_websocket.get()
    }

    /// Accepts the offered protocol: from now on the client's bytes pass unchanged as the request's payload until it closes. Call
    /// it before returning the 101. Without an offer nothing changes.
    pub fn switches_protocol(&self) {
        self.switched.set(self.offers_websocket.get());
    }

    /// Why the current request was refused after its head had been passed on, if it was.
    pub fn refused(&self) -> Option<Refusal> {
        self.refused.get()
    }

    /// Reports that the origin's side of the switched protocol has ended, so that the client's connection closes at once.
    pub(super) fn ends_tunnel(&self) {
        self.tunnel_ended.set(true);
    }

    /// Queues an interim response (RFC 9110 §15.2) to the current request. It is dropped for HTTP/1.0 clients, while a response is
    /// already being written, and when too many wait.
    pub fn send_interim<'a>(
        &self,
        status: StatusCode,
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    ) {
        let counters = &self.published.clients;
        if let Some(answering) = &self.interim {
            answering.send_interim(status, fields);
            counters.interim.increment();
            return;
        }
        let mut heads = self.interim_heads.borrow_mut();
        if self.writing.get() || heads.is_full() {
            counters.interim_dropped.increment();
            return;
        }
        heads.push(status, fields);
        counters.interim.increment();
    }

    /// Sets whether the connection ends with a reset (RST) instead of an orderly close.
    pub fn end_with_reset(&self, reset: bool) {
        self.reset.set(reset);
    }
}

impl Engaged {
    /// The client that sent this request.
    pub fn client(&self) -> &Client {
        &self.0.0
    }

    /// Counts body bytes that were handed to the client.
    pub fn sent(&self, bytes: u64) {
        self.counters().sent_bytes.add(bytes);
    }

    fn counters(&self) -> &ClientCounters {
        &self.0.0.published.clients
    }
}

impl Drop for Engaged {
    fn drop(&mut self) {
        self.counters().requests.down();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.engaged.set(self.0.engaged.get() - 1);
    }
}
