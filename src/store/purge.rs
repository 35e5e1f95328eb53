//! Purges responses: removes them or makes them stale, in memory and on disk.

use std::time::SystemTime;

pub use super::disk::What;
use super::{Store, disk::NotDurable, object::Object, tags::tags};

/// The result of a purge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Number of responses in memory, and bytes of their bodies.
    pub memory: (u64, u64),
    /// Number of responses on disk, bytes of their files, and whether processing is complete; the rest is processed later, but is
    /// not found any more. None without a disk tier.
    pub disk: Option<(u64, u64, bool)>,
}

impl Found {
    /// Adds the result of another purge.
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
    /// Removes `what`, or with `soft` makes it stale. Responses to pending requests are not stored. When this returns, the purge
    /// survives a restart.
    ///
    /// # Errors
    ///
    /// [`NotDurable`]: it is done in memory, but a restart may restore what is on disk.
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

/// File beside the disk tier's, with the position in the stream of other instances' purges.
const POSITION: &str = "purges";

impl Store {
    /// Position in the stream of other instances' purges from before a restart; none without a disk tier, because memory is empty
    /// then.
    pub fn purge_position(&self) -> Option<String> {
        let path = self.shelf.disk()?.path().join(POSITION);
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    /// Stores the position. If that fails, some purges are repeated after a restart, or everything is purged.
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
