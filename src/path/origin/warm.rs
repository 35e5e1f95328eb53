//! Keeps as many connections open as were lately in use at once, so that a burst does not pay for handshakes.

use std::{
    rc::{Rc, Weak},
    time::{Duration, Instant},
};

use super::{connector::Connector, pool::Pool};
use crate::traffic::origin::OriginStatus;

/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Connections that one look opens at most.
const AT_ONCE: usize = 8;

/// Looks after a worker's connections until they are dropped.
pub(super) async fn keep_warm(connector: Weak<Connector>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(connector) = connector.upgrade() else {
            return;
        };
        let state = connector.state();
        // An origin that is away is tried by the requests themselves, and by the classifier's probe.
        let serves = !state.is_draining() && **state.status.load() != OriginStatus::Unreachable;
        if serves && state.tuning.load().warm_connections {
            top_up(&connector).await;
        }
    }
}

/// Opens what is missing, one after the other; a failure ends it until the next look.
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
