//! What an origin does with the requests for one file. Each field is one thing that origins differ in.

use std::{sync::OnceLock, time::Duration};

/// An origin's whole behaviour for one file. The default: 120 KB at once, a strong tag, a length, honest ranges.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Bytes of the file.
    pub len: usize,
    pub validator: Validator,
    pub framing: Framing,
    pub ranges: Ranges,
    pub pace: Pace,
    pub breaks: Option<Break>,
    pub access: Access,
    /// Each GET is answered with a new version, under a validator of its own.
    pub changes: bool,
    /// Coded for whoever takes gzip, and asks for all of it.
    pub gzip: bool,
    pub instead: Instead,
    /// Interim responses before each head, as they are on the wire.
    pub interim: &'static str,
    pub spelling: Spelling,
    pub upload: Upload,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validator {
    Strong,
    Weak,
    /// Last-Modified, long ago.
    Date,
    /// Last-Modified within the second of Date: a weak one.
    JustNow,
    Both,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length,
    Chunked,
    /// Chunked, with a trailer.
    Trailers,
    /// To the close of the connection.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ranges {
    Honoured,
    /// Honoured, but Accept-Ranges is not said.
    Untold,
    /// A 200 with all of it.
    Ignored,
    /// Any Range gets this status.
    Refused(u16),
    /// A 206 that is one byte off what its Content-Range says.
    Shifted,
    /// A 206 with half of what was asked for.
    Short,
    /// A 206 with five bytes too many, and a length that says so.
    TooMany,
    /// One range as multipart/byteranges.
    Multipart,
    /// A 206 of another version, under its own validator.
    OtherVersion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    AtOnce,
    /// 8 KiB every 5 ms.
    Trickle,
    /// Four pieces with longer pauses than the stall window between them: a live segment that is still made.
    Pauses,
    /// The first half at once, the rest under the stall floor.
    SlowAfterFast,
}

/// Where an answer breaks off, and how.
#[derive(Clone, Copy, Debug)]
pub struct Break {
    /// Thousandths of the answer's body that come.
    pub at: usize,
    pub how: How,
    /// How many answers break, the first ones.
    pub times: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Close,
    Reset,
    /// A chunk whose size is one too large, then the close.
    ChunkTooLong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Open,
    /// So many answers at once; one more gets the status.
    Places(usize, u16),
    /// So many answers in all; after them the status.
    Times(usize, u16),
    /// From the first request on for so long; then the status.
    For(Duration, u16),
}

/// What comes instead of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    File,
    NoContent,
    /// A 304 that tells the file's length, whatever was asked.
    NotModified,
    /// A status with a body of its own.
    Status(u16),
    /// The connection closes without a word.
    Nothing,
}

/// How the head of an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    Usual,
    LengthTwice,
    SpaceBeforeColon,
    Identity,
    Icy,
    Http12,
    NoReason,
    ZerosBeforeSize,
    ControlInField,
}

/// What is done with an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upload {
    /// Read whole, then answered with its length and sum.
    Read,
    /// Answered with 413 at its head, and the connection closes.
    Early,
    /// Given back in chunks while it comes.
    Echo,
}

impl Default for Behaviour {
    fn default() -> Self {
        Behaviour {
            len: 120_000,
            validator: Validator::Strong,
            framing: Framing::Length,
            ranges: Ranges::Honoured,
            pace: Pace::AtOnce,
            breaks: None,
            access: Access::Open,
            changes: false,
            gzip: false,
            instead: Instead::File,
            interim: "",
            spelling: Spelling::Usual,
            upload: Upload::Read,
        }
    }
}

/// One line of the corpus.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: String,
    pub behaviour: Behaviour,
}

/// Where the bytes of all files are cut from: no two places are alike.
fn sea() -> &'static [u8] {
    static SEA: OnceLock<Vec<u8>> = OnceLock::new();
    SEA.get_or_init(|| {
        let mut rng = fastrand::Rng::with_seed(0);
        let mut bytes = Vec::with_capacity(SEA_LEN);
        while bytes.len() < SEA_LEN {
            bytes.extend(rng.u64(..).to_le_bytes());
        }
        bytes
    })
}

const SEA_LEN: usize = 16 << 20;

impl Row {
    /// What tells this row's files from all others'.
    fn number(&self) -> usize {
        self.name
            .bytes()
            .fold(7, |sum: usize, byte| (sum * 31 + byte as usize) % 10_007)
    }

    /// The bytes of a version; `coded`: as they are behind gzip.
    pub fn file(&self, version: usize, coded: bool) -> &'static [u8] {
        let from = (self.number() * 977 + version * 4099 + usize::from(coded) * 2_000_003)
            % (SEA_LEN - self.behaviour.len);
        &sea()[from..][..self.behaviour.len]
    }

    /// The entity tag of a version, if it has one.
    pub fn tag(&self, version: usize) -> Option<String> {
        match self.behaviour.validator {
            Validator::Strong | Validator::Both => Some(format!("\"v{version}\"")),
            Validator::Weak => Some(format!("W/\"v{version}\"")),
            _ => None,
        }
    }

    /// Last-Modified of a version, if it has one.
    pub fn modified(&self, version: usize) -> Option<String> {
        let (minute, second) = (version / 60 % 60, version % 60);
        match self.behaviour.validator {
            Validator::Date | Validator::Both => {
                Some(format!("Mon, 01 Jan 2024 00:{minute:02}:{second:02} GMT"))
            }
            Validator::JustNow => Some(NOW.to_owned()),
            _ => None,
        }
    }

    /// What a client would send as If-Range.
    pub fn validator(&self, version: usize) -> Option<String> {
        self.tag(version).or_else(|| self.modified(version))
    }
}

/// The Date of all answers.
pub const NOW: &str = "Mon, 01 Jan 2024 12:00:00 GMT";
