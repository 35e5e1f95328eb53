//! Why the rest of a body does not come.

use std::time::Duration;

use super::{body_error::BodyError, fetch_error::FetchError};
use crate::path::continuation::Mismatch;

/// Why the rest does not come.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// The origin is away or overloaded just now: another attempt may do.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The same, in the origin's own words: the status, and how long it wants to be left alone.
    #[error("the origin answered {0} to a request for the rest")]
    Busy(u16, Option<Duration>),
    /// No answer for so long that another attempt is more likely to bring one.
    #[error("no answer to a request for the rest within {0:?}")]
    Late(Duration),
    /// It broke before a byte of it came.
    #[error(transparent)]
    Broke(#[from] BodyError),
    /// The rest is not to be had. Another attempt would get the same.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
}

/// How the origin did not give what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestRefusal {
    /// It was too late with it.
    Late,
    /// It has too much to do, or says so: 429, 503, or no connection.
    TurnedAway,
    /// Another 5xx.
    Failed,
    /// What came is not what was asked for, and will not be.
    Denied,
}

impl RestError {
    /// What kind of refusal it is.
    pub fn refusal(&self) -> RestRefusal {
        match self {
            RestError::Busy(429 | 503, _) => RestRefusal::TurnedAway,
            RestError::Busy(..) => RestRefusal::Failed,
            RestError::Fetch(error) if error.is_unreachable() => RestRefusal::TurnedAway,
            RestError::Fetch(_) | RestError::Late(_) | RestError::Broke(_) => RestRefusal::Late,
            RestError::Mismatch(_) => RestRefusal::Denied,
        }
    }

    /// How long the origin wants to be left alone.
    pub fn retry_after(&self) -> Duration {
        match self {
            RestError::Busy(_, after) => after.unwrap_or_default(),
            _ => Duration::ZERO,
        }
    }

    /// Whether another attempt may do better.
    pub fn is_passing(&self) -> bool {
        !matches!(self, RestError::Mismatch(_))
    }
}
