//! Which targets take it that a body is asked for in parts, as far as that was seen lately.
//!
//! A link may be signed and expire, be good for so many downloads, or lie at a server that counts requests. Whatever
//! refuses a part says something of its like: the same path with another query, then the same directory.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// What is remembered at most: a power of two. Two that share a place forget each other.
const PLACES: usize = 8 * 1024;
/// How long a refusal or a proof counts.
const MEMORY: Duration = Duration::from_secs(3600);
/// How long a target that turns requests away with no parts under way is taken to do so whatever else goes on.
const TURNS_AWAY: Duration = Duration::from_secs(60);

/// A target, as far as others are like it.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    host: &'a [u8],
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// `path_and_query` at `host`.
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

    /// Whether the query looks as if it were itself the permission: signed, expiring, or a token. Who holds such a link
    /// may have it for a few requests only. Taken for one by mistake, a body comes over one connection.
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

/// Parts of the names that signatures, keys and expiries go by at the well-known services.
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
/// Whole names.
const NAMES: [&str; 9] = ["e", "st", "se", "sp", "exp", "ttl", "sid", "code", "otp"];

fn names_permission(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    NAMES.contains(&name.as_str()) || WORDS.iter().any(|word| name.contains(word))
}

/// Letters and digits mixed, 16 or more of them: a digest or a random id.
fn looks_random(value: &str) -> bool {
    let of_one = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~%+/=".contains(&byte);
    value.len() >= 16
        && value.bytes().all(of_one)
        && value.bytes().any(|byte| byte.is_ascii_digit())
        && value.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// Seconds or milliseconds since 1970.
fn looks_like_a_time(value: &str) -> bool {
    matches!(value.len(), 10 | 13) && value.bytes().all(|byte| byte.is_ascii_digit())
}

/// How many requests a body may have beside its first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// None: parts were refused here, or the link may not be good for more than one request.
    Nothing,
    /// One at a time: a part was refused nearby.
    One,
    /// One, and one more for each that is given: nothing is known.
    Cautious,
    /// As many as bring more.
    Usual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Unknown = 0,
    Proven = 1,
    Doubted = 2,
    Refused = 3,
}

/// What was seen lately. Shared by all workers.
#[derive(Debug)]
pub struct Tolerance {
    hasher: RandomState,
    begun: Instant,
    /// The upper half of a key's hash, seconds since `begun`, and a [`Verdict`] in the last two bits. Zero: nothing.
    places: Box<[AtomicU64]>,
}

impl Tolerance {
    /// Nothing was seen yet.
    pub fn new(now: Instant) -> Self {
        Tolerance {
            hasher: RandomState::new(),
            begun: now,
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// What a body of `target` may be asked for beside its first response.
    pub fn allowance(&self, target: &Target<'_>, now: Instant) -> Allowance {
        let (path, directory) = (self.of_path(target, now), self.of_directory(target, now));
        match (path, directory) {
            (Verdict::Refused, _) | (_, Verdict::Refused) => Allowance::Nothing,
            (Verdict::Proven, _) => Allowance::Usual,
            _ if target.is_permission() => Allowance::Nothing,
            (_, Verdict::Doubted) => Allowance::One,
            (_, Verdict::Proven) => Allowance::Usual,
            _ => Allowance::Cautious,
        }
    }

    /// A part was refused: none for its path, fewer for its directory; none there once a second path does so.
    pub fn refused(&self, target: &Target<'_>, now: Instant) {
        let before = self.of_directory(target, now);
        let directory = match before {
            Verdict::Unknown | Verdict::Proven => Verdict::Doubted,
            // The same body's other parts, or another client's of the same path, say nothing new.
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

    /// Several parts were given, and none refused.
    pub fn tolerated(&self, target: &Target<'_>, now: Instant) {
        if self.of_path(target, now) != Verdict::Refused {
            self.keep(("path", target.host, target.path), Verdict::Proven, now);
        }
        // What one path of a directory refuses, another one's parts do not take back.
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

    /// The target turned a request away with no parts under way: that is its own.
    pub fn turned_away_by_itself(&self, target: &Target<'_>, now: Instant) {
        self.keep(
            ("turns away", target.host, target.path),
            Verdict::Refused,
            now,
        );
    }

    /// Whether the target lately turned requests away though no parts were under way.
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
