//! Connections to the origin in /stats.

use serde::Serialize;
use utoipa::ToSchema;

use crate::traffic::{counters::ClientCounters, origin::OriginState};

/// Connections to the origin.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct OriginPool {
    /// The most connections in use at once (`levels.*.connections`).
    limit: usize,
    /// The most connections in use at once to one host.
    limit_per_host: usize,
    /// Connections in use.
    in_use: u64,
    /// Connections in use beyond the limits, by exchanges that only wait: for a client that reads or sends nothing, or for an
    /// origin that delays its response.
    beyond: u64,
    /// Exchanges that wait only for their clients.
    parked: u64,
    /// Requests that wait for a connection.
    waiting: u64,
    /// Connections given up because their clients read nothing while others needed them; their bodies continued by Range.
    given_up: u64,
    /// Bodies ended because their clients read nothing, and others had no connection left.
    cut: u64,
    /// Bytes in memory of small request bodies for all origins together, which are sent once they are complete.
    uploads_held_bytes: u64,
    /// Open sockets, idle ones included.
    open: u64,
    /// Open sockets without an exchange.
    idle: u64,
    /// Connections opened since the start.
    connects: u64,
    /// How many of them were opened in advance, before a request needed them.
    spares: u64,
    /// Connections that could not be opened.
    connect_failures: u64,
    /// Requests sent on an idle connection.
    reuses: u64,
    /// Requests repeated because the origin had closed the idle connection.
    retries: u64,
    /// Idle connections that the origin closed.
    reaped: u64,
    /// Requests answered 503 because no connection became free in time.
    slot_timeouts: u64,
}

impl OriginPool {
    pub(in crate::api) fn of(origin: &OriginState, clients: &ClientCounters) -> Self {
        let (counters, tuning) = (&origin.counters, origin.tuning.load());
        Self {
            limit: tuning.connections,
            limit_per_host: tuning.connections_per_host,
            in_use: counters.in_use.get(),
            beyond: counters.beyond.get(),
            parked: counters.parked.get(),
            waiting: counters.waiting.get(),
            given_up: counters.given_up.get(),
            cut: counters.cut.get(),
            uploads_held_bytes: clients.uploads_held.get(),
            open: counters.open.get(),
            idle: counters.idle.get(),
            connects: counters.connects.get(),
            spares: counters.spares.get(),
            connect_failures: counters.connect_failures.get(),
            reuses: counters.reuses.get(),
            retries: counters.retries.get(),
            reaped: counters.reaped.get(),
            slot_timeouts: counters.slot_timeouts.get(),
        }
    }
}
