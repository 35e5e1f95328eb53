//! Counts that the path writes and /stats reads: plain atomics, one writer's cost each.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::answers::Answers;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// None so far.
    pub const fn new() -> Self {
        Counter(AtomicU64::new(0))
    }

    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// The number so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// `n` more, if it does not pass `most` by that.
    pub fn up_within(&self, n: u64, most: u64) -> bool {
        let fits = |now: u64| now.checked_add(n).filter(|&then| then <= most);
        self.0.fetch_update(Relaxed, Relaxed, fits).is_ok()
    }

    /// `n` less.
    pub fn down_by(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }

    /// One more.
    pub fn up(&self) -> u64 {
        self.0.fetch_add(1, Relaxed) + 1
    }

    /// One less.
    pub fn down(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// It is `n` now: for what is counted elsewhere, under a lock.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The connections to one origin and what became of them.
#[derive(Debug, Default)]
pub struct OriginCounters {
    /// Exchanges under way that have a slot: from the slot taken to the body's end.
    pub in_use: Gauge,
    /// Exchanges under way without a slot: somebody needed it while they only waited.
    pub beyond: Gauge,
    /// Exchanges, with a slot or without, that wait for nothing but their clients.
    pub parked: Gauge,
    /// Connections of such exchanges that were given up: their bodies go on by Range.
    pub given_up: Counter,
    /// Bodies that were ended because their clients took nothing and others had no connection left.
    pub cut: Counter,
    /// How long those that were answered took, to the last byte of their bodies.
    pub exchanges: Answers,
    /// Requests that wait for a slot.
    pub waiting: Gauge,
    /// Sockets open, idle ones included.
    pub open: Gauge,
    /// Idle connections kept.
    pub idle: Gauge,
    /// Connections opened.
    pub connects: Counter,
    /// Connects that failed.
    pub connect_failures: Counter,
    /// Of them, those opened before anybody needed them.
    pub spares: Counter,
    /// Requests that went out on a kept connection.
    pub reuses: Counter,
    /// Requests sent once more because a kept connection turned out dead.
    pub retries: Counter,
    /// Idle connections that the origin closed, found before a request met them.
    pub reaped: Counter,
    /// Requests that found no slot in time.
    pub slot_timeouts: Counter,
    /// Requests for the rest of a body that broke.
    pub resumes: Counter,
    /// Breaks that were mended so.
    pub resumed: Counter,
    /// Breaks that could not be mended.
    pub resumes_given_up: Counter,
    /// Breaks that were not mended because there were too many.
    pub resumes_denied: Counter,
    /// Bytes of bodies that were read once more and thrown away, to get past what was sent already.
    pub reread_bytes: Counter,
    /// Bodies fetched over several connections.
    pub parallel_transfers: Counter,
    /// Parts that they were fetched in.
    pub parts: Counter,
    /// Bytes that are kept for them: what came before its turn, and what is asked for.
    pub parts_held: Gauge,
    /// Parts that the origin turned away or was late with: they were asked for again, at a smaller width.
    pub parts_refused: Counter,
    /// Parts that could not be had: their bodies went on over one connection.
    pub parts_given_up: Counter,
    /// Parts given up because others needed the room.
    pub parts_yielded: Counter,
    /// Bytes of first responses that were read past, because parts had brought them.
    pub parts_wasted: Counter,
    /// First responses that broke while parts brought the body.
    pub firsts_lost: Counter,
    /// Requests made again because the origin turned them away while parts were under way.
    pub crowded_out: Counter,
    /// Second connections for bodies that stalled.
    pub stalls: Counter,
    /// Stalls at which the second connection took over.
    pub stalls_mended: Counter,
    /// Stalls that got no second connection because there were too many.
    pub stalls_denied: Counter,
}

/// The classes of status codes (RFC 9110 §15).
pub const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl ClientCounters {
    /// A request was answered with this status. Interim responses do not count, a switch of protocols (101) does.
    pub fn responded(&self, status: u16) {
        let class = usize::from(status / 100).checked_sub(1);
        if let Some(counter) = class.and_then(|class| self.responses.get(class)) {
            counter.increment();
        }
    }

    /// The classes of status codes, each with the number of responses.
    pub fn responses(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = self.responses.iter().map(Counter::get);
        STATUS_CLASSES.into_iter().zip(counts)
    }
}

/// The client side's connections and what became of them.
#[derive(Debug, Default)]
pub struct ClientCounters {
    /// Connections open.
    pub open: Gauge,
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections answered 503 because there were too many.
    pub over_limit: Counter,
    /// Connections without a request under way that were closed to make room for others.
    pub idle_closed: Counter,
    /// TLS handshakes under way, from the client's first message on.
    pub handshakes: Gauge,
    /// TLS handshakes that failed or took too long.
    pub handshakes_failed: Counter,
    /// Connections closed before their TLS handshake was done, to make room for others.
    pub handshakes_refused: Counter,
    /// Connections that chose HTTP/2.
    pub http2: Counter,
    /// What HTTP/2 connections may bring of request bodies beyond the first 128 KiB of each, in bytes.
    pub upload_windows: Gauge,
    /// HTTP/2 connections ended because the client gave up too many requests.
    pub reset_floods: Counter,
    /// HTTP/2 connections ended because the client sent too many frames that brought nothing.
    pub frame_floods: Counter,
    /// Responses by the class of their status, 1xx to 5xx (RFC 9110 §15); see [`ClientCounters::responded`].
    responses: [Counter; 5],
    /// Request heads that took too long.
    pub head_timeouts: Counter,
    /// Request heads that were no HTTP, or too large: answered 4xx before they became a request.
    pub bad_heads: Counter,
    /// Request bodies that were no HTTP, their chunks or trailers: answered 400, if no answer had begun.
    pub bad_bodies: Counter,
    /// Request bodies that trickled.
    pub body_timeouts: Counter,
    /// Clients that stopped reading.
    pub send_timeouts: Counter,
    /// Bytes of small request bodies that are kept until all of them are here.
    pub uploads_held: Gauge,
    /// Requests in a handler or with a body under way.
    pub requests: Gauge,
    /// Response body bytes handed to clients, as they go.
    pub sent_bytes: Counter,
    /// Interim responses passed on.
    pub interim: Counter,
    /// Interim responses left out: too many of them, or half of another answer was out.
    pub interim_dropped: Counter,
    /// Connections that speak another protocol with the origin.
    pub upgraded: Gauge,
    /// Connections that switched to another protocol.
    pub upgrades: Counter,
    /// Offers of another protocol that were not passed on because too many connections speak one.
    pub upgrades_refused: Counter,
    /// Samples that a full mailbox could not take.
    pub samples_dropped: Counter,
    /// Connections open by the class of their line: good, medium, poor, very poor.
    pub by_class: [Gauge; 4],
    /// Sockets that were given another congestion control for the class of their line.
    pub congestion_switches: Counter,
}

/// Log lines.
#[derive(Debug, Default)]
pub struct LogCounters {
    /// Lines that nobody got: their reader stood still or had no room.
    pub dropped: Counter,
}

/// Those of the process: it has one log, as it has one standard error.
pub static LOG: LogCounters = LogCounters {
    dropped: Counter::new(),
};
