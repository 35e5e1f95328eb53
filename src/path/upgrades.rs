//! `[upgrades]`: limits for connections that switch to another protocol, mostly WebSocket.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{reloadable::reloadable, traffic::published::Published, units::OutOfRange};

/// Connections that switch to another protocol. They use no exchange slot and do not count as origin connections, because they may
/// stay open for days.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The most such connections; 0: offers to switch are not passed on.
    pub max: u64,
    /// The most for one client address.
    pub per_client: u64,
    /// Longest time without bytes in either direction.
    #[serde(with = "humantime_serde")]
    pub idle: Duration,
}

reloadable!(Settings {
    max: NextRequest,
    per_client: NextRequest,
    idle: NextRequest,
});

impl Settings {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that makes no sense.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let (second, day) = (Duration::from_secs(1), Duration::from_secs(24 * 3600));
        OutOfRange::unless(
            self.max <= 1_000_000,
            "upgrades.max",
            "0 to 1000000",
            self.max,
        )?;
        OutOfRange::unless(
            (1..=1_000_000).contains(&self.per_client),
            "upgrades.per_client",
            "1 to 1000000",
            self.per_client,
        )?;
        OutOfRange::unless_between("upgrades.idle", second, self.idle, day)
    }
}

/// Counts the connections that have switched protocols, in total and by client address.
#[derive(Debug)]
pub struct UpgradePermits {
    /// A std mutex: held for one look into the map, never across an await.
    taken: Mutex<HashMap<IpAddr, u64>>,
    published: Arc<Published>,
}

/// Counts one such connection while this lives.
#[derive(Debug)]
pub struct UpgradePermit {
    permits: Arc<UpgradePermits>,
    client: IpAddr,
}

impl UpgradePermits {
    /// No connections yet.
    pub fn new(published: Arc<Published>) -> Self {
        UpgradePermits {
            taken: Mutex::default(),
            published,
        }
    }

    /// A permit for `client`; none, and counted, if a limit is reached.
    pub fn take(self: &Arc<Self>, client: IpAddr, settings: &Settings) -> Option<UpgradePermit> {
        let counters = &self.published.clients;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let own = taken.get(&client).copied().unwrap_or_default();
        if own >= settings.per_client || !counters.upgraded.up_within(1, settings.max) {
            counters.upgrades_refused.increment();
            return None;
        }
        taken.insert(client, own + 1);
        Some(UpgradePermit {
            permits: Arc::clone(self),
            client,
        })
    }
}

impl Drop for UpgradePermit {
    fn drop(&mut self) {
        self.permits.published.clients.upgraded.down();
        let taken = &self.permits.taken;
        let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = taken.get_mut(&self.client) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.client);
            }
        }
    }
}
