//! Permits for streams. When all are taken, the address with the most loses one to an address that has fewer, so that nobody can
//! keep the operators out by taking all.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use super::client_network::network;

/// The permits for streams, and their holders.
#[derive(Debug)]
pub(super) struct StreamPermits {
    /// `monitor.streams`.
    most: usize,
    /// Oldest first. A std mutex: never locked across an await.
    held: Mutex<Vec<Arc<Holder>>>,
}

/// The holder of a permit.
#[derive(Debug)]
struct Holder {
    network: IpAddr,
    revoked: AtomicBool,
}

/// Permits one stream; released on drop.
#[derive(Debug)]
pub(super) struct StreamPermit {
    permits: Arc<StreamPermits>,
    holder: Arc<Holder>,
}

impl StreamPermits {
    /// `most` permits, all free.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            held: Mutex::default(),
        })
    }

    /// A permit for a client at this address. If none is free, the newest one of the address with the most is revoked, if that has
    /// at least two more than this address; otherwise none.
    pub(super) fn acquire(self: &Arc<Self>, address: IpAddr) -> Option<StreamPermit> {
        let network = network(address);
        let mut held = self.held();
        if held.len() >= self.most {
            let mut counts = HashMap::new();
            for holder in held.iter() {
                *counts.entry(holder.network).or_insert(0) += 1;
            }
            let own = counts.get(&network).copied().unwrap_or(0);
            let (crowded, most) = counts.into_iter().max_by_key(|(_, count)| *count)?;
            if most < own + 2 {
                return None;
            }
            let newest = held.iter().rposition(|holder| holder.network == crowded)?;
            held.remove(newest).revoked.store(true, Relaxed);
        }
        let holder = Arc::new(Holder {
            network,
            revoked: AtomicBool::new(false),
        });
        held.push(Arc::clone(&holder));
        let permits = Arc::clone(self);
        Some(StreamPermit { permits, holder })
    }

    fn held(&self) -> MutexGuard<'_, Vec<Arc<Holder>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StreamPermit {
    /// Whether the permit was given to another address.
    pub(super) fn is_revoked(&self) -> bool {
        self.holder.revoked.load(Relaxed)
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        let mut held = self.permits.held();
        held.retain(|holder| !Arc::ptr_eq(holder, &self.holder));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn held(permits: &Arc<StreamPermits>, address: &str) -> StreamPermit {
        permits.acquire(at(address)).unwrap()
    }

    #[test]
    fn one_address_may_have_all_permits_while_no_other_wants_one() {
        let permits = StreamPermits::new(3);
        let mut held: Vec<_> = (0..3).map(|_| held(&permits, "192.0.2.1")).collect();
        assert!(permits.acquire(at("192.0.2.1")).is_none());
        held.pop();
        assert!(permits.acquire(at("192.0.2.1")).is_some());
    }

    #[test]
    fn the_address_with_the_most_gives_its_newest_permit_to_one_that_has_fewer() {
        let permits = StreamPermits::new(4);
        let own = held(&permits, "192.0.2.7");
        let strangers: Vec<_> = (0..3).map(|_| held(&permits, "192.0.2.1")).collect();
        let second = held(&permits, "192.0.2.7");
        let revoked = strangers.iter().map(StreamPermit::is_revoked);
        assert_eq!(revoked.collect::<Vec<_>>(), [false, false, true]);
        // two for each: neither may have more
        assert!(permits.acquire(at("192.0.2.7")).is_none());
        assert!(permits.acquire(at("192.0.2.1")).is_none());
        assert!(!own.is_revoked() && !second.is_revoked());
    }

    #[test]
    fn a_revoked_permit_is_free_only_once() {
        let permits = StreamPermits::new(2);
        let strangers: Vec<_> = (0..2).map(|_| held(&permits, "192.0.2.1")).collect();
        let own = held(&permits, "192.0.2.7");
        drop(strangers);
        assert_eq!(permits.held().len(), 1);
        assert!(!own.is_revoked());
    }

    #[test]
    fn a_host_of_ipv6_is_one_however_many_addresses_it_has() {
        let permits = StreamPermits::new(2);
        let one = held(&permits, "2001:db8:0:1::1");
        let other = held(&permits, "2001:db8:0:1::2");
        let own = held(&permits, "2001:db8:0:2::1");
        assert!(!one.is_revoked() && other.is_revoked() && !own.is_revoked());
    }

    #[test]
    fn there_may_be_no_permit_at_all() {
        assert!(StreamPermits::new(0).acquire(at("192.0.2.1")).is_none());
    }
}
