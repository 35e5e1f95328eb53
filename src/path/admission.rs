//! The limiter's gate: who may go on to the origin, and when.

use std::time::Instant;

use super::error::ProxyError;
use crate::traffic::{keys::Keys, origin::OriginState, tuning::Tuning};

/// Waits for leave to send one request to this origin, first in, first out, at most for the connect timeout.
///
/// # Errors
///
/// [`ProxyError::Limited`] where the wait would be longer, or too many wait already.
pub async fn admit(origin: &OriginState, tuning: &Tuning, keys: Keys) -> Result<(), ProxyError> {
    let wait = origin
        .gate
        .admit(keys, Instant::now(), tuning.connect_timeout)
        .map_err(ProxyError::Limited)?;
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    Ok(())
}
