//! One line of the journal: a checksum, a space, and what happened as JSON.
//!
//! ```text
//! 9ae16a3b2f90404f {"head":{"id":"4f0c...","key":...}}
//! 3c1d2e0f55aa0101 {"block":{"id":"4f0c...","number":0,"len":65536,"sum":"..."}}
//! ```
//!
//! A line that does not check, for it was cut off by a power failure or turned over on the disk, ends the journal.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// The name of an object on disk: 128 random bits, never used again. Nothing of a request is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Id(pub u128);

impl From<Id> for String {
    fn from(id: Id) -> Self {
        format!("{:032x}", id.0)
    }
}

impl TryFrom<String> for Id {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        u128::from_str_radix(&text, 16).map(Id)
    }
}

/// What happened to an object on disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// It has this head from now on.
    Head {
        /// Which object.
        id: Id,
        /// Everything but its body, as the store wrote it.
        head: serde_json::Value,
    },
    /// A block of its body is in its file.
    Block {
        /// Which object.
        id: Id,
        /// Which block of [`super::super::body::BLOCK`] bytes.
        number: u32,
        /// How long it is: the last one may be shorter.
        len: u32,
        /// XXH3 of its bytes.
        sum: u64,
    },
    /// It is gone.
    Gone {
        /// Which object.
        id: Id,
    },
    /// All that came before is gone.
    Cleared,
}

impl Record {
    /// The line, with its end.
    pub fn line(&self) -> String {
        // What is made of strings and numbers can always be written.
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("{:016x} {json}\n", xxh3_64(json.as_bytes()))
    }

    /// The record of a line without its end; none where it does not check.
    pub fn parse(line: &str) -> Option<Self> {
        let (sum, json) = line.split_at_checked(16)?;
        let json = json.strip_prefix(' ')?;
        let sum = u64::from_str_radix(sum, 16).ok()?;
        if sum != xxh3_64(json.as_bytes()) {
            return None;
        }
        serde_json::from_str(json).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gives_back_what_was_written() {
        for record in [
            Record::Head { id: Id(7), head: serde_json::json!({"key": "/a\n"}) },
            Record::Block { id: Id(u128::MAX), number: 3, len: 9, sum: 77 },
            Record::Gone { id: Id(0) },
            Record::Cleared,
        ] {
            let line = record.line();
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(Record::parse(line.trim_end()), Some(record));
        }
    }

    #[test]
    fn a_line_with_any_byte_turned_over_or_cut_off_is_none() {
        let line = Record::Block { id: Id(5), number: 3, len: 9, sum: 77 }.line();
        let line = line.trim_end();
        for at in 0..line.len() {
            let mut bytes = line.as_bytes().to_vec();
            bytes[at] ^= 1;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            // The checksum's own digits may be written in either case.
            assert!(Record::parse(&text).is_none() || text.eq_ignore_ascii_case(line), "{text}");
            assert_eq!(Record::parse(&line[..at]), None);
        }
    }
}
