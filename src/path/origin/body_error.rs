//! Why a response body ended early.

use std::{io, time::Duration};

use crate::{path::framing::Malformed, traffic::sample::Outcome};

/// Why a response body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The origin closed the connection before the end.
    #[error("the origin closed the connection in the middle of the body")]
    Cut,
    /// The connection failed.
    #[error("the origin connection broke in the middle of the body: {0}")]
    Broken(#[source] io::Error),
    /// The chunked coding is malformed.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// No byte arrived for too long.
    #[error("the origin sent nothing for {0:?}")]
    Idle(Duration),
    /// The origin sent more than the head declared.
    #[error("the origin sent more than it had told")]
    TooLong,
    /// Bytes that were already sent to the client differ from the same bytes of a later response.
    #[error("what came of an unfinished chunk was not the file's")]
    Differs,
    /// The body's length was never declared, and nothing proves that it is complete.
    #[error("nothing tells whether the body is whole")]
    NoEnd,
    /// The client read nothing for long, and others needed the connection.
    #[error("the client took nothing while others had no connection left")]
    Unread,
    /// A part of the body cannot be fetched.
    #[error("the origin does not give a part of the body")]
    NoRest,
    /// The request's own body failed while it was still being sent.
    #[error("the request body ended early")]
    Upload,
}

impl BodyError {
    /// The outcome to record for the request.
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

    /// Whether the origin violated HTTP (not the network failed): its bytes are not trustworthy, and the body is not continued.
    pub fn violates_protocol(&self) -> bool {
        matches!(
            self,
            BodyError::Malformed(_) | BodyError::TooLong | BodyError::Differs
        )
    }
}
