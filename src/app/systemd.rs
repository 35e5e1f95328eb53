//! Notifications to systemd (sd_notify(3)): ready, reloading, stopping, watchdog. Without systemd they have no effect.

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

/// Notifications that may be queued for systemd.
const WAITING: usize = 16;

/// Notifies that the process serves.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Notifies that the settings are being reloaded, until [`ready`].
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// Notifies that the process stops.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Feeds the watchdog while workers and actors run, if the unit has one (`WatchdogSec=`): four times in that period.
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

/// Queues a notification for a thread that sends it: a systemd that does not read must not block the caller.
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
    // If it is full, systemd does not read anyway.
    _ = told.try_send(state.to_vec());
}
