//! Takes responses out of the store, or makes them stale, in memory and on disk.

use std::time::SystemTime;

pub use super::disk::What;
use super::{Store, disk::NotDurable, object::Object, tags::tags};

/// What a purge found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Responses in memory, with what of their bodies was there, in bytes.
    pub memory: (u64, u64),
    /// Responses on disk with the bytes of their files, and whether that is all of them: the rest is worked off behind, and not
    /// found any more meanwhile. None without a disk tier.
    pub disk: Option<(u64, u64, bool)>,
}

impl Found {
    /// With what another purge found.
    pub fn and(self, other: Found) -> Found {
        let disk = match (self.disk, other.disk) {
            (Some((objects, bytes, all)), Some((more, further, every))) => {
                Some((objects + more, bytes + further, all && every))
            }
            (one, other) => one.or(other),
        };
        Found {
            memory: (
                self.memory.0 + other.memory.0,
                self.memory.1 + other.memory.1,
            ),
            disk,
        }
    }
}

impl Store {
    /// Takes out `what`, or with `soft` makes it stale. What is being asked for meanwhile is not kept. Once this is back, a restart
    /// does not bring anything back, either.
    ///
    /// # Errors
    ///
    /// [`NotDurable`]: it is done in memory, and a restart may bring back what is on disk.
    pub async fn purge(
        &self,
        what: &What,
        soft: bool,
        now: SystemTime,
    ) -> Result<Found, NotDurable> {
        let memory = self.shelf.purge(soft, now, |object| means(what, object));
        let disk = match self.shelf.disk() {
            Some(disk) => {
                let purged = disk.purge(what.clone(), soft, now).await?;
                Some((purged.objects, purged.bytes, purged.complete))
            }
            None => None,
        };
        Ok(Found { memory, disk })
    }
}

/// The file beside the disk tier's that holds how far the purges of other instances were taken.
const POSITION: &str = "purges";

impl Store {
    /// How far the purges of other instances were taken before a restart; none without a disk tier, for what is in memory alone
    /// needs none of before.
    pub fn purge_position(&self) -> Option<String> {
        let path = self.shelf.disk()?.path().join(POSITION);
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// They were taken up to this one. Where that cannot be written, some are taken again after a restart, or all is purged.
    pub fn set_purge_position(&self, id: &str) {
        let Some(disk) = self.shelf.disk() else {
            return;
        };
        let (path, new) = (disk.path().join(POSITION), disk.path().join("purges.new"));
        let written = std::fs::write(&new, id).and_then(|()| std::fs::rename(&new, &path));
        if let Err(error) = written {
            tracing::warn!(%error, "how far purges were taken cannot be written");
        }
    }
}

fn means(what: &What, object: &Object) -> bool {
    match what {
        What::All => true,
        What::Url(key) => object.key == *key,
        What::Prefix(prefix) => object.key.starts_with(prefix),
        What::Tag(tag) => tags(&object.head().fields).any(|of| *of == *tag.0),
    }
}
