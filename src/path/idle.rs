//! Client connections without a request, by network. When the connection limit is reached, the network with the most loses its
//! oldest idle one, so that a client with many idle connections cannot keep others out.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::Waker,
};

use futures_util::task::AtomicWaker;

use super::network::Network;

/// A network with fewer connections loses none: they may be honest, and the newcomer is no more entitled.
const CROWD: usize = 8;

/// The HTTP/1.1 connections of the whole process, by network.
#[derive(Debug, Default)]
pub struct Connections {
    // a std mutex: held for a few instructions, never across an await
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    next: u64,
    /// The connections of each network, the oldest first.
    by_network: HashMap<Network, BTreeMap<u64, Arc<State>>>,
    /// The same networks ordered by number of connections; of equal ones, the one that was here first comes last.
    crowds: BTreeSet<(usize, Reverse<u64>, Network)>,
}

/// Shared by a connection and the list: whether the connection is idle, and whether it was asked to close.
#[derive(Debug)]
struct State {
    is_idle: AtomicBool,
    is_asked: AtomicBool,
    waker: AtomicWaker,
}

/// One connection's entry in the list; dropping it removes it.
#[derive(Debug)]
pub struct Listed {
    all: Arc<Connections>,
    network: Network,
    number: u64,
    state: Arc<State>,
}

impl Connections {
    /// Adds an idle connection of a client from this network.
    pub fn list(self: &Arc<Self>, network: Network) -> Listed {
        let state = Arc::new(State {
            is_idle: AtomicBool::new(true),
            is_asked: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        let mut held = self.held();
        let number = held.next;
        held.next += 1;
        held.change(network, |own| {
            own.insert(number, Arc::clone(&state));
        });
        Listed {
            all: Arc::clone(self),
            network,
            number,
            state,
        }
    }

    /// Asks the oldest idle connection of the network with the most to close, if that has at least `CROWD`. Returns whether there
    /// was one.
    pub fn make_room(&self) -> bool {
        let held = self.held();
        let crowds = held.crowds.iter().rev();
        let found = crowds
            .take_while(|(count, ..)| *count >= CROWD)
            .flat_map(|(.., network)| held.by_network[network].values())
            .find(|state| state.is_idle.load(SeqCst) && !state.is_asked.swap(true, SeqCst))
            .map(Arc::clone);
        drop(held);
        found.is_some_and(|state| {
            state.waker.wake();
            true
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Changes the entries of a network and keeps `crowds` in order.
    fn change(&mut self, network: Network, change: impl FnOnce(&mut BTreeMap<u64, Arc<State>>)) {
        let place = |own: &BTreeMap<u64, _>| {
            let (&oldest, _) = own.first_key_value()?;
            Some((own.len(), Reverse(oldest), network))
        };
        let own = self.by_network.entry(network).or_default();
        if let Some(place) = place(own) {
            self.crowds.remove(&place);
        }
        change(own);
        match place(own) {
            Some(place) => _ = self.crowds.insert(place),
            None => _ = self.by_network.remove(&network),
        }
    }
}

impl Listed {
    /// Sets whether the connection is idle.
    pub fn set_idle(&self, is_idle: bool) {
        self.state.is_idle.store(is_idle, SeqCst);
    }

    /// Whether the connection was asked to close. `waker` is woken when that changes.
    pub fn is_asked(&self, waker: &Waker) -> bool {
        self.state.waker.register(waker);
        self.state.is_asked.load(SeqCst)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.all.held().change(self.network, |own| {
            own.remove(&self.number);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(all: &Arc<Connections>, address: &str, count: usize) -> Vec<Listed> {
        let network = Network::of(address.parse().unwrap());
        (0..count).map(|_| all.list(network)).collect()
    }

    fn asked(listed: &[Listed]) -> Vec<bool> {
        let asked = |one: &Listed| one.is_asked(Waker::noop());
        listed.iter().map(asked).collect()
    }

    #[test]
    fn the_network_with_the_most_loses_its_oldest_idle_one() {
        let all = Arc::new(Connections::default());
        let few = list(&all, "192.0.2.1", CROWD - 1);
        let most = list(&all, "192.0.2.2", CROWD + 1);
        let crowd = list(&all, "192.0.2.3", CROWD);
        most[1..].iter().for_each(|one| one.set_idle(false));
        assert!(all.make_room());
        assert!(asked(&most)[0] && !asked(&crowd)[0]);
        assert!(all.make_room());
        assert!(asked(&crowd)[0] && !asked(&crowd)[1]);
        crowd.iter().for_each(|one| one.set_idle(false));
        assert!(!all.make_room());
        assert_eq!(asked(&few), [false; CROWD - 1]);
    }

    #[test]
    fn one_that_is_closed_is_listed_no_more() {
        let all = Arc::new(Connections::default());
        drop(list(&all, "192.0.2.1", 100));
        assert!(!all.make_room());
        let held = all.held();
        assert!(held.by_network.is_empty() && held.crowds.is_empty());
    }
}
