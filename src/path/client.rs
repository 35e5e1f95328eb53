//! The state of a client connection that its stream and its requests' handlers share. Over HTTP/2, of one stream.

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
use bytes::BytesMut;

use super::{http2::outgoing::Answering, read_ahead::ReadAhead, refusal::Refusal};
use crate::traffic::{
    canary::split::Bucket, counters::ClientCounters, published::Published, quality::Class,
};

/// Bytes of interim responses that may wait for a client.
const MAX_INTERIM: usize = 16 * 1024;

/// A client connection, or one HTTP/2 stream of it, as the handler and the connection's stream both know it.
#[derive(Debug)]
pub struct Client {
    /// The client's address.
    pub peer: SocketAddr,
    /// The client's address as the value that X-Forwarded-For gets.
    pub address: HeaderValue,
    /// Whether it is a trusted proxy.
    pub trusted: bool,
    /// The class of its line. HTTP/2 streams share it with their connection.
    pub(super) class: Rc<Cell<Class>>,
    /// Whether it speaks TLS.
    pub secure: bool,
    /// The bucket of its address, by which a canary takes clients in; a shared one for a trusted proxy, which many clients are
    /// behind.
    pub bucket: Bucket,
    /// Requests that are in a handler, or whose response is under way.
    pub(super) engaged: Cell<u32>,
    /// Requests so far.
    pub(super) begun: Cell<u64>,
    /// The body that it is sent, if one is under way.
    transfer: RefCell<Option<Weak<RefCell<dyn ReadAhead>>>>,
    pub(super) reset: Cell<bool>,
    /// Whether a request whose body trickled is being answered: the rest of it is not waited for.
    pub(super) body_refused: Cell<bool>,
    /// Whether the request at hand offers to speak WebSocket. What of Upgrade a handler sees is such an offer.
    pub(super) offers_websocket: Cell<bool>,
    /// The protocol that it offers to speak, where that is not WebSocket.
    pub(super) other_offer: RefCell<Option<HeaderValue>>,
    /// Whether its offer to switch protocols was taken.
    pub(super) switched: Cell<bool>,
    /// Why its connection ends, where its request broke the rules behind its head.
    pub(super) refused: Cell<Option<Refusal>>,
    /// Interim responses (1xx) in the form of HTTP/1.1, to be written before the answer.
    pub(super) interim_heads: RefCell<BytesMut>,
    /// Whether the other protocol has come to its end.
    pub(super) tunnel_ended: Cell<bool>,
    /// Whether an answer is being written: half of it may be out.
    pub(super) writing: Cell<bool>,
    pub(super) published: Arc<Published>,
    /// Sends its interim responses over HTTP/2; none over HTTP/1.1.
    pub(super) interim: Option<Rc<Answering>>,
}

/// A response is under way for as long as this lives: the connection is not idle.
#[derive(Debug)]
pub struct Held(Rc<Client>);

/// A request to the origin is under way for as long as this lives.
#[derive(Debug)]
pub struct Engaged(Held);

impl Client {
    /// The bucket by which a canary takes this client in, or does not.
    pub fn bucket_of(peer: SocketAddr, trusted: bool) -> Bucket {
        if trusted {
            Bucket::SHARED
        } else {
            Bucket::of(peer.ip())
        }
    }

    /// The class of its line, as last seen.
    pub fn class(&self) -> Class {
        self.class.get()
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
            tunnel_ended: Cell::new(false),
            published,
            interim: None,
        }
    }

    /// State of one HTTP/2 stream: shares peer and line with its connection; request state starts empty.
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
            tunnel_ended: Cell::new(false),
            interim: None,
            ..*self
        }
    }

    /// What the actors decided, and the counters.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// Called while the client takes nothing of a response: its transfer reads on.
    pub fn poll_ahead(&self, cx: &mut Context<'_>) {
        let transfer = self.transfer.borrow().as_ref().and_then(Weak::upgrade);
        if let Some(transfer) = transfer {
            transfer.borrow_mut().poll_ahead(cx);
        }
    }

    /// The client that a request is from: its connection's, or over HTTP/2 its own.
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

    /// As [`Client::hold`], for a request that goes to the origin: that is counted.
    pub fn engage(self: &Rc<Self>) -> Engaged {
        self.published.clients.requests.up();
        Engaged(self.hold())
    }

    /// Sets the body that is sent to it: that reads on while the socket takes nothing.
    pub fn sends(&self, transfer: Rc<RefCell<dyn ReadAhead>>) {
        *self.transfer.borrow_mut() = Some(Rc::downgrade(&transfer));
    }

    /// A request whose body trickled is being answered: the rest of it is not waited for.
    pub fn refuses_body(&self) {
        self.body_refused.set(true);
    }

    /// What the request at hand offers to speak, where that may be taken (RFC 9110 §7.8).
    pub fn offer(&self) -> Option<HeaderValue> {
        let other = || self.other_offer.borrow().clone();
        self.offers_websocket()
            .then(|| other().unwrap_or(HeaderValue::from_static("websocket")))
    }

    /// Whether the request at hand offers to speak WebSocket (RFC 6455 §4.1): a GET over HTTP/1.1, without a body, with
    /// `Connection: upgrade` and `Upgrade: websocket`; or another protocol, which handlers see as WebSocket (see
    /// [`Client::offer`]). All other offers are removed before a handler sees them.
    pub fn offers_websocket(&self) -> bool {
        self.offers_websocket.get()
    }

    /// The offer is taken: from now on what the client sends goes on as it is, as the request's payload, until it
    /// closes. To be called before the 101 is given back. Without an offer nothing changes.
    pub fn switches_protocol(&self) {
        self.switched.set(self.offers_websocket.get());
    }

    /// Why the request at hand is refused behind its head, if it is.
    pub fn refused(&self) -> Option<Refusal> {
        self.refused.get()
    }

    /// The other protocol has come to its end: the client hears of it at once.
    pub(super) fn ends_tunnel(&self) {
        self.tunnel_ended.set(true);
    }

    /// Sends an interim response (RFC 9110 §15.2) before the answer to the request at hand; not to a client of HTTP/1.0. One
    /// that comes while another answer is still being written, or too many of them, are left out, as any hop may do.
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
        if self.writing.get() || heads.len() > MAX_INTERIM {
            counters.interim_dropped.increment();
            return;
        }
        let reason = status.canonical_reason().unwrap_or_default();
        heads.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).as_bytes());
        for (name, value) in fields {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                heads.extend_from_slice(part);
            }
        }
        heads.extend_from_slice(b"\r\n");
        counters.interim.increment();
    }

    /// Whether the connection ends with a reset instead of an orderly close.
    pub fn end_with_reset(&self, reset: bool) {
        self.reset.set(reset);
    }
}

impl Engaged {
    /// The client whose request this is.
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
