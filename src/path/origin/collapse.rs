//! One fetch for all who wait for the same: collapsed requests (RFC 9111 §4).
//!
//! Where exchanges queue, requests for one target wait side by side. The first of them leads; whoever comes while it
//! waits for its turn joins it, and gets what it gets. Nobody joins a request that has gone out already: no answer is
//! older than the request it answers, and nothing is kept, so this is no cache.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use actix_http::header::{self, HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::shareable::{members, tells_so};

/// Fields that make a request one of a kind: who sends them does not get what somebody else gets.
const OF_ITS_OWN: [HeaderName; 8] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

/// Fields that may differ where an answer does not say whom it is for. They tell who made the request and which way it
/// took, not what is asked for; what a client says of its way is not passed on as it came (`headers`).
const OF_NO_MATTER: [&str; 9] = [
    "user-agent",
    "x-request-id",
    "traceparent",
    "tracestate",
    "via",
    "forwarded",
    "x-forwarded-for",
    "priority",
    "date",
];

/// Directories of which it is remembered that their answers are for all: a power of two.
const PLACES: usize = 4096;

/// The requests that wait for their turn and may be joined, over the whole process.
#[derive(Debug)]
pub struct Collapse {
    /// A std mutex: held for a few instructions, and only by requests that have to wait anyway.
    leads: Mutex<HashMap<Key, Vec<Follower>>>,
    /// Directories whose last answer said that it is for all, as hashes: who asks for something there waits with everybody
    /// else who does. Two directories that share a place forget each other. A wrong guess costs a wait, no more.
    for_all: Box<[AtomicU64]>,
    hasher: RandomState,
}

impl Default for Collapse {
    fn default() -> Self {
        Collapse {
            leads: Mutex::default(),
            for_all: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
        }
    }
}

type Follower = oneshot::Sender<Option<Arc<Whole>>>;

/// Fields that tell what is asked for beside the target: the client's own Host and scheme, whatever Host the origin
/// sees, for they are part of what a client asks for (RFC 9111 §2); and what it can decode.
const ASKED_FOR: [HeaderName; 4] = [
    header::HOST,
    header::X_FORWARDED_HOST,
    header::X_FORWARDED_PROTO,
    header::ACCEPT_ENCODING,
];

/// What is asked for: requests of different keys never share an answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    target: Box<[u8]>,
    fields: [Box<[HeaderValue]>; 4],
    /// All other fields, unless the directory's answers are known to be for all.
    others: Others,
}

/// The fields that may matter to the origin beside those that tell what is asked for, by their names.
type Others = Vec<(HeaderName, HeaderValue)>;

fn others(fields: &HeaderMap) -> Others {
    let mut others: Others = fields
        .iter()
        .filter(|(name, _)| !OF_NO_MATTER.contains(&name.as_str()) && !ASKED_FOR.contains(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    // Stable: repeated fields keep their order, which has a meaning.
    others.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
    others
}

/// A request's place among those for the same.
#[derive(Debug)]
pub enum Place {
    /// It goes to the origin, for all who join it.
    Lead(Lead),
    /// It waits for what the leading one gets.
    Follow(Answer),
}

/// What a leading request gets: `None` where it cannot be shared, an error where the request was given up before it
/// went out.
pub type Answer = oneshot::Receiver<Option<Arc<Whole>>>;

/// A request that may be joined while it waits. Dropped, it was given up: those who joined it begin anew.
#[derive(Debug)]
pub struct Lead {
    collapse: Arc<Collapse>,
    key: Option<Key>,
}

/// Those who joined a request that goes out now. Dropped without an answer, each of them goes by itself.
#[derive(Debug, Default)]
pub struct Joined {
    followers: Vec<Follower>,
    /// Whether it could be joined at all.
    led: bool,
}

/// An answer, all of it, and the request that it was given to.
#[derive(Debug)]
pub struct Whole {
    /// The fields of the request that went out.
    asked: HeaderMap,
    /// The fields of the response, as they came.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Key {
    /// What a GET for `target` with these fields asks for; none if nobody may share its answer.
    pub fn of(target: &str, fields: &HeaderMap) -> Option<Self> {
        if OF_ITS_OWN.iter().any(|name| fields.contains_key(name)) {
            return None;
        }
        Some(Key {
            target: target.as_bytes().into(),
            fields: ASKED_FOR.map(|name| fields.get_all(name).cloned().collect()),
            others: others(fields),
        })
    }
}

impl Collapse {
    /// A place among those that wait for the same.
    pub fn join(self: &Arc<Self>, mut key: Key) -> Place {
        let directory = self.directory(&key.target);
        if self.place(directory).load(Relaxed) == directory {
            key.others.clear();
        }
        let mut leads = self.leads();
        if let Some(followers) = leads.get_mut(&key) {
            let (sender, answer) = oneshot::channel();
            followers.push(sender);
            return Place::Follow(answer);
        }
        leads.insert(key.clone(), Vec::new());
        Place::Lead(Lead {
            collapse: Arc::clone(self),
            key: Some(key),
        })
    }

    /// What the directory of a target is remembered by.
    pub fn directory(&self, target: &[u8]) -> u64 {
        let path = target.split(|&b| b == b'?').next().unwrap_or_default();
        let slash = path.iter().rposition(|&b| b == b'/').unwrap_or_default();
        self.hasher.hash_one(&path[..slash]) | 1
    }

    /// An answer in this directory is for all, or does not say so.
    pub fn learn(&self, directory: u64, is_for_all: bool) {
        let place = self.place(directory);
        if is_for_all {
            place.store(directory, Relaxed);
        } else {
            // Only its own: what was learned of another one stays.
            _ = place.compare_exchange(directory, 0, Relaxed, Relaxed);
        }
    }

    fn place(&self, directory: u64) -> &AtomicU64 {
        &self.for_all[(directory >> 1) as usize % PLACES]
    }

    fn leads(&self) -> MutexGuard<'_, HashMap<Key, Vec<Follower>>> {
        self.leads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead {
    /// The request goes out now: nobody joins it any more.
    pub fn close(mut self) -> Joined {
        Joined {
            followers: self.take(),
            led: true,
        }
    }

    fn take(&mut self) -> Vec<Follower> {
        let key = self.key.take();
        let followers = key.and_then(|key| self.collapse.leads().remove(&key));
        followers.unwrap_or_default()
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl Joined {
    /// Whether anybody joined who still waits.
    pub fn is_empty(&self) -> bool {
        self.followers.iter().all(Follower::is_closed)
    }

    /// Whether it could be joined, so that its answer is worth learning from.
    pub fn led(&self) -> bool {
        self.led
    }

    /// Gives all of them this answer.
    pub fn answer(mut self, whole: Whole) {
        let whole = Arc::new(whole);
        for follower in self.followers.drain(..) {
            // One that left needs none.
            _ = follower.send(Some(Arc::clone(&whole)));
        }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        for follower in self.followers.drain(..) {
            _ = follower.send(None);
        }
    }
}

impl Whole {
    /// The answer to a request with the fields `asked`.
    pub fn new(asked: HeaderMap, headers: HeaderMap, body: Bytes) -> Self {
        Whole {
            asked,
            headers,
            body,
        }
    }

    /// Whether it may be given to a request with these fields: those that Vary names are the same (RFC 9111 §4.1), and
    /// unless it says that it is for all, so is every other field that may matter.
    pub fn answers(&self, fields: &HeaderMap) -> bool {
        if !tells_so(&self.headers) && others(&self.asked) != others(fields) {
            return false;
        }
        members(&self.headers, header::VARY).all(|name| {
            // What is no field's name tells nothing: then nobody has the same.
            HeaderName::from_bytes(name)
                .is_ok_and(|name| self.asked.get_all(&name).eq(fields.get_all(&name)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        fields
    }

    fn key() -> Key {
        Key::of("/a", &HeaderMap::new()).unwrap()
    }

    fn whole() -> Whole {
        Whole::new(HeaderMap::new(), HeaderMap::new(), Bytes::from_static(b"a"))
    }

    fn lead(collapse: &Arc<Collapse>) -> Lead {
        match collapse.join(key()) {
            Place::Lead(lead) => lead,
            Place::Follow(_) => panic!("somebody leads already"),
        }
    }

    fn follow(collapse: &Arc<Collapse>) -> Answer {
        match collapse.join(key()) {
            Place::Lead(_) => panic!("nobody leads"),
            Place::Follow(answer) => answer,
        }
    }

    #[test]
    fn who_joins_before_it_goes_out_gets_its_answer_and_nobody_later() {
        let collapse = Arc::new(Collapse::default());
        let first = lead(&collapse);
        let mut answers = [follow(&collapse), follow(&collapse)];
        let joined = first.close();
        let later = lead(&collapse);
        joined.answer(whole());
        for answer in &mut answers {
            assert_eq!(answer.try_recv().unwrap().unwrap().body, "a");
        }
        drop(later);
        assert!(collapse.leads().is_empty());
    }

    #[test]
    fn who_joined_a_request_that_was_given_up_begins_anew() {
        let collapse = Arc::new(Collapse::default());
        let first = lead(&collapse);
        let mut answer = follow(&collapse);
        drop(first);
        assert_eq!(
            answer.try_recv().unwrap_err(),
            oneshot::error::TryRecvError::Closed
        );
        drop(lead(&collapse));
    }

    #[test]
    fn what_cannot_be_shared_sends_each_on_its_own_way() {
        let collapse = Arc::new(Collapse::default());
        let first = lead(&collapse);
        let mut answer = follow(&collapse);
        let joined = first.close();
        assert!(!joined.is_empty());
        drop(joined);
        assert!(answer.try_recv().unwrap().is_none());
    }

    #[test]
    fn nobody_is_waited_for_who_left() {
        let collapse = Arc::new(Collapse::default());
        let first = lead(&collapse);
        drop(follow(&collapse));
        assert!(first.close().is_empty());
    }

    #[test]
    fn another_target_host_or_coding_is_another_request() {
        let plain = key();
        assert_ne!(Key::of("/b", &HeaderMap::new()), Some(plain.clone()));
        for own in [
            ("host", "b"),
            ("x-forwarded-host", "b"),
            ("x-forwarded-proto", "https"),
            ("accept-encoding", "gzip"),
        ] {
            assert_ne!(Key::of("/a", &fields(&[own])), Some(plain.clone()));
        }
        let first = ("accept-encoding", "identity");
        assert_ne!(
            Key::of("/a", &fields(&[first])),
            Key::of("/a", &fields(&[first, ("accept-encoding", "gzip")]))
        );
        for own in ["x-api-key", "origin", "accept-language", "x-whatever"] {
            assert_ne!(Key::of("/a", &fields(&[(own, "b")])), Some(plain.clone()));
        }
        for same in OF_NO_MATTER {
            assert_eq!(Key::of("/a", &fields(&[(same, "b")])), Some(plain.clone()));
        }
    }

    #[test]
    fn a_request_with_credentials_a_range_or_a_condition_is_its_own() {
        for own in [
            ("authorization", "Basic eA=="),
            ("cookie", "a=b"),
            ("range", "bytes=0-1"),
            ("if-none-match", "\"a\""),
        ] {
            assert_eq!(Key::of("/a", &fields(&[own])), None, "{own:?}");
        }
    }

    #[test]
    fn who_asks_for_what_is_known_to_be_for_all_joins_everybody_who_does() {
        let collapse = Arc::new(Collapse::default());
        let with_key = || Key::of("/a", &fields(&[("x-api-key", "b")])).unwrap();
        let lead = lead(&collapse);
        assert!(matches!(collapse.join(with_key()), Place::Lead(_)));
        let directory = collapse.directory(b"/b?c=/d/e");
        collapse.learn(collapse.directory(b"/b/a"), true);
        assert!(matches!(collapse.join(with_key()), Place::Lead(_)));
        collapse.learn(directory, true);
        assert!(matches!(collapse.join(with_key()), Place::Follow(_)));
        collapse.learn(directory, false);
        assert!(matches!(collapse.join(with_key()), Place::Lead(_)));
        drop(lead);
    }

    #[test]
    fn an_answer_that_does_not_say_so_is_for_nobody_who_sends_other_fields() {
        let asked = fields(&[("x-api-key", "a"), ("user-agent", "a")]);
        let to = |answer: &[(&'static str, &'static str)],
                  other: &[(&'static str, &'static str)]| {
            Whole::new(asked.clone(), fields(answer), Bytes::new()).answers(&fields(other))
        };
        for silent in [
            &[][..],
            &[("etag", "\"a\"")],
            &[("cache-control", "must-revalidate")],
        ] {
            assert!(to(silent, &[("user-agent", "b"), ("x-api-key", "a")]));
            assert!(!to(silent, &[("x-api-key", "b")]));
            assert!(!to(silent, &[]));
            assert!(!to(silent, &[("x-api-key", "a"), ("x-api-key", "a")]));
        }
        for for_all in [
            ("cache-control", "public"),
            ("cache-control", "s-maxage=1"),
            ("cache-control", "max-age=10"),
            ("cdn-cache-control", "max-age=10"),
            ("expires", "Fri, 19 Nov 2399 08:52:00 GMT"),
        ] {
            assert!(to(&[for_all], &[]), "{for_all:?}");
            assert!(!to(&[for_all, ("vary", "X-Api-Key")], &[]), "{for_all:?}");
        }
    }

    #[test]
    fn vary_tells_for_whom_it_is() {
        let asked = fields(&[("accept", "image/webp"), ("user-agent", "a")]);
        let whole = Whole::new(
            asked.clone(),
            fields(&[
                ("vary", "Accept, Accept-Language"),
                ("cache-control", "public"),
            ]),
            Bytes::new(),
        );
        assert!(whole.answers(&asked));
        assert!(whole.answers(&fields(&[("accept", "image/webp"), ("user-agent", "b")])));
        assert!(!whole.answers(&fields(&[("accept", "image/png")])));
        assert!(!whole.answers(&fields(&[
            ("accept", "image/webp"),
            ("accept-language", "de")
        ])));
        let nonsense = Whole::new(
            asked.clone(),
            fields(&[
                ("vary", "accept accept-language"),
                ("cache-control", "public"),
            ]),
            Bytes::new(),
        );
        assert!(!nonsense.answers(&asked));
    }
}
