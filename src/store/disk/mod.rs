//! The disk tier: it stores what memory has no space for, and keeps it over a restart.
//!
//! ```text
//!  workers                       threads                          files
//!    tier, handle --jobs-------> writer --blocks, then lines----> bodies/ab/ab..., journal
//!         |                        | snapshot, sweep, replay
//!         |       --reads------> reader <--blocks, heads---------
//!         +----------> index <-----+    what is there, with checksums
//! ```
//!
//! # Rules
//!
//! - Data is written before the journal record that names it, and neither is synced: a block counts only if its checksum is right,
//!   each time it is read. So a torn write costs a fetch, and never delivers a wrong byte.
//! - Purges are synced before they are confirmed. A damaged line in the middle of the journal could have been a purge: everything
//!   older is forgotten.
//! - The index is authoritative: files that it does not contain are deleted, blocks that it does not contain are missing.
//! - Workers never wait: a full queue refuses, and that is counted. Disk errors pause writing; reading continues where it
//!   works; to clients they are cache misses.

pub mod blocks;
pub mod directory;
pub mod entry;
pub mod eviction;
pub mod figures;
pub mod handle;
pub mod head;
pub mod id;
pub mod index;
pub mod jobs;
pub mod journal;
mod line;
mod new;
pub mod purge;
mod purging;
mod reader;
pub mod record;
mod replay;
pub mod settings;
pub mod shared;
mod snapshot;
mod sweep;
pub mod tier;
pub mod trouble;
mod upkeep;
mod writer;

#[cfg(test)]
mod tests;

pub use figures::DiskFigures;
pub use handle::Handle;
pub use head::StoredHead;
pub use purge::What;
pub use settings::{KeepFree, Settings};
pub use shared::{PATIENCE, Purged, Room};
pub use tier::{Disk, NotDurable, OpenError, Recalled};
pub use trouble::Trouble;
