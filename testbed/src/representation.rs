//! Something that can be asked for: its bytes, its media type, and what tells one version from another.

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use bytes::{Bytes, BytesMut};

use crate::{content::Content, random::fnv1a};

/// 2024-01-01T00:00:00Z: a fixed date, because the content never changes.
const MODIFIED: Duration = Duration::from_secs(1_704_067_200);

/// Bytes of a length that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Made when read: so many bytes of a content.
    Made(Content, u64),
    /// Held in memory.
    Held(Bytes),
}

impl Body {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Self::Made(_, len) => *len,
            Self::Held(bytes) => bytes.len() as u64,
        }
    }

    /// Whether it is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A strong entity tag (RFC 9110, section 8.8.3), quotes included. It changes with the bytes.
    #[must_use]
    pub fn tag(&self) -> String {
        let seed = match self {
            Self::Made(content, _) => content.seed(),
            Self::Held(bytes) => fnv1a(bytes),
        };
        format!("\"{seed:016x}-{:x}\"", self.len())
    }

    /// The bytes in `range`, cut to the length.
    #[must_use]
    pub fn read(&self, range: Range<u64>) -> Bytes {
        let end = range.end.min(self.len());
        let start = range.start.min(end);
        match self {
            Self::Made(content, _) => {
                let mut out = BytesMut::zeroed((end - start) as usize);
                content.fill(start, &mut out);
                out.freeze()
            }
            Self::Held(bytes) => bytes.slice(start as usize..end as usize),
        }
    }
}

/// Something that can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Representation {
    /// Its bytes.
    pub body: Body,
    /// Its media type.
    pub media_type: &'static str,
}

impl Representation {
    /// When it was last changed.
    #[must_use]
    pub fn modified() -> SystemTime {
        SystemTime::UNIX_EPOCH + MODIFIED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_ends_with_the_body() {
        let held = Body::Held(Bytes::from_static(b"0123456789"));
        assert_eq!(held.read(7..100), b"789"[..]);
        assert_eq!(held.read(20..30), b""[..]);
        let made = Body::Made(Content::of("/a"), 10);
        assert_eq!(made.read(0..100)[4..6], made.read(4..6));
        assert_ne!(made.tag(), Body::Made(Content::of("/a"), 11).tag());
    }
}
