//! One line of the journal: a checksum, a space, and an event as JSON.
//!
//! ```text
//! 9ae16a3b2f90404f {"head":{"id":"4f0c...","key":...}}
//! 3c1d2e0f55aa0101 {"blocks":{"id":"4f0c...","sums":[[0,1234],[1,5678]]}}
//! ```
//!
//! A line with a wrong checksum was cut off by a power failure, or damaged on disk.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{head::StoredHead, id::Id, purge::Purge};

/// The longest line that is read, in bytes; longer than any that is written.
pub const LONGEST: usize = 4 * 1024 * 1024;

/// The checksum's digits and the space behind them.
const SUM: usize = 17;

/// An event on disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// An object has a new head.
    Head(Box<StoredHead>),
    /// Blocks of an object's body were written: number and checksum.
    Blocks {
        /// Which object.
        id: Id,
        /// Numbers of blocks of [`super::super::body::BLOCK`] bytes, and their [`super::blocks::sum`].
        sums: Vec<(u32, u64)>,
    },
    /// The complete length of a body became known.
    Length {
        /// Which object.
        id: Id,
        /// Bytes.
        length: u64,
    },
    /// Blocks of an object's body were removed.
    Freed {
        /// Which object.
        id: Id,
        /// The first block.
        from: u32,
        /// The block behind the last.
        to: u32,
    },
    /// An object was removed.
    Gone {
        /// Which object.
        id: Id,
    },
    /// Older objects were purged.
    Purge(Purge),
    /// A purge was processed completely.
    Swept {
        /// The purge's serial number.
        serial: u64,
    },
}

impl Record {
    /// The line, with its end.
    pub fn line(&self) -> Vec<u8> {
        let mut line = vec![b' '; SUM];
        // Strings and numbers can always be serialized. A line without its JSON would fail its checksum.
        if serde_json::to_writer(&mut line, self).is_err() {
            line.truncate(SUM);
        }
        let sum = format!("{:016x}", xxh3_64(&line[SUM..]));
        line[..SUM - 1].copy_from_slice(sum.as_bytes());
        line.push(b'\n');
        line
    }

    /// Parses a line without its end; none if its checksum is wrong.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let (sum, json) = line.split_at_checked(SUM)?;
        let sum = std::str::from_utf8(sum).ok()?.strip_suffix(' ')?;
        let is_hex = sum.bytes().all(|digit| digit.is_ascii_hexdigit());
        let sum = u64::from_str_radix(sum, 16).ok().filter(|_| is_hex)?;
        (sum == xxh3_64(json)).then(|| serde_json::from_slice(json).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::{head::tests::head, purge::What};

    fn records() -> Vec<Record> {
        let purge = |what| {
            Record::Purge(Purge {
                serial: 5,
                what,
                soft: true,
                at: 7,
            })
        };
        vec![
            Record::Head(Box::new(head("/a\n\u{e9}"))),
            Record::Blocks {
                id: Id(u128::MAX),
                sums: vec![(0, u64::MAX), (7, 0)],
            },
            Record::Length {
                id: Id(1),
                length: 9,
            },
            Record::Freed {
                id: Id(1),
                from: 2,
                to: 3,
            },
            Record::Gone { id: Id(0) },
            purge(What::All),
            purge(What::Prefix("http://h/".to_owned())),
            purge(What::Tag((&b"\xff"[..]).into())),
            Record::Swept { serial: 3 },
        ]
    }

    #[test]
    fn a_line_gives_back_what_was_written() {
        for record in records() {
            let line = record.line();
            assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
            let back = Record::parse(line.trim_ascii_end()).unwrap();
            assert_eq!(back.line(), line);
        }
    }

    #[test]
    fn a_line_with_any_byte_turned_over_or_cut_off_is_none() {
        for record in records() {
            let line = record.line();
            let line = line.trim_ascii_end();
            for at in 0..line.len() {
                for bit in [1, 32, 128] {
                    let mut other = line.to_vec();
                    other[at] ^= bit;
                    // The checksum's digits may be in either case.
                    let is_same = other.eq_ignore_ascii_case(line) && at < SUM;
                    assert!(Record::parse(&other).is_none() || is_same, "{at}");
                }
                assert!(Record::parse(&line[..at]).is_none());
            }
        }
    }
}
