//! Connections to the origin, as /stats shows them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::traffic::{counters::ClientCounters, origin::OriginState};

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
    /// Bytes in memory of small request bodies for all origins together, which go to the origin once they are complete.
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
