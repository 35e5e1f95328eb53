//! Which targets accept requests for parts of a body, by recent experience.
//!
//! A URL may be signed and expire, be valid for a number of downloads, or belong to a server that counts requests. A refused part
//! says something about similar targets: the same path with another query, then the same directory.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// The most entries; a power of two. Targets with the same hash slot overwrite each other.
const PLACES: usize = 8 * 1024;
/// How long a refusal or a success is remembered.
const MEMORY: Duration = Duration::from_secs(3600);
/// How long a target that refused a request without parts under way counts as one that refuses by itself.
const TURNS_AWAY: Duration = Duration::from_secs(60);

/// A target, with the keys of similar ones.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    host: &'a [u8],
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// For `path_and_query` at `host`.
    pub fn new(host: &'a [u8], path_and_query: &'a str) -> Self {
        let (path, query) = match path_and_query.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path_and_query, None),
        };
        Target { host, path, query }
    }

    fn directory(&self) -> &'a str {
        let end = self.path.rfind('/').map_or(0, |slash| slash + 1);
        &self.path[..end]
    }

    /// Whether the query looks like an access permission: a signature, an expiry or a token. Such a URL may be valid for a few
    /// requests only. A false positive only means that a body is fetched over one connection.
    pub fn is_permission(&self) -> bool {
        let parameters = self
            .query
            .into_iter()
            .flat_map(|query| query.split(['&', ';']));
        parameters
            .filter(|parameter| !parameter.is_empty())
            .any(|parameter| {
                let (name, value) = parameter.split_once('=').unwrap_or((parameter, parameter));
                names_permission(name) || looks_random(value) || looks_like_a_time(value)
            })
    }
}

/// Parts of parameter names that well-known services use for signatures, keys and expiries.
const WORDS: [&str; 20] = [
    "sig",
    "token",
    "expir",
    "key",
    "auth",
    "hmac",
    "hash",
    "md5",
    "sha",
    "policy",
    "credential",
    "ticket",
    "session",
    "secret",
    "pass",
    "nonce",
    "jwt",
    "hdn",
    "valid",
    "permit",
];
/// Complete parameter names.
const NAMES: [&str; 9] = ["e", "st", "se", "sp", "exp", "ttl", "sid", "code", "otp"];

fn names_permission(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    NAMES.contains(&name.as_str()) || WORDS.iter().any(|word| name.contains(word))
}

/// 16 or more mixed letters and digits: a digest or a random id.
fn looks_random(value: &str) -> bool {
    let of_one = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~%+/=".contains(&byte);
    value.len() >= 16
        && value.bytes().all(of_one)
        && value.bytes().any(|byte| byte.is_ascii_digit())
        && value.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// A Unix time in seconds or milliseconds.
fn looks_like_a_time(value: &str) -> bool {
    matches!(value.len(), 10 | 13) && value.bytes().all(|byte| byte.is_ascii_digit())
}

/// How many requests for parts a body may have beside its original response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// None: parts were refused here, or the URL may be valid for one request only.
    Nothing,
    /// One at a time: a part was refused for a similar target.
    One,
    /// One, and one more for each accepted part: nothing is known.
    Cautious,
    /// As many as increase the throughput.
    Usual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Unknown = 0,
    Proven = 1,
    Doubted = 2,
    Refused = 3,
}

/// Recent experience with parts. Shared by all workers.
#[derive(Debug)]
pub struct Tolerance {
    hasher: RandomState,
    begun: Instant,
    /// The upper half of a key's hash, seconds since `begun`, and a [`Verdict`] in the last two bits. Zero: empty.
    places: Box<[AtomicU64]>,
}

impl Tolerance {
    /// Empty.
    pub fn new(now: Instant) -> Self {
        Tolerance {
            hasher: RandomState::new(),
            begun: now,
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// How many parts of `target` may be requested beside its original response.
    pub fn allowance(&self, target: &Target<'_>, now: Instant) -> Allowance {
        let (path, directory) = (self.of_path(target, now), self.of_directory(target, now));
        match (path, directory) {
            (Verdict::Refused, _) | (_, Verdict::Refused) => Allowance::Nothing,
            (Verdict::Proven, _) => Allowance::Usual,
            _ if self.may_be_counted(target, now) => Allowance::Nothing,
            (_, Verdict::Doubted) => Allowance::One,
            (_, Verdict::Proven) => Allowance::Usual,
            _ => Allowance::Cautious,
        }
    }

    /// Whether the target's URL may be valid for so many requests only, so that each one beside a client's own may be one too many.
    pub fn may_be_counted(&self, target: &Target<'_>, now: Instant) -> bool {
        target.is_permission() && self.of_path(target, now) != Verdict::Proven
    }

    /// Records a refused part: none any more for its path, fewer for its directory, and none there once a second path refuses.
    pub fn refused(&self, target: &Target<'_>, now: Instant) {
        let before = self.of_directory(target, now);
        let directory = match before {
            Verdict::Unknown | Verdict::Proven => Verdict::Doubted,
            // Other parts of the same body, or of another client's for the same path, are no new evidence.
            Verdict::Doubted if self.of_path(target, now) == Verdict::Refused => Verdict::Doubted,
            Verdict::Doubted | Verdict::Refused => Verdict::Refused,
        };
        self.keep(("path", target.host, target.path), Verdict::Refused, now);
        self.keep(
            ("directory", target.host, target.directory()),
            directory,
            now,
        );
    }

    /// Records that several parts were accepted and none refused.
    pub fn tolerated(&self, target: &Target<'_>, now: Instant) {
        if self.of_path(target, now) != Verdict::Refused {
            self.keep(("path", target.host, target.path), Verdict::Proven, now);
        }
        // Success of one path does not outweigh another path's refusal in the same directory.
        if matches!(
            self.of_directory(target, now),
            Verdict::Unknown | Verdict::Proven
        ) {
            self.keep(
                ("directory", target.host, target.directory()),
                Verdict::Proven,
                now,
            );
        }
    }

    /// Records that the target refused a request while no parts were under way: parts are not the reason.
    pub fn turned_away_by_itself(&self, target: &Target<'_>, now: Instant) {
        self.keep(
            ("turns away", target.host, target.path),
            Verdict::Refused,
            now,
        );
    }

    /// Whether the target recently refused requests although no parts were under way.
    pub fn turns_away_by_itself(&self, target: &Target<'_>, now: Instant) -> bool {
        let key = ("turns away", target.host, target.path);
        self.kept(key, TURNS_AWAY, now) == Verdict::Refused
    }

    fn of_path(&self, target: &Target<'_>, now: Instant) -> Verdict {
        self.kept(("path", target.host, target.path), MEMORY, now)
    }

    fn of_directory(&self, target: &Target<'_>, now: Instant) -> Verdict {
        self.kept(("directory", target.host, target.directory()), MEMORY, now)
    }

    fn kept(&self, key: impl Hash, memory: Duration, now: Instant) -> Verdict {
        let (place, tag) = self.place(key);
        let kept = place.load(Relaxed);
        let since = u64::from(kept as u32) >> 2;
        if kept >> 32 << 32 != tag || self.seconds(now) > since + memory.as_secs() {
            return Verdict::Unknown;
        }
        match kept & 3 {
            1 => Verdict::Proven,
            2 => Verdict::Doubted,
            3 => Verdict::Refused,
            _ => Verdict::Unknown,
        }
    }

    fn keep(&self, key: impl Hash, verdict: Verdict, now: Instant) {
        let (place, tag) = self.place(key);
        let since = self.seconds(now) & (u64::from(u32::MAX) >> 2);
        place.store(tag | since << 2 | verdict as u64, Relaxed);
    }

    fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.begun).as_secs()
    }

    fn place(&self, key: impl Hash) -> (&AtomicU64, u64) {
        let hash = self.hasher.hash_one(key);
        (&self.places[hash as usize % PLACES], hash >> 32 << 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(target: &str) -> Target<'_> {
        Target::new(b"files.example", target)
    }

    #[test]
    fn what_refuses_a_part_is_asked_for_none_with_any_query_for_an_hour() {
        let now = Instant::now();
        let seen = Tolerance::new(now);
        assert_eq!(seen.allowance(&at("/a/film"), now), Allowance::Cautious);
        seen.refused(&at("/a/film?n=1"), now);
        for target in ["/a/film", "/a/film?n=2"] {
            assert_eq!(seen.allowance(&at(target), now), Allowance::Nothing);
        }
        let later = now + MEMORY + Duration::from_secs(2);
        assert_eq!(seen.allowance(&at("/a/film"), later), Allowance::Cautious);
    }

    #[test]
    fn a_directory_gets_fewer_after_one_refusal_and_none_after_two() {
        let now = Instant::now();
        let seen = Tolerance::new(now);
        for _ in 0..24 {
            seen.refused(&at("/a/one"), now);
        }
        assert_eq!(seen.allowance(&at("/a/other"), now), Allowance::One);
        seen.tolerated(&at("/a/other"), now);
        assert_eq!(seen.allowance(&at("/a/third"), now), Allowance::One);
        seen.refused(&at("/a/two"), now);
        assert_eq!(seen.allowance(&at("/a/third"), now), Allowance::Nothing);
        assert_eq!(seen.allowance(&at("/b/third"), now), Allowance::Cautious);
    }

    #[test]
    fn what_gave_its_parts_is_proven_and_its_directory_too() {
        let now = Instant::now();
        let seen = Tolerance::new(now);
        seen.tolerated(&at("/a/film"), now);
        for target in ["/a/film", "/a/other", "/a/film?signature=x"] {
            assert_eq!(seen.allowance(&at(target), now), Allowance::Usual);
        }
        let signed = at("/a/other?signature=x");
        assert_eq!(seen.allowance(&signed, now), Allowance::Nothing);
        let elsewhere = Target::new(b"another.example", "/a/film");
        assert_eq!(seen.allowance(&elsewhere, now), Allowance::Cautious);
    }

    #[test]
    fn a_query_that_may_be_a_permission_is_seen() {
        for query in [
            "signature=x",
            "X-Amz-Expires=60",
            "Key-Pair-Id=1",
            "a=1&api_key=2",
            "e=1&f=2",
            "id=d41d8cd98f00b204e9800998ecf8427e",
            "d41d8cd98f00b204e9800998ecf8427e",
            "until=1900000000",
            "sv=1;sig=a%2Bb",
        ] {
            assert!(at(&format!("/a?{query}")).is_permission(), "{query}");
        }
        for query in [
            "",
            "v=12",
            "page=2&size=large",
            "name=summer",
            "t=10",
            "start=1000000",
        ] {
            assert!(!at(&format!("/a?{query}")).is_permission(), "{query}");
        }
        assert!(!at("/token/signature").is_permission());
    }

    #[test]
    fn a_target_that_turns_away_by_itself_is_known_for_a_minute() {
        let now = Instant::now();
        let seen = Tolerance::new(now);
        let private = at("/private");
        seen.turned_away_by_itself(&private, now);
        assert!(seen.turns_away_by_itself(&private, now));
        assert!(!seen.turns_away_by_itself(&at("/public"), now));
        assert!(!seen.turns_away_by_itself(&private, now + TURNS_AWAY + Duration::from_secs(2)));
    }
}
