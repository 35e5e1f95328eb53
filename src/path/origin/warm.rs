//! Keeps as many connections open as were recently in use at once, so that a burst does not wait for handshakes.

use std::{
    rc::{Rc, Weak},
    time::{Duration, Instant},
};

use super::{connector::Connector, pool::Pool};
use crate::traffic::origin::OriginStatus;

/// How often this is checked.
const LOOK: Duration = Duration::from_secs(1);
/// The most connections that one check opens.
const AT_ONCE: usize = 8;

/// Runs for one worker until its connections are dropped.
pub(super) async fn keep_warm(connector: Weak<Connector>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(connector) = connector.upgrade() else {
            return;
        };
        let state = connector.state();
        // An unreachable origin is tried by requests, and by the classifier's probe.
        let serves = !state.is_draining() && **state.status.load() != OriginStatus::Unreachable;
        if serves && state.tuning.load().warm_connections {
            top_up(&connector).await;
        }
    }
}

/// Opens missing connections one after the other; a failure stops it until the next check.
async fn top_up(connector: &Connector) {
    let pool: &Rc<Pool> = connector.pool();
    for _ in 0..pool.missing(Instant::now()).min(AT_ONCE) {
        match connector.open_spare().await {
            Ok(Some(connection)) => pool.keep_spare(connection),
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%error, "a spare origin connection could not be opened");
                return;
            }
        }
    }
}
