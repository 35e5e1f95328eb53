//! Admission of requests to the origin at the adaptive rate limit.

use std::time::Instant;

use super::error::ProxyError;
use crate::traffic::{keys::Keys, origin::OriginState, tuning::Tuning};

/// Waits until the rate limit allows one more request to this origin: first in, first out, at most for the connect timeout.
///
/// # Errors
///
/// [`ProxyError::Limited`] if the wait would be longer than that, or if too many requests wait already.
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
