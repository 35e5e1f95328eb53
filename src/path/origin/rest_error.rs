//! Why the rest of a body could not be fetched.

use std::time::Duration;

use super::{body_error::BodyError, fetch_error::FetchError};
use crate::path::continuation::Mismatch;

/// Why the rest could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// The origin is unreachable or overloaded: another attempt may succeed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The origin said so: the status, and its Retry-After.
    #[error("the origin answered {0} to a request for the rest")]
    Busy(u16, Option<Duration>),
    /// No response for so long that a new attempt is more promising.
    #[error("no answer to a request for the rest within {0:?}")]
    Late(Duration),
    /// The response failed before its first body byte.
    #[error(transparent)]
    Broke(#[from] BodyError),
    /// The response does not continue this body. Another attempt would get the same.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

/// How the origin refused the rest of a body, or a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestRefusal {
    /// It did not answer in time.
    Late,
    /// It is overloaded: 429, 503, or no connection accepted.
    TurnedAway,
    /// Another 5xx.
    Failed,
    /// Its response does not continue this representation, and would not next time.
    Denied,
}

impl RestError {
    /// How the origin refused.
    pub fn refusal(&self) -> RestRefusal {
        match self {
            RestError::Busy(429 | 503, _) => RestRefusal::TurnedAway,
            RestError::Busy(..) => RestRefusal::Failed,
            RestError::Fetch(error) if error.is_unreachable() => RestRefusal::TurnedAway,
            RestError::Fetch(_) | RestError::Late(_) | RestError::Broke(_) => RestRefusal::Late,
            RestError::Mismatch(_) => RestRefusal::Denied,
        }
    }

    /// The origin's Retry-After; zero if none.
    pub fn retry_after(&self) -> Duration {
        match self {
            RestError::Busy(_, after) => after.unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }

    /// Whether another attempt may succeed.
    pub fn is_passing(&self) -> bool {
        !matches!(self, RestError::Mismatch(_))
    }
}
