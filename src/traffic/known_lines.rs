//! The classes of clients' lines by network, so that a new connection starts with what its neighbours have shown.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::quality::Class;

/// The most entries; a power of two. Networks with the same place overwrite each other.
const PLACES: usize = 4096;
/// How long a class is remembered.
const MEMORY: Duration = Duration::from_secs(3600);

/// The class that each network's connections last had: of a /24 (IPv4) or a /48 (IPv6), which one access network shares as a rule.
#[derive(Debug)]
pub struct KnownLines {
    start: Instant,
    hasher: RandomState,
    /// 32 bits of the network's hash, 24 of the time (seconds since the start), 8 of the class (0: nothing).
    places: Box<[AtomicU64]>,
}

impl Default for KnownLines {
    fn default() -> Self {
        KnownLines {
            start: Instant::now(),
            hasher: RandomState::new(),
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl KnownLines {
    /// The class that a new connection from this address starts with; good if nothing is known.
    pub fn class(&self, address: IpAddr, now: Instant) -> Class {
        let (place, mark) = self.place(address);
        let entry = place.load(Relaxed);
        let age = self.seconds(now).wrapping_sub(entry >> 8) & 0xff_ffff;
        let class = Class::ALL.get((entry as u8 as usize).wrapping_sub(1));
        match class {
            Some(&class) if entry >> 32 == mark && age < MEMORY.as_secs() => class,
            _ => Class::Good,
        }
    }

    /// Remembers the class of a connection from this address.
    pub fn remember(&self, address: IpAddr, class: Class, now: Instant) {
        let (place, mark) = self.place(address);
        let time = self.seconds(now) & 0xff_ffff;
        place.store(mark << 32 | time << 8 | (class as u64 + 1), Relaxed);
    }

    fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs()
    }

    /// The place of an address's network, and what marks it there.
    fn place(&self, address: IpAddr) -> (&AtomicU64, u64) {
        let network = match address.to_canonical() {
            IpAddr::V4(v4) => u64::from(v4.to_bits() >> 8) | 1 << 63,
            IpAddr::V6(v6) => (v6.to_bits() >> 80) as u64,
        };
        let hash = self.hasher.hash_one(network);
        (&self.places[hash as usize % PLACES], hash >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_neighbour_starts_with_what_one_has_shown_and_others_do_not() {
        let (known, now) = (KnownLines::default(), Instant::now());
        for (one, neighbour, other) in [
            ("192.0.2.1", "192.0.2.200", "192.0.3.1"),
            ("2001:db8:1::1", "2001:db8:1:ff::2", "2001:db8:2::1"),
            ("::ffff:198.51.100.1", "198.51.100.2", "198.51.101.1"),
        ] {
            known.remember(address(one), Class::Poor, now);
            assert_eq!(known.class(address(neighbour), now), Class::Poor);
            assert_eq!(known.class(address(other), now), Class::Good);
            known.remember(address(neighbour), Class::Medium, now);
            assert_eq!(known.class(address(one), now), Class::Medium);
        }
    }

    #[test]
    fn it_is_forgotten_after_an_hour_also_after_many_months() {
        let known = KnownLines::default();
        let client = address("192.0.2.1");
        let long = Duration::from_secs(0xff_ffff - 10);
        for begun in [Instant::now(), Instant::now() + long] {
            known.remember(client, Class::VeryPoor, begun);
            let minute = Duration::from_secs(60);
            assert_eq!(
                known.class(client, begun + MEMORY - minute),
                Class::VeryPoor
            );
            assert_eq!(known.class(client, begun + MEMORY), Class::Good);
        }
    }

    #[test]
    fn a_million_networks_take_no_more_room() {
        let (known, now) = (KnownLines::default(), Instant::now());
        for network in 0..1_000_000_u32 {
            let address = IpAddr::V4((network << 8).into());
            known.remember(address, Class::Poor, now);
            assert_eq!(known.class(address, now), Class::Poor);
        }
        assert_eq!(known.places.len(), PLACES);
    }
}
