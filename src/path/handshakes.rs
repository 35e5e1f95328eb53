//! TLS handshakes that are not done yet, by address. Where there is no room for one more, the address with the most of
//! them loses its oldest: whoever opens connections and says nothing keeps nobody out.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

/// An address with fewer unfinished handshakes at once loses none: they may be honest, and whoever comes next would
/// have no better right.
const CROWD: usize = 8;

/// Handshakes under way in the whole process.
#[derive(Debug, Default)]
pub struct Handshakes {
    // a std mutex: held for a few instructions, never across an await
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    /// Of each address, the oldest first.
    by_address: HashMap<IpAddr, BTreeMap<u64, oneshot::Sender<()>>>,
    /// The same addresses, the most crowded last; of two, the one that has waited longer.
    crowds: BTreeSet<(usize, Reverse<u64>, IpAddr)>,
}

/// One handshake that is under way, for as long as this lives.
#[derive(Debug)]
pub struct Handshake<'a> {
    all: &'a Handshakes,
    address: IpAddr,
    number: u64,
    evicted: oneshot::Receiver<()>,
}

impl Handshakes {
    /// Adds a handshake of a client at this address.
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

    /// Ends the oldest handshake of the address with the most, if that has `CROWD` or more. Returns whether one ended.
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
        // Whoever is just done does not hear it.
        oldest.is_some_and(|(_, evict)| evict.send(()).is_ok())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Changes what an address has, and its place among the crowds.
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
    /// Ready when it is to make room for others.
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

/// What counts as one address: of IPv6 the network that a client has to itself.
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
        // Both have as many: the one that came first.
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
