//! Why a request to the origin got no response.

use std::time::Duration;

use super::{connect::ConnectError, head_error::HeadError, slots::NoSlot};

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No exchange slot became free in time.
    #[error(transparent)]
    NoSlot(#[from] NoSlot),
    /// No connection could be opened.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The response head is missing or malformed.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// awc could not send the request or read the head.
    #[error("{0}")]
    Client(String),
    /// The exchange took longer than its timeout.
    #[error("no response head within {0:?}")]
    Timeout(Duration),
    /// A request that nobody waits for found no spare slot.
    #[error("no exchange is to spare")]
    NoneSpare,
    /// The request's own body failed.
    #[error("the request body ended early")]
    Upload,
}

impl FetchError {
    /// Whether the origin accepted no connection, or reset it at once.
    pub(super) fn is_unreachable(&self) -> bool {
        use std::io::ErrorKind::{ConnectionRefused, ConnectionReset};
        match self {
            FetchError::Connect(ConnectError::Connect { source, .. }) => {
                matches!(source.kind(), ConnectionRefused | ConnectionReset)
            }
            FetchError::Head(HeadError::Broken(_)) => true,
            _ => false,
        }
    }
}
