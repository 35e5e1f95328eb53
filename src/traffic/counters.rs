//! Counters that the path writes and /stats reads: plain atomics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::answers::Answers;

/// A counter that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Zero.
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

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A value that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds `n` unless the result would exceed `most`; returns whether it did.
    pub fn up_within(&self, n: u64, most: u64) -> bool {
        let fits = |now: u64| now.checked_add(n).filter(|&then| then <= most);
        self.0.fetch_update(Relaxed, Relaxed, fits).is_ok()
    }

    /// Subtracts `n`.
    pub fn down_by(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }

    /// Adds one; returns the new value.
    pub fn up(&self) -> u64 {
        self.0.fetch_add(1, Relaxed) + 1
    }

    /// Subtracts one.
    pub fn down(&self) {
        self.0.fetch_sub(1, Relaxed);
    }

    /// Sets the value: for numbers that are counted elsewhere under a lock.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Counters of one origin.
#[derive(Debug, Default)]
pub struct OriginCounters {
    /// Exchanges under way with a slot: from taking the slot to the end of the body.
    pub in_use: Gauge,
    /// Exchanges under way without a slot: it went to another request while they only waited.
    pub beyond: Gauge,
    /// Exchanges, with or without a slot, that wait only for their clients.
    pub parked: Gauge,
    /// Connections of such exchanges that were given up; their bodies continue by Range.
    pub given_up: Counter,
    /// Bodies that were ended because their clients read nothing and others had no connection left.
    pub cut: Counter,
    /// Times of answered exchanges, to the last byte of their bodies.
    pub exchanges: Answers,
    /// Requests that wait for a slot.
    pub waiting: Gauge,
    /// Bytes that its connections carried in both directions, without those of upgraded ones.
    pub moved: Counter,
    /// Sockets open, idle ones included.
    pub open: Gauge,
    /// Idle connections.
    pub idle: Gauge,
    /// Connections opened.
    pub connects: Counter,
    /// Connects that failed.
    pub connect_failures: Counter,
    /// Connections opened in advance, before a request needed them.
    pub spares: Counter,
    /// Requests sent on an idle connection.
    pub reuses: Counter,
    /// Requests repeated because an idle connection was already closed.
    pub retries: Counter,
    /// Idle connections closed by the origin, noticed before a request used them.
    pub reaped: Counter,
    /// Requests that found no slot in time.
    pub slot_timeouts: Counter,
    /// Requests for the rest of a broken body.
    pub resumes: Counter,
    /// Breaks that were resumed by them.
    pub resumed: Counter,
    /// Breaks that could not be resumed.
    pub resumes_given_up: Counter,
    /// Breaks that were not resumed because the budget was spent.
    pub resumes_denied: Counter,
    /// Body bytes that were received again and discarded, because they were already sent.
    pub reread_bytes: Counter,
    /// Bodies fetched over several connections.
    pub parallel_transfers: Counter,
    /// Parts of such bodies.
    pub parts: Counter,
    /// Bytes of memory reserved for parts.
    pub parts_held: Gauge,
    /// Parts that the origin refused or was late with; requested again with fewer connections.
    pub parts_refused: Counter,
    /// Parts that could not be fetched; their bodies continued over one connection.
    pub parts_given_up: Counter,
    /// Parts given up because other requests needed the connections.
    pub parts_yielded: Counter,
    /// Bytes of original responses that were discarded because parts had delivered them.
    pub parts_wasted: Counter,
    /// Original responses that failed while parts delivered the body.
    pub firsts_lost: Counter,
    /// Requests sent again because the origin refused them while parts were under way.
    pub crowded_out: Counter,
    /// Second connections for stalled bodies.
    pub stalls: Counter,
    /// Stalls in which the second connection took over.
    pub stalls_mended: Counter,
    /// Stalls without a second connection because the budget was spent.
    pub stalls_denied: Counter,
}

/// The classes of status codes (RFC 9110 §15).
pub const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl ClientCounters {
    /// Counts a response with this status. Interim responses do not count, 101 does.
    pub fn responded(&self, status: u16) {
        let class = usize::from(status / 100).checked_sub(1);
        if let Some(counter) = class.and_then(|class| self.responses.get(class)) {
            counter.increment();
        }
    }

    /// The status classes, each with its number of responses.
    pub fn responses(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = self.responses.iter().map(Counter::get);
        STATUS_CLASSES.into_iter().zip(counts)
    }
}

/// Counters of the client side.
#[derive(Debug, Default)]
pub struct ClientCounters {
    /// Connections open.
    pub open: Gauge,
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections over the limit, answered 503.
    pub over_limit: Counter,
    /// Idle connections that were closed to make room for others.
    pub idle_closed: Counter,
    /// TLS handshakes under way, counted from the ClientHello.
    pub handshakes: Gauge,
    /// TLS handshakes that failed or timed out.
    pub handshakes_failed: Counter,
    /// Connections closed before their TLS handshake was complete, to make room for others.
    pub handshakes_refused: Counter,
    /// Connections that use HTTP/2.
    pub http2: Counter,
    /// Flow-control windows for request bodies of all HTTP/2 connections beyond the initial 128 KiB of each, in bytes.
    pub upload_windows: Gauge,
    /// HTTP/2 connections closed because the client cancelled too many requests.
    pub reset_floods: Counter,
    /// HTTP/2 connections closed because the client sent too many frames with almost no content.
    pub frame_floods: Counter,
    /// Responses by status class, 1xx to 5xx (RFC 9110 §15); see [`ClientCounters::responded`].
    responses: [Counter; 5],
    /// Request heads that came too slowly.
    pub head_timeouts: Counter,
    /// Request heads that were invalid or too large: answered 4xx before they became a request.
    pub bad_heads: Counter,
    /// Request bodies with invalid chunks or trailers: answered 400, if no response had begun.
    pub bad_bodies: Counter,
    /// Request bodies that came too slowly.
    pub body_timeouts: Counter,
    /// Clients that stopped reading.
    pub send_timeouts: Counter,
    /// Bytes of small request bodies that are held until they are complete.
    pub uploads_held: Gauge,
    /// Requests in a handler or with a body under way.
    pub requests: Gauge,
    /// Response body bytes sent to clients, counted continuously.
    pub sent_bytes: Counter,
    /// Interim responses passed on.
    pub interim: Counter,
    /// Interim responses dropped: too many, or another response was half written.
    pub interim_dropped: Counter,
    /// Connections that currently speak another protocol after a switch.
    pub upgraded: Gauge,
    /// Connections that have switched protocols.
    pub upgrades: Counter,
    /// Offers to switch protocols that were refused because of a limit.
    pub upgrades_refused: Counter,
    /// Samples lost because a mailbox was full.
    pub samples_dropped: Counter,
    /// Connections open by the class of their line: good, medium, poor, very poor.
    pub by_class: [Gauge; 4],
    /// Sockets whose congestion control was changed because of their line's class.
    pub congestion_switches: Counter,
}

/// Counters of the log.
#[derive(Debug, Default)]
pub struct LogCounters {
    /// Lines lost because their reader was too slow.
    pub dropped: Counter,
}

/// The counters of the process's log (standard error).
pub static LOG: LogCounters = LogCounters {
    dropped: Counter::new(),
};
