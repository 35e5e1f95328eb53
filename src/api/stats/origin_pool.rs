//! Connections to the origin, as /stats shows them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::traffic::published::Published;

/// Connections to the origin.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct OriginPool {
    /// Connections in use at once, at most (`levels.*.connections`).
    limit: usize,
    /// Connections in use at once to one host, at most.
    limit_per_host: usize,
    /// Connections in use.
    in_use: u64,
    /// Connections in use beyond the limits, by exchanges that only wait: for a client that reads or sends nothing, or for an origin that
    /// holds its answer back.
    beyond: u64,
    /// Exchanges that wait for nothing but their clients.
    parked: u64,
    /// Requests that wait for a connection.
    waiting: u64,
    /// Connections given up because their clients read nothing while others needed them; their bodies went on by Range.
    given_up: u64,
    /// Bodies ended because their clients read nothing, and others had no connection left.
    cut: u64,
    /// Bytes in memory of small request bodies, which go to the origin once they are complete.
    uploads_held_bytes: u64,
    /// Open sockets, idle ones included.
    open: u64,
    /// Open sockets without an exchange.
    idle: u64,
    /// Connections opened since the start.
    connects: u64,
    /// Those of them that were opened in advance, to be warm when a request comes.
    spares: u64,
    /// Connections that could not be opened.
    connect_failures: u64,
    /// Requests that went out on a kept connection.
    reuses: u64,
    /// Requests sent again because the origin had closed the kept connection.
    retries: u64,
    /// Idle connections that the origin closed.
    reaped: u64,
    /// Requests answered 503 because no connection came free in time.
    slot_timeouts: u64,
}

impl OriginPool {
    pub(in crate::api) fn of(published: &Published) -> Self {
        let origin = &published.counters.origin;
        let tuning = published.tuning.load();
        Self {
            limit: tuning.connections,
            limit_per_host: tuning.connections_per_host,
            in_use: origin.in_use.get(),
            beyond: origin.beyond.get(),
            parked: origin.parked.get(),
            waiting: origin.waiting.get(),
            given_up: origin.given_up.get(),
            cut: origin.cut.get(),
            uploads_held_bytes: origin.uploads_held.get(),
            open: origin.open.get(),
            idle: origin.idle.get(),
            connects: origin.connects.get(),
            spares: origin.spares.get(),
            connect_failures: origin.connect_failures.get(),
            reuses: origin.reuses.get(),
            retries: origin.retries.get(),
            reaped: origin.reaped.get(),
            slot_timeouts: origin.slot_timeouts.get(),
        }
    }
}
