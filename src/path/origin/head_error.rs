//! Why a request to the origin got no response head.

use std::io;

use crate::path::framing::Malformed;

/// Why there is no response head.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// The origin closed the connection, or the connection failed.
    #[error("the connection broke before the response head: {0}")]
    Broken(#[source] io::Error),
    /// The bytes are not an HTTP/1.x head.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The head is longer than the limit.
    #[error("the response head is longer than {0} bytes")]
    TooLong(usize),
    /// The origin switched to a protocol that was not offered.
    #[error("the origin switched to a protocol that was not asked for")]
    Switched,
}
