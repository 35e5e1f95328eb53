//! The store in /stats and /health.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant, SystemTime},
};

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    store::{Store as Kept, counters::Kind, disk::DiskFigures},
    traffic::published::Published,
};

use super::numbers::rounded;

/// The store of responses. Counted from the start.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Store {
    /// Whether it is on at this level.
    enabled: bool,
    objects: usize,
    memory: Memory,
    /// Requests by how they were answered: `fresh`, `stale_while` (validated in the background), `stale_error` (the origin failed),
    /// `stale_slow` (the origin was late), `revalidated`, `miss`, `joined` (by another client's request) and `bypass`.
    requests: BTreeMap<&'static str, u64>,
    /// The share of requests whose body was not fetched from the origin, in percent; null without requests.
    hit_percent: Option<f64>,
    bytes: BodyBytes,
    fills: Fills,
    prefetch: Prefetch,
    /// How many of the fresh ones were answered by a rendered response, for requests identical to a previous one: the fastest way.
    repeated: u64,
    /// Clients that continued by their own request, because the bytes they needed next were evicted before they got there, or would
    /// have been fetched much later.
    left_behind: u64,
    /// Parts of bodies evicted for others.
    evictions: u64,
    /// Purges received from other instances.
    purges_of_others: u64,
    /// The disk tier; null without `store.directory`.
    disk: Option<DiskFigures>,
}

/// Its memory, with heads and index.
#[derive(Debug, Serialize, ToSchema)]
struct Memory {
    used_bytes: u64,
    limit_bytes: u64,
}

/// Bytes of bodies.
#[derive(Debug, Serialize, ToSchema)]
struct BodyBytes {
    /// Sent to clients from the store.
    served: u64,
    /// Fetched from the origin for that.
    filled: u64,
    /// That did not have to be fetched.
    saved: u64,
}

/// Fills: fetches from the origin into the store.
#[derive(Debug, Serialize, ToSchema)]
struct Fills {
    running: u64,
    finished: u64,
    /// No client needed the rest, or only clients that were far behind.
    stopped: u64,
    failed: u64,
}

/// Segments of HLS streams that were fetched before a client requested them.
#[derive(Debug, Serialize, ToSchema)]
struct Prefetch {
    fetched: u64,
    /// Requested within a minute.
    used: u64,
    unused: u64,
}

impl Store {
    pub(super) fn of(published: &Published) -> Option<Self> {
        let store = published.store.get()?;
        let counters = &store.counters;
        let requests: BTreeMap<_, _> = Kind::ALL
            .map(|kind| (kind.as_str(), counters.requests(kind)))
            .into();
        let all: u64 = requests.values().sum();
        let hits: u64 = (Kind::ALL.into_iter())
            .filter(|kind| kind.is_hit())
            .map(|kind| counters.requests(kind))
            .sum();
        let (served, filled) = counters.bytes();
        let [running, finished, stopped, failed] = counters.fills();
        let memory = store.shelf.memory();
        let [fetched, used, unused] = store.prefetch.counts(Instant::now());
        Some(Store {
            enabled: published.level.load().store,
            objects: store.shelf.objects(),
            memory: Memory {
                used_bytes: memory.used(),
                limit_bytes: memory.limit(),
            },
            hit_percent: (all > 0).then(|| rounded(100.0 * hits as f64 / all as f64, 2)),
            requests,
            bytes: BodyBytes {
                served,
                filled,
                saved: served.saturating_sub(filled),
            },
            fills: Fills {
                running,
                finished,
                stopped,
                failed,
            },
            prefetch: Prefetch {
                fetched,
                used,
                unused,
            },
            repeated: counters.responses_repeated(),
            left_behind: counters.readers_left_behind(),
            evictions: store.shelf.evictions(),
            purges_of_others: counters.purges_of_others(),
            disk: store.shelf.disk().map(|disk| disk.figures()),
        })
    }
}

/// Stale responses that are sent because the origin fails or is late.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ServingStale {
    /// Since when.
    #[schema(format = DateTime)]
    since: String,
    /// Their share of all requests since the start, in percent.
    share: f64,
}

impl ServingStale {
    pub(super) fn of(published: &Published, now: SystemTime) -> Option<Self> {
        let store: &Kept = published.store.get()?;
        let lasting: Duration = store.serving_stale_for()?;
        let since = humantime::format_rfc3339_seconds(now - lasting).to_string();
        let counters = &store.counters;
        let all: u64 = Kind::ALL.iter().map(|&kind| counters.requests(kind)).sum();
        let stale = counters.requests(Kind::StaleError) + counters.requests(Kind::StaleSlow);
        let share = rounded(100.0 * stale as f64 / all.max(1) as f64, 2);
        Some(ServingStale { since, share })
    }
}
