//! Settings of the disk tier: `store.directory`, `store.disk`, `store.keep_free`.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::directory::Space;
use crate::units::OutOfRange;

/// Minimum of `store.disk`: some extents of large objects, and the journal.
pub const LEAST: ByteSize = ByteSize::mib(64);

/// Settings of an open tier.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `store.directory`: where objects are stored; used by this store alone.
    pub directory: PathBuf,
    /// `store.disk`: limit on its disk space.
    pub disk: ByteSize,
    /// `store.keep_free`: space that must stay free on the file system.
    pub keep_free: KeepFree,
    /// How long writing pauses after the first error; doubled each time, up to 5 min.
    pub pause: Duration,
}

impl Settings {
    /// With the values that an operator sets.
    pub fn new(directory: PathBuf, disk: ByteSize, keep_free: KeepFree) -> Self {
        Settings {
            directory,
            disk,
            keep_free,
            pause: Duration::from_secs(10),
        }
    }

    /// Checks the sizes.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`], with the key's name.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let must = format!("at least {LEAST}");
        OutOfRange::unless(self.disk >= LEAST, "store.disk", must, self.disk)
    }
}

/// Space to keep free: bytes, or a share of the file system as in `"1%"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum KeepFree {
    /// So many bytes.
    Bytes(ByteSize),
    /// Percent, 0 to 99.
    Percent(f64),
}

/// A string that is not a valid amount of space.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no room to keep free: give a size as in \"500MiB\", or 0% to 99% as in \"1%\"")]
pub struct NoRoom(pub String);

impl KeepFree {
    /// The number of bytes, for this file system.
    pub fn bytes(self, space: Space) -> u64 {
        match self {
            KeepFree::Bytes(bytes) => bytes.as_u64(),
            KeepFree::Percent(percent) => (space.whole as f64 * percent / 100.0) as u64,
        }
    }
}

impl FromStr for KeepFree {
    type Err = NoRoom;

    fn from_str(text: &str) -> Result<Self, NoRoom> {
        let no_room = || NoRoom(text.to_owned());
        match text.trim().strip_suffix('%') {
            Some(percent) => {
                let percent: f64 = percent.trim().parse().map_err(|_| no_room())?;
                let fits = (0.0..=99.0).contains(&percent);
                fits.then_some(KeepFree::Percent(percent))
                    .ok_or_else(no_room)
            }
            None => text.parse().map(KeepFree::Bytes).map_err(|_| no_room()),
        }
    }
}

impl TryFrom<String> for KeepFree {
    type Error = NoRoom;

    fn try_from(text: String) -> Result<Self, NoRoom> {
        text.parse()
    }
}

impl From<KeepFree> for String {
    fn from(keep: KeepFree) -> Self {
        keep.to_string()
    }
}

impl fmt::Display for KeepFree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeepFree::Bytes(bytes) => write!(f, "{bytes}"),
            KeepFree::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_to_keep_free_is_a_size_or_a_share() {
        let space = Space {
            free: 10,
            whole: 1000,
        };
        for (text, bytes) in [
            ("1%", 10),
            ("0.5 %", 5),
            ("100B", 100),
            ("1KiB", 1024),
            ("0%", 0),
        ] {
            let keep: KeepFree = text.parse().unwrap();
            assert_eq!(keep.bytes(space), bytes, "{text}");
            assert_eq!(keep.to_string().parse(), Ok(keep));
        }
        for text in ["", "%", "100%", "-1%", "NaN%", "much"] {
            assert!(text.parse::<KeepFree>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_disk_too_small_to_be_of_use_is_refused_by_its_name() {
        let settings = |disk| Settings::new("/x".into(), disk, KeepFree::Percent(1.0));
        assert!(settings(LEAST).check().is_ok());
        let error = settings(ByteSize::mib(1)).check().unwrap_err();
        assert_eq!(error.key, "store.disk");
    }
}
