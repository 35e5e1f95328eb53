//! Why the body of a response ended before its end.

use std::{io, time::Duration};

use crate::{path::framing::Malformed, traffic::sample::Outcome};

/// Why a body ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The origin closed the connection in the middle.
    #[error("the origin closed the connection in the middle of the body")]
    Cut,
    /// The connection broke.
    #[error("the origin connection broke in the middle of the body: {0}")]
    Broken(#[source] io::Error),
    /// The chunked coding is broken.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Nothing came for too long.
    #[error("the origin sent nothing for {0:?}")]
    Idle(Duration),
    /// More came than the head said.
    #[error("the origin sent more than it had told")]
    TooLong,
    /// What was sent of a chunk that broke off came otherwise when it was asked for again.
    #[error("what came of an unfinished chunk was not the file's")]
    Differs,
    /// The body's length was never told, and nothing says that what came is all of it.
    #[error("nothing tells whether the body is whole")]
    NoEnd,
    /// The client took nothing for long, and others needed the connection.
    #[error("the client took nothing while others had no connection left")]
    Unread,
    /// A part of the body cannot be had.
    #[error("the origin does not give a part of the body")]
    NoRest,
    /// The request's own body, which was still on its way, broke.
    #[error("the request body ended early")]
    Upload,
}

impl BodyError {
    /// How the request ended by it.
    pub fn outcome(&self) -> Outcome {
        match self {
            BodyError::Idle(_) => Outcome::OriginTimeout,
            BodyError::Upload | BodyError::Unread => Outcome::ClientFault,
            BodyError::Cut
            | BodyError::Broken(_)
            | BodyError::Malformed(_)
            | BodyError::TooLong
            | BodyError::Differs
            | BodyError::NoEnd
            | BodyError::NoRest => Outcome::OriginBroken,
        }
    }

    /// Whether the origin broke the rules rather than the line: what it sent is not to be trusted, and the body ends.
    pub fn is_a_lie(&self) -> bool {
        matches!(
            self,
            BodyError::Malformed(_) | BodyError::TooLong | BodyError::Differs
        )
    }
}
