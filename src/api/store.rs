//! What /stats and /health say of the store.

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

/// What is kept of the origin's responses, and what that brought. Numbers count from the start.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Store {
    /// Whether the level has it on.
    enabled: bool,
    objects: usize,
    memory: Memory,
    /// Requests by how they were answered: `fresh`, `stale_while` (validated behind), `stale_error` (the origin failed),
    /// `stale_slow` (the origin was late), `revalidated`, `miss`, `joined` (by another client's request) and `bypass`.
    requests: BTreeMap<&'static str, u64>,
    /// The share of requests for which no body crossed the origin's line, in percent; null without a request.
    hit_percent: Option<f64>,
    bytes: BodyBytes,
    fills: Fills,
    prefetch: Prefetch,
    /// Of the fresh ones, those that were given again to a request by the same bytes as one before: the cheapest.
    repeated: u64,
    /// Clients that went on by a request of their own: what they needed next did not stay until they got there.
    left_behind: u64,
    /// Parts of bodies that were pushed out for others.
    evictions: u64,
    /// Purges that other instances were asked for and this one took, too.
    purges_of_others: u64,
    /// The disk tier; null where `store.directory` is not set.
    disk: Option<DiskFigures>,
}

/// Its memory, heads and index included.
#[derive(Debug, Serialize, ToSchema)]
struct Memory {
    used_bytes: u64,
    limit_bytes: u64,
}

/// BodyBytes of bodies.
#[derive(Debug, Serialize, ToSchema)]
struct BodyBytes {
    /// That clients got out of objects.
    served: u64,
    /// That were fetched from the origin for that.
    filled: u64,
    /// That did not have to be fetched.
    saved: u64,
}

/// Fills: what is fetched from the origin into objects.
#[derive(Debug, Serialize, ToSchema)]
struct Fills {
    running: u64,
    finished: u64,
    /// Nobody read what was left, or whoever did was far behind.
    stopped: u64,
    failed: u64,
}

/// Segments of HLS streams that were fetched before anybody asked for them.
#[derive(Debug, Serialize, ToSchema)]
struct Prefetch {
    fetched: u64,
    /// Asked for within a minute.
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

/// That stale answers go out, for the origin fails or is late.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ServingStale {
    /// Since when.
    #[schema(format = DateTime)]
    since: String,
    /// The share of all requests that were answered so, since the start, in percent.
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
