//! Assigns clients to the canary by their address alone, so that a client stays in its group on every worker and instance, and
//! after a restart.

use std::{
    net::IpAddr,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Release},
    },
};

use super::{Percent, cells};

/// A client's position for the canary: the canary takes the lowest hundredths, so that a larger share keeps the clients of a
/// smaller one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// 0 to 99; 100 for [`Bucket::SHARED`].
    hundredth: u8,
    cell: u8,
}

impl Bucket {
    /// For a connection that many clients share: never in the canary.
    pub const SHARED: Bucket = Bucket {
        hundredth: 100,
        cell: 0,
    };

    /// The bucket of an address. For IPv6 only the /64 prefix counts: hosts change the other half daily (RFC 8981).
    pub fn of(address: IpAddr) -> Self {
        let hash = match address.to_canonical() {
            IpAddr::V4(v4) => mixed(u64::from(v4.to_bits()) ^ 0x0034_0000_0000_0000),
            IpAddr::V6(v6) => mixed((v6.to_bits() >> 64) as u64 ^ 0x0036_0000_0000_0000),
        };
        Bucket {
            hundredth: ((u128::from(hash) * 100) >> 64) as u8,
            cell: (hash % cells::COUNT as u64) as u8,
        }
    }
}

/// The finalizer of splitmix64 (Steele, Lea, Flood 2014). It must never change, because instances of different versions share a
/// canary.
fn mixed(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The group that a client belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Has the level of the stable group.
    Stable,
    /// Has the candidate level.
    Candidate,
}

impl Group {
    /// The name in logs and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Group::Stable => "stable",
            Group::Candidate => "candidate",
        }
    }
}

/// The group of a request when it began, and the stage of the canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// As in [`Canary`](super::Canary).
    pub stage: u32,
    /// The group.
    pub group: Group,
    /// The cell of its client: clients of one cell are counted together.
    pub cell: u8,
}

/// The current share and stage in one atomic, read for each request.
#[derive(Debug, Default)]
pub struct Split(AtomicU64);

impl Split {
    /// From now on the lowest `percent` hundredths are in the canary. Their tuning must be published before.
    pub fn set(&self, stage: u32, percent: Percent) {
        let packed = match percent {
            Percent::NONE => 0,
            percent => u64::from(stage) << 8 | u64::from(percent.get()),
        };
        self.0.store(packed, Release);
    }

    /// The running stage; 0 if no canary runs.
    pub fn stage(&self) -> u32 {
        (self.0.load(Acquire) >> 8) as u32
    }

    /// The group of a client at this moment.
    pub fn group(&self, bucket: Bucket) -> Group {
        let percent = self.0.load(Acquire) as u8;
        if bucket.hundredth < percent {
            Group::Candidate
        } else {
            Group::Stable
        }
    }

    /// The membership of a request that begins now; none while no canary runs.
    pub fn membership(&self, bucket: Bucket) -> Option<Membership> {
        let packed = self.0.load(Acquire);
        let group = if bucket.hundredth < packed as u8 {
            Group::Candidate
        } else {
            Group::Stable
        };
        (packed != 0).then_some(Membership {
            stage: (packed >> 8) as u32,
            group,
            cell: bucket.cell,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn percent(n: i64) -> Percent {
        Percent::try_from(n).unwrap()
    }

    fn v4(n: u32) -> Bucket {
        Bucket::of(Ipv4Addr::from_bits(n).into())
    }

    #[test]
    fn the_bucket_of_an_address_never_changes() {
        for (address, hundredth, cell) in [
            ("127.0.0.1", 40, 25),
            ("192.0.2.7", 36, 10),
            ("203.0.113.255", 6, 22),
            ("2001:db8::1", 50, 20),
        ] {
            let bucket = Bucket::of(address.parse().unwrap());
            assert_eq!(
                (bucket.hundredth, bucket.cell),
                (hundredth, cell),
                "{address}"
            );
        }
    }

    #[test]
    fn a_host_keeps_its_bucket_when_it_changes_its_half_of_the_address() {
        let of = |text: &str| Bucket::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:1:2:3"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
    }

    #[test]
    fn each_share_has_its_share_of_neighbouring_addresses() {
        for network in [0x0a00_0000, 0xc0a8_0100, 0x7f00_0000] {
            for share in [1, 10, 50, 99] {
                let split = Split::default();
                split.set(1, percent(share));
                let taken = (0..65_536)
                    .filter(|n| split.group(v4(network + n)) == Group::Candidate)
                    .count();
                let seen = taken as f64 / 65_536.0;
                assert!((seen - share as f64 / 100.0).abs() < 0.01, "{share} {seen}");
            }
        }
        let split = Split::default();
        split.set(1, percent(10));
        let taken = (0..10_000u128)
            .map(|n| Ipv6Addr::from_bits(0x2001_0db8 << 96 | n << 64))
            .filter(|v6| split.group(Bucket::of((*v6).into())) == Group::Candidate)
            .count();
        assert!((900..1100).contains(&taken), "{taken}");
    }

    #[test]
    fn a_larger_share_keeps_whom_a_smaller_one_had() {
        let (ten, fifty) = (Split::default(), Split::default());
        ten.set(1, percent(10));
        fifty.set(2, percent(50));
        for n in 0..10_000 {
            if ten.group(v4(n)) == Group::Candidate {
                assert_eq!(fifty.group(v4(n)), Group::Candidate);
            }
        }
    }

    #[test]
    fn a_shared_connection_and_an_ended_canary_have_nobody() {
        let split = Split::default();
        assert_eq!(split.membership(v4(1)), None);
        split.set(7, percent(99));
        assert_eq!(split.stage(), 7);
        assert_eq!(split.group(Bucket::SHARED), Group::Stable);
        split.set(7, Percent::NONE);
        assert_eq!((split.stage(), split.membership(v4(1))), (0, None));
    }
}
