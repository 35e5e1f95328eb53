//! Worker threads and client connections in /stats.

use serde::Serialize;
use utoipa::ToSchema;

use crate::traffic::published::Published;

/// The worker threads and the client connections.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Workers {
    /// Worker threads.
    count: usize,
    /// Open client connections.
    connections_open: u64,
    /// Client connections accepted since the start.
    connections_accepted: u64,
    /// Connections over the limit, answered 503.
    connections_over_limit: u64,
    /// Idle connections that were closed to make room for others.
    connections_made_room: u64,
    /// TLS handshakes under way, counted from the ClientHello.
    tls_handshakes: u64,
    /// TLS handshakes that failed or timed out.
    tls_handshakes_failed: u64,
    /// Connections closed before their TLS handshake was complete, to make room for others.
    tls_handshakes_refused: u64,
    /// Connections that use HTTP/2.
    http2_connections_accepted: u64,
    /// HTTP/2 connections closed because the client cancelled too many requests.
    http2_reset_floods: u64,
    /// HTTP/2 connections closed because the client sent too many frames with almost no content.
    http2_frame_floods: u64,
    /// Requests under way.
    requests_in_flight: u64,
    /// Response body bytes sent so far, including running transfers.
    sent_bytes: u64,
    /// Request heads that came too slowly: 408.
    head_timeouts: u64,
    /// Request heads that were malformed or too large: 400 or 431.
    bad_heads: u64,
    /// Request bodies with malformed chunks or trailers.
    bad_bodies: u64,
    /// Request bodies that came too slowly: 408.
    body_timeouts: u64,
    /// Connections reset because the client stopped reading.
    send_timeouts: u64,
    /// Interim responses (1xx) passed on.
    interim_responses: u64,
    /// Interim responses not passed on: too many, or part of another response had been sent.
    interim_responses_dropped: u64,
    /// Connections that currently speak another protocol after a switch (such as WebSocket).
    upgraded_connections: u64,
    /// Connections that have switched protocols.
    upgrades: u64,
    /// Requests to switch protocols that were answered 503 because of a limit.
    upgrades_refused: u64,
    /// Requests missing from the counts, because the metrics window was too busy.
    samples_dropped: u64,
}

impl Workers {
    pub(in crate::api) fn of(published: &Published) -> Self {
        let clients = &published.clients;
        Self {
            count: published.workers,
            connections_open: clients.open.get(),
            connections_accepted: clients.accepted.get(),
            connections_over_limit: clients.over_limit.get(),
            connections_made_room: clients.idle_closed.get(),
            tls_handshakes: clients.handshakes.get(),
            tls_handshakes_failed: clients.handshakes_failed.get(),
            tls_handshakes_refused: clients.handshakes_refused.get(),
            http2_connections_accepted: clients.http2.get(),
            http2_reset_floods: clients.reset_floods.get(),
            http2_frame_floods: clients.frame_floods.get(),
            requests_in_flight: clients.requests.get(),
            sent_bytes: clients.sent_bytes.get(),
            head_timeouts: clients.head_timeouts.get(),
            bad_heads: clients.bad_heads.get(),
            bad_bodies: clients.bad_bodies.get(),
            body_timeouts: clients.body_timeouts.get(),
            send_timeouts: clients.send_timeouts.get(),
            interim_responses: clients.interim.get(),
            interim_responses_dropped: clients.interim_dropped.get(),
            upgraded_connections: clients.upgraded.get(),
            upgrades: clients.upgrades.get(),
            upgrades_refused: clients.upgrades_refused.get(),
            samples_dropped: clients.samples_dropped.get(),
        }
    }
}
