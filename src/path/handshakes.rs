//! TLS handshakes under way, by address. When there are too many, the address with the most of them loses its oldest, so that a
//! client that opens connections and sends nothing cannot keep others out.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// An address with fewer handshakes under way loses none: they may be honest, and the newcomer is no more entitled.
const CROWD: usize = 8;

/// Registry of the handshakes under way in the whole process.
#[derive(Debug, Default)]
pub struct Handshakes {
    // a std mutex: held for a few instructions, never across an await
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    /// The handshakes of each address, the oldest first.
    by_address: HashMap<IpAddr, BTreeMap<u64, oneshot::Sender<()>>>,
    /// The same addresses ordered by number of handshakes; of equal ones, the one whose oldest has waited longer comes last.
    crowds: BTreeSet<(usize, Reverse<u64>, IpAddr)>,
}

/// One registered handshake; dropping it removes it.
#[derive(Debug)]
pub struct Handshake<'a> {
    all: &'a Handshakes,
    address: IpAddr,
    number: u64,
    evicted: oneshot::Receiver<()>,
}

impl Handshakes {
    /// Registers a handshake of a client at this address.
    pub fn begin(&self, address: IpAddr) -> Handshake<'_> {
        let address = network(address);
        let (evict, evicted) = oneshot::channel();
        let mut held = self.held();
        let number = held.next;
        held.next += 1;
        held.change(address, |own| {
            own.insert(number, evict);
        });
        Handshake {
            all: self,
            address,
            number,
            evicted,
        }
    }

    /// Cancels the oldest handshake of the address with the most, if that has at least `CROWD`. Returns whether one was cancelled.
    pub fn evict(&self) -> bool {
        let mut held = self.held();
        let Some(&(count, _, address)) = held.crowds.last() else {
            return false;
        };
        if count < CROWD {
            return false;
        }
        let mut oldest = None;
        held.change(address, |own| oldest = own.pop_first());
        // Fails if that handshake has just finished.
        oldest.is_some_and(|(_, evict)| evict.send(()).is_ok())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Changes the entries of an address and keeps `crowds` in order.
    fn change(
        &mut self,
        address: IpAddr,
        change: impl FnOnce(&mut BTreeMap<u64, oneshot::Sender<()>>),
    ) {
        let place = |own: &BTreeMap<u64, _>| {
            let (&oldest, _) = own.first_key_value()?;
            Some((own.len(), Reverse(oldest), address))
        };
        let own = self.by_address.entry(address).or_default();
        if let Some(place) = place(own) {
            self.crowds.remove(&place);
        }
        change(own);
        match place(own) {
            Some(place) => _ = self.crowds.insert(place),
            None => _ = self.by_address.remove(&address),
        }
    }
}

impl Handshake<'_> {
    /// Completes when this handshake is cancelled to make room.
    pub async fn evicted(&mut self) {
        _ = (&mut self.evicted).await;
    }
}

impl Drop for Handshake<'_> {
    fn drop(&mut self) {
        let number = self.number;
        self.all.held().change(self.address, |own| {
            own.remove(&number);
        });
    }
}

/// The unit that counts as one address: for IPv6 the /64 network, which one client has to itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn is_evicted(handshake: &mut Handshake<'_>) -> bool {
        handshake.evicted.try_recv().is_ok()
    }

    #[test]
    fn the_address_with_the_most_loses_its_oldest() {
        let all = Handshakes::default();
        let mut one = all.begin(at("192.0.2.1"));
        let mut crowd: Vec<_> = (0..20)
            .map(|n| all.begin(at(&format!("2001:db8::{n:x}"))))
            .collect();
        let mut fewer: Vec<_> = (0..CROWD).map(|_| all.begin(at("192.0.2.2"))).collect();
        for n in 0..20 - CROWD {
            assert!(all.evict());
            assert!(is_evicted(&mut crowd[n]) && !is_evicted(&mut crowd[n + 1]));
        }
        // Equal numbers: the one that came first.
        assert!(all.evict() && is_evicted(&mut crowd[20 - CROWD]));
        assert!(all.evict() && is_evicted(&mut fewer[0]));
        assert!(!all.evict(), "few enough are no crowd");
        assert!(!is_evicted(&mut one));
    }

    #[test]
    fn what_is_done_counts_no_more() {
        let all = Handshakes::default();
        let crowd: Vec<_> = (0..100).map(|_| all.begin(at("192.0.2.1"))).collect();
        drop(crowd);
        assert!(!all.evict());
        let held = all.held();
        assert!(held.by_address.is_empty() && held.crowds.is_empty());
    }
}
