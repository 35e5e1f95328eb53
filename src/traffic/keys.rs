//! What samples are grouped by, so that errors of one target or one client do not count as the whole origin's.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::LazyLock,
};

/// A random key for each process, so that nobody can construct hash collisions.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The keys of one request: keyed 64-bit hashes, made without allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys([u64; Dimension::ALL.len()]);

/// A property that requests are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Path and query: one file.
    Target,
    /// The path alone: a script or a file, independent of the query.
    Path,
    /// The path up to its last slash, such as one HLS stream with its playlist and segments.
    Directory,
    /// The client's address; for IPv6 its /64 prefix, because hosts change the rest daily (RFC 8981).
    Client,
}

impl Dimension {
    /// Every dimension, the narrowest first.
    pub const ALL: [Dimension; 4] = [
        Dimension::Target,
        Dimension::Path,
        Dimension::Directory,
        Dimension::Client,
    ];
}

/// All requests with the same key in one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// The dimension.
    pub dimension: Dimension,
    /// The hash.
    pub key: u64,
}

impl Keys {
    /// The keys of a client's request for this path and query.
    pub fn of(path: &str, query: Option<&str>, client: IpAddr) -> Self {
        let directory = path.rfind('/').map_or("", |slash| &path[..slash]);
        Keys([
            hash((path, query)),
            hash(path),
            hash(directory),
            hash(network(client)),
        ])
    }

    /// The same target's keys, for another client.
    pub fn of_client(mut self, client: IpAddr) -> Self {
        self.0[Dimension::Client as usize] = hash(network(client));
        self
    }

    /// The request's group in one dimension.
    pub fn group(&self, dimension: Dimension) -> Group {
        Group {
            dimension,
            key: self.0[dimension as usize],
        }
    }

    /// The request's groups in all dimensions.
    pub fn groups(self) -> impl Iterator<Item = Group> {
        Dimension::ALL
            .map(|dimension| self.group(dimension))
            .into_iter()
    }

    /// Whether the request belongs to a group.
    pub fn is_of(&self, group: Group) -> bool {
        self.group(group.dimension) == group
    }
}

/// An address reduced to what identifies a client.
fn network(client: IpAddr) -> u128 {
    match client.to_canonical() {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits() >> 64 << 64,
    }
}

fn hash(what: impl Hash) -> u64 {
    HASHER.hash_one(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(path: &str, query: Option<&str>, client: &str) -> Keys {
        Keys::of(path, query, client.parse().unwrap())
    }

    #[test]
    fn segments_of_one_channel_have_its_directory_in_common() {
        let one = keys("/ch1/1.ts", None, "192.0.2.1");
        let other = keys("/ch1/2.ts", None, "192.0.2.2");
        assert!(other.is_of(one.group(Dimension::Directory)));
        for dimension in [Dimension::Target, Dimension::Path, Dimension::Client] {
            assert!(!other.is_of(one.group(dimension)), "{dimension:?}");
        }
        assert!(!keys("/ch2/1.ts", None, "192.0.2.1").is_of(one.group(Dimension::Directory)));
    }

    #[test]
    fn a_query_makes_another_target_of_the_same_path() {
        let one = keys("/get", Some("id=1"), "::1");
        let other = keys("/get", Some("id=2"), "::1");
        assert!(other.is_of(one.group(Dimension::Path)));
        assert!(!other.is_of(one.group(Dimension::Target)));
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_client() {
        let one = keys("/", None, "2001:db8::1");
        assert!(keys("/", None, "2001:db8::2:1").is_of(one.group(Dimension::Client)));
        assert!(!keys("/", None, "2001:db8:1::1").is_of(one.group(Dimension::Client)));
        let v4 = keys("/", None, "192.0.2.1");
        assert!(keys("/", None, "::ffff:192.0.2.1").is_of(v4.group(Dimension::Client)));
    }
}
