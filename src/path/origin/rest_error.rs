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

/// In what way the origin refused the rest of a body, or a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestRefusal {
    /// It did not answer in time.
    Late,
    /// It has too much to do: 429, 503, or it took no connection.
    TurnedAway,
    /// Another 5xx.
    Failed,
    /// It answered with something else than the rest of this version, and would do so again.
    Denied,
}

impl RestError {
    /// In what way the origin refused.
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
