//! Reads the body of a request to an endpoint, within limits.

use std::time::Duration;

use actix_web::web;
use futures_util::StreamExt as _;

/// The most bytes of a body.
const MOST: usize = 4096;
/// Timeout for the whole body.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    /// 400: the body is malformed.
    #[error("{0}")]
    Broken(String),
    /// 413: the body is too large.
    #[error("the body is larger than 4 KiB")]
    TooLarge,
    /// 408: the body came too slowly.
    #[error("the body did not arrive within 5 seconds")]
    TooSlow,
}

/// Reads a request's body, whatever its Content-Type: at most 4 KiB within 5 s.
///
/// # Errors
///
/// [`Unread`]
pub(super) async fn read(mut body: web::Payload) -> Result<Vec<u8>, Unread> {
    let read = async {
        let mut bytes = Vec::new();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| Unread::Broken(error.to_string()))?;
            if bytes.len() + piece.len() > MOST {
                return Err(Unread::TooLarge);
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .unwrap_or(Err(Unread::TooSlow))
}
