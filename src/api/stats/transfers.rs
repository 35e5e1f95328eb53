//! Continued bodies in /stats.

use std::time::Instant;

use serde::Serialize;
use utoipa::ToSchema;

use crate::traffic::origin::OriginState;

/// How bodies were continued after breaks and stalls.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Transfers {
    /// Whether bodies that break or stall are continued at this level.
    resume_enabled: bool,
    /// Whether large bodies are fetched over several connections at this level.
    parallel_enabled: bool,
    /// Requests for the rest of a broken body.
    resumes: u64,
    /// Breaks after which the body was continued.
    resumed: u64,
    /// Breaks after which the body ended: the origin did not deliver a matching rest.
    resumes_given_up: u64,
    /// Breaks after which the body ended because the retry budget was spent.
    resumes_denied: u64,
    /// Bytes received again and discarded, from origins that sent the whole body instead of the rest.
    reread_bytes: u64,
    /// Second connections opened for stalled bodies.
    stalls: u64,
    /// Stalls after which the second connection took over.
    stalls_mended: u64,
    /// Stalls without a second connection because its budget was spent.
    stalls_denied: u64,
    /// Bodies fetched over several connections.
    parallel: u64,
    /// Ranges that they were fetched in.
    parts: u64,
    /// Memory for parts in use, in bytes.
    parts_held_bytes: u64,
    /// Parts that the origin refused or was late with. They were requested again, fewer at once.
    parts_refused: u64,
    /// Parts that the origin did not deliver: their bodies continued over one connection.
    parts_given_up: u64,
    /// Parts given up because other requests needed their connections.
    parts_yielded: u64,
    /// Bytes of original responses that were discarded because parts had delivered them.
    parts_wasted_bytes: u64,
    /// Original responses that failed while parts delivered the body.
    firsts_lost: u64,
    /// Requests that the origin refused while parts were under way, and that were sent again.
    crowded_out: u64,
    /// Concurrent exchanges that the origin is known to accept; null if it has refused none recently.
    origin_bears: Option<usize>,
}

impl Transfers {
    pub(in crate::api) fn of(origin: &OriginState) -> Self {
        let (counters, tuning) = (&origin.counters, origin.tuning.load());
        Self {
            resume_enabled: tuning.resume,
            parallel_enabled: tuning.parallel,
            resumes: counters.resumes.get(),
            resumed: counters.resumed.get(),
            resumes_given_up: counters.resumes_given_up.get(),
            resumes_denied: counters.resumes_denied.get(),
            reread_bytes: counters.reread_bytes.get(),
            stalls: counters.stalls.get(),
            stalls_mended: counters.stalls_mended.get(),
            stalls_denied: counters.stalls_denied.get(),
            parallel: counters.parallel_transfers.get(),
            parts: counters.parts.get(),
            parts_held_bytes: counters.parts_held.get(),
            parts_refused: counters.parts_refused.get(),
            parts_given_up: counters.parts_given_up.get(),
            parts_yielded: counters.parts_yielded.get(),
            parts_wasted_bytes: counters.parts_wasted.get(),
            firsts_lost: counters.firsts_lost.get(),
            crowded_out: counters.crowded_out.get(),
            origin_bears: origin.ceiling.most(Instant::now()),
        }
    }
}
