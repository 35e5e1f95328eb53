//! Keeps as many connections open as were lately in use at once, so that a burst does not pay for handshakes.

use std::{
    rc::{Rc, Weak},
    time::{Duration, Instant},
};

use super::{pool::Pool, worker::Origin};
use crate::traffic::published::OriginStatus;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Connections that one look opens at most.
const AT_ONCE: usize = 8;

/// Looks after an origin's connections until the origin is dropped.
pub(super) async fn keep_warm(origin: Weak<Origin>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(origin) = origin.upgrade() else {
            return;
        };
        let published = origin.published();
        // An origin that is away is tried by the requests themselves, and by the classifier's probe.
        let serves = !published.is_draining()
            && **published.origin_status.load() != OriginStatus::Unreachable;
        if serves && published.tuning.load().warm_connections {
            top_up(&origin).await;
        }
    }
}

/// Opens what is missing, one after the other; a failure ends it until the next look.
async fn top_up(origin: &Rc<Origin>) {
    let pool: &Rc<Pool> = origin.pool();
    for _ in 0..pool.missing(Instant::now()).min(AT_ONCE) {
        match origin.open_spare().await {
            Ok(Some(connection)) => pool.keep_spare(connection),
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "a spare origin connection could not be opened");
                return;
            }
        }
    }
}
