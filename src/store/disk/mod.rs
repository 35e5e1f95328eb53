//! The disk tier: what memory has no room for is kept here, and what was kept is still there after a restart.
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
//! - Data is written before the journal's line that names it, and nothing is synced: a block counts only if it holds its
//!   checksum, each time it is read. So a torn write costs a fetch, and never a wrong byte.
//! - Purges are synced before they are answered. A line of the journal that does not check, with others behind it, could have
//!   been one: whatever is older is forgotten.
//! - The index is what holds: a file that it does not know is removed, and a block that it does not know is missing.
//! - Workers never wait: a queue that is full refuses, and that is counted. Trouble stops writing for a while; reading goes on
//!   where it works; to a client all of it is a miss.

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
