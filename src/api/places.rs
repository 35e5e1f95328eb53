//! Places for those who follow the stream. Where all are taken, addresses share them: whose address has the most gives
//! one up for an address that has fewer, so nobody can keep the operators out by taking all.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// So many places, and who has them.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    /// Oldest first.
    // a std mutex: never locked across an await
    taken: Mutex<Vec<Arc<Seat>>>,
}

#[derive(Debug)]
struct Seat {
    whose: IpAddr,
    lost: AtomicBool,
}

/// A place. Dropped, it is free.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    seat: Arc<Seat>,
}

impl Places {
    /// So many, all free.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            taken: Mutex::default(),
        })
    }

    /// A place for a client at this address. None if all are taken, and no other address has two more than this one.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let whose = network(address);
        let mut taken = self.taken();
        if taken.len() >= self.most {
            let mut counts = HashMap::new();
            for seat in taken.iter() {
                *counts.entry(seat.whose).or_insert(0) += 1;
            }
            let own = counts.get(&whose).copied().unwrap_or(0);
            let (crowded, most) = counts.into_iter().max_by_key(|(_, count)| *count)?;
            if most < own + 2 {
                return None;
            }
            // who came first, stays
            let last = taken.iter().rposition(|seat| seat.whose == crowded)?;
            taken.remove(last).lost.store(true, Relaxed);
        }
        let seat = Arc::new(Seat {
            whose,
            lost: AtomicBool::new(false),
        });
        taken.push(Arc::clone(&seat));
        let places = Arc::clone(self);
        Some(Place { places, seat })
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Arc<Seat>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whether it was given to somebody else.
    pub(super) fn is_lost(&self) -> bool {
        self.seat.lost.load(Relaxed)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.retain(|seat| !Arc::ptr_eq(seat, &self.seat));
    }
}

/// Of an IPv6 address the first half: a host changes the other itself (RFC 8981).
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

    fn taken(places: &Arc<Places>, address: &str) -> Place {
        places.take(at(address)).unwrap()
    }

    #[test]
    fn one_address_may_have_all_places_while_no_other_wants_one() {
        let places = Places::new(3);
        let mut held: Vec<_> = (0..3).map(|_| taken(&places, "192.0.2.1")).collect();
        assert!(places.take(at("192.0.2.1")).is_none());
        held.pop();
        assert!(places.take(at("192.0.2.1")).is_some());
    }

    #[test]
    fn whose_address_has_the_most_gives_its_last_place_to_one_that_has_fewer() {
        let places = Places::new(4);
        let own = taken(&places, "192.0.2.7");
        let strangers: Vec<_> = (0..3).map(|_| taken(&places, "192.0.2.1")).collect();
        let second = taken(&places, "192.0.2.7");
        let lost = strangers.iter().map(Place::is_lost);
        assert_eq!(lost.collect::<Vec<_>>(), [false, false, true]);
        // two for each: neither has more to ask for
        assert!(places.take(at("192.0.2.7")).is_none());
        assert!(places.take(at("192.0.2.1")).is_none());
        assert!(!own.is_lost() && !second.is_lost());
    }

    #[test]
    fn a_lost_place_is_free_only_once() {
        let places = Places::new(2);
        let strangers: Vec<_> = (0..2).map(|_| taken(&places, "192.0.2.1")).collect();
        let own = taken(&places, "192.0.2.7");
        drop(strangers);
        assert_eq!(places.taken().len(), 1);
        assert!(!own.is_lost());
    }

    #[test]
    fn a_host_of_ipv6_is_one_however_many_addresses_it_has() {
        let places = Places::new(2);
        let one = taken(&places, "2001:db8:0:1::1");
        let other = taken(&places, "2001:db8:0:1::2");
        let own = taken(&places, "2001:db8:0:2::1");
        assert!(!one.is_lost() && other.is_lost() && !own.is_lost());
        assert_eq!(network(at("::ffff:192.0.2.1")), at("192.0.2.1"));
    }

    #[test]
    fn there_may_be_no_place_at_all() {
        assert!(Places::new(0).take(at("192.0.2.1")).is_none());
    }
}
