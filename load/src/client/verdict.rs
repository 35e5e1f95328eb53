//! What became of one request.

use std::time::Duration;

use fileproxy_testbed::content::Content;

/// The body a request should bring.
#[derive(Clone, Debug)]
pub enum Expected {
    /// A file, or the part of it from `from` on.
    File {
        /// Its bytes.
        content: Content,
        /// Its whole length.
        length: u64,
        /// Where the wanted part begins; 0: the whole file is asked for, without a Range.
        from: u64,
    },
    /// Any body; it is kept for the caller.
    Text,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The whole body came and every byte was right.
    Completed,
    /// No body worth the name: refused, reset, an error status, or no head within the client's patience.
    Failed(&'static str),
    /// The body began and broke off, and the client could see that.
    Truncated(&'static str),
    /// The client was given something else than the file as if it were the file.
    Wrong(&'static str),
}

/// One request, as the client saw it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub verdict: Verdict,
    /// Status code; 0 when no head came.
    pub status: u16,
    /// Bytes of body that came.
    pub bytes: u64,
    /// From sending the request (connecting included) to the first byte of the head.
    pub first_byte: Option<Duration>,
    /// To the last byte.
    pub total: Duration,
    /// The body, where the expected one was [`Expected::Text`].
    pub text: Vec<u8>,
}
