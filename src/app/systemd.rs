//! What systemd is told (sd_notify(3)): that the process serves, reads its settings again, ends, and that it turns. Without
//! systemd nothing is said to anybody.

use std::{
    env,
    sync::{
        Arc, OnceLock,
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use sd_notify::NotifyState;

use super::pulse::Pulse;
use crate::traffic::published::Published;

/// Messages that wait for systemd to read.
const WAITING: usize = 16;

/// The process serves.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The process reads its settings again, until it says [`ready`].
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The process goes out of service.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Feeds the watchdog for as long as workers and actors turn, if the unit has one (`WatchdogSec=`).
pub fn feed(pulse: Pulse, published: Arc<Published>) {
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return;
    };
    tracing::info!(
        ?patience,
        "systemd's watchdog is fed while workers and actors turn"
    );
    actix_rt::spawn(async move {
        loop {
            match pulse.check(&published, patience / 2) {
                Ok(()) => tell(&[NotifyState::Watchdog]),
                Err(stalled) => {
                    tracing::error!(%stalled, "the process does not turn: systemd's watchdog is not fed");
                }
            }
            tokio::time::sleep(patience / 4).await;
        }
    });
}

/// Tells it by a thread of its own: a systemd that reads nothing must not stop whoever has something to tell.
fn tell(state: &[NotifyState<'static>]) {
    static TOLD: OnceLock<SyncSender<Vec<NotifyState<'static>>>> = OnceLock::new();
    if env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let told = TOLD.get_or_init(|| {
        let (tell, told) = sync_channel::<Vec<_>>(WAITING);
        let thread = thread::Builder::new().name("systemd".to_owned());
        let started = thread.spawn(move || {
            for state in told {
                if let Err(error) = sd_notify::notify(&state) {
                    tracing::warn!(%error, "systemd cannot be told");
                }
            }
        });
        if let Err(error) = started {
            tracing::warn!(%error, "systemd cannot be told");
        }
        tell
    });
    // Full: it reads nothing, and would not read this either.
    _ = told.try_send(state.to_vec());
}
