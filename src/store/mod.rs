//! The store (HTTP cache): what was once fetched over the bad line need not be fetched again.
//!
//! [`freshness`] decides whether a response may be stored and how long it may be used, by [`directives`] (and [`dictionary`] for
//! targeted fields); [`key`] and [`variant`] for which requests; [`condition`] answers conditional and range requests, and
//! [`validator`] tells versions apart; [`playlist`] adds rules for HLS, with [`segments`] and [`prefetch`] for fetching ahead. An
//! [`object`] is a [`head`] and the intervals of its [`body`] that are present, all of one [`version`]; an [`object_fill`] brings a
//! range of it, and an [`object_reader`] reads it; the [`shelf`] is the index of all objects, a [`place`] is how a request is
//! answered ([`shared_paths`] decides which requests may wait for one response), [`s3fifo`] chooses what to evict, and [`memory`]
//! accounts for the memory limit.
//!
//! Nothing here knows connections: `path::stored` asks the origin and sends the bytes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use actix_http::header::HeaderName;

mod backoff;
pub mod body;
pub mod condition;
pub mod contents;
pub mod counters;
pub mod dictionary;
pub mod directives;
pub mod disk;
pub mod freshness;
pub mod head;
pub mod key;
pub mod memory;
pub mod object;
pub mod object_fill;
pub mod object_reader;
pub mod octets;
pub mod place;
pub mod playlist;
pub mod prefetch;
pub mod purge;
pub mod s3fifo;
pub mod segments;
pub mod settings;
mod shard;
pub mod shared_paths;
pub mod shelf;
pub mod tags;
pub mod validator;
pub mod variant;
pub mod version;

pub use settings::Settings;

use counters::Counters;
use freshness::Rules;
use memory::{Memory, Room};
use prefetch::Prefetch;
use segments::Segments;
use shelf::Shelf;

/// A fill may be ahead of its fastest reader by this share of the memory, and slow clients hold at most this share, as a divisor:
/// they must not displace everything else.
const AHEAD: u64 = 8;

/// Counts the memory that one client holds, while this lives.
#[derive(Debug)]
pub struct Held {
    _share: Room,
    _room: Room,
}

/// The process's store.
#[derive(Debug)]
pub struct Store {
    /// The index of all objects.
    pub shelf: Arc<Shelf>,
    /// What it was set up with.
    pub settings: Settings,
    /// The rules for freshness.
    pub rules: Rules,
    /// Request fields that never affect a response.
    pub ignored: Vec<HeaderName>,
    /// Its counters.
    pub counters: Counters,
    /// Memory of large rendered bodies that are being sent: at most an eighth of the store's.
    repeating: Arc<Memory>,
    /// The order of segments in HLS streams.
    pub segments: Segments,
    /// Prefetching of segments.
    pub prefetch: Arc<Prefetch>,
    /// The group of origins.
    pub group: Arc<str>,
    started: Instant,
}

impl Store {
    /// An empty store for the origins of `group`.
    pub fn new(settings: Settings, group: &str, started: Instant) -> Arc<Self> {
        Arc::new(Store {
            shelf: Shelf::new(Memory::new(settings.memory.as_u64())),
            rules: settings.rules(),
            ignored: settings.ignored(),
            repeating: Memory::new(settings.memory.as_u64() / AHEAD),
            settings,
            counters: Counters::default(),
            segments: Segments::default(),
            prefetch: Arc::default(),
            group: group.into(),
            started,
        })
    }

    /// How far a fill may be ahead of its fastest reader, in bytes.
    pub fn ahead(&self) -> u64 {
        self.settings.memory.as_u64() / AHEAD
    }

    /// Reserves memory for body bytes that stay in memory until a client has received them, even if they are evicted; none if slow
    /// clients hold an eighth of the memory already.
    pub fn hold(&self, bytes: u64) -> Option<Held> {
        Some(Held {
            _share: self.repeating.take(bytes)?,
            _room: self.shelf.room(bytes)?,
        })
    }

    /// Counts a request answered this way.
    pub fn count(&self, kind: counters::Kind) {
        self.counters.count(kind, self.started.elapsed());
    }

    /// For how long stale responses have been sent because the origin fails; none if there were none lately.
    pub fn serving_stale_for(&self) -> Option<Duration> {
        let now = self.started.elapsed();
        Some(now.saturating_sub(self.counters.stale_since(now)?))
    }
}
