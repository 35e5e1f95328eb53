//! The store: what once came over the bad line is not waited for again.
//!
//! [`freshness`] says whether a response may be kept and how long it may be used, by [`directives`] (and [`dictionary`] for
//! targeted fields); [`key`] and [`variant`] say for which requests; [`condition`] what it answers to a conditional or a range
//! request, and [`validator`] what tells two versions apart; [`playlist`] what HLS adds, with [`segments`] and [`prefetch`] for what is
//! fetched ahead. An [`object`] is a [`head`] and the intervals of its [`body`] that are here, all of one [`version`]; an [`object_fill`]
//! brings a part of it, and an [`object_reader`] hands it out; the [`shelf`] is the index of all objects, a [`place`] says who answers a
//! request ([`shared_paths`] says which requests may wait for one answer), [`s3fifo`] says which of them go, and [`memory`] is the
//! account that bounds them.
//!
//! Nothing here knows a connection: `path::stored` asks the origin, and hands the bytes out.

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

/// A fill is at most this share of the memory ahead of its fastest reader, and clients that read slowly hold no more of it, as a
/// divisor: they must not push out everything else.
const AHEAD: u64 = 8;

/// What one client holds in memory, for as long as this lives.
#[derive(Debug)]
pub struct Held {
    _share: Room,
    _room: Room,
}

/// The process's store.
#[derive(Debug)]
pub struct Store {
    /// The index of what is here.
    pub shelf: Arc<Shelf>,
    /// What it was set up with.
    pub settings: Settings,
    /// What freshness is judged by.
    pub rules: Rules,
    /// Request fields that never matter.
    pub ignored: Vec<HeaderName>,
    /// What it counts.
    pub counters: Counters,
    /// What large bodies take that are given again and are not out yet: an eighth of the memory at most.
    repeating: Arc<Memory>,
    /// Which segments of HLS streams follow which.
    pub segments: Segments,
    /// What is fetched ahead of them.
    pub prefetch: Arc<Prefetch>,
    /// The group of origins that it stands before.
    pub group: Arc<str>,
    started: Instant,
}

impl Store {
    /// An empty store before the origins of `group`.
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

    /// Room for so many bytes of a body that stay in memory until one client has taken them, whether they are still stored or not;
    /// none where slow clients hold an eighth of the memory already.
    pub fn hold(&self, bytes: u64) -> Option<Held> {
        Some(Held {
            _share: self.repeating.take(bytes)?,
            _room: self.shelf.room(bytes)?,
        })
    }

    /// Counts a request that was answered so.
    pub fn count(&self, kind: counters::Kind) {
        self.counters.count(kind, self.started.elapsed());
    }

    /// For how long stale answers have been going out, for the origin fails; none where none did lately.
    pub fn serving_stale_for(&self) -> Option<Duration> {
        let now = self.started.elapsed();
        Some(now.saturating_sub(self.counters.stale_since(now)?))
    }
}
