//! One fetch for all who wait for the same: collapsed requests (RFC 9111 §4).
//!
//! Where exchanges queue, requests for one target wait side by side. The first of them leads; whoever comes while it
//! waits for its turn joins it, and gets what it gets. Nobody joins a request that has gone out already: no answer is
//! older than the request it answers, and nothing is kept, so this is no cache.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use actix_http::{
    StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue, HttpDate},
};
use bytes::Bytes;
use tokio::sync::oneshot;

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

/// The requests that wait for their turn and may be joined, over the whole process.
#[derive(Debug, Default)]
pub struct Collapse {
    /// A std mutex: held for a few instructions, and only by requests that have to wait anyway.
    leads: Mutex<HashMap<Key, Vec<Follower>>>,
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
pub struct Joined(Vec<Follower>);

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
        })
    }
}

impl Collapse {
    /// A place among those that wait for the same.
    pub fn join(self: &Arc<Self>, key: Key) -> Place {
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

    fn leads(&self) -> MutexGuard<'_, HashMap<Key, Vec<Follower>>> {
        self.leads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead {
    /// The request goes out now: nobody joins it any more.
    pub fn close(mut self) -> Joined {
        Joined(self.take())
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
        self.0.iter().all(Follower::is_closed)
    }

    /// Gives all of them this answer.
    pub fn answer(mut self, whole: Whole) {
        let whole = Arc::new(whole);
        for follower in self.0.drain(..) {
            // One that left needs none.
            _ = follower.send(Some(Arc::clone(&whole)));
        }
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        for follower in self.0.drain(..) {
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

    /// Whether a request with these fields would have got the same: the fields that Vary names are the same
    /// (RFC 9111 §4.1).
    pub fn answers(&self, fields: &HeaderMap) -> bool {
        members(&self.headers, header::VARY).all(|name| {
            // What is no field's name tells nothing: then nobody has the same.
            HeaderName::from_bytes(name)
                .is_ok_and(|name| self.asked.get_all(&name).eq(fields.get_all(&name)))
        })
    }
}

/// Whether more than one request may be answered by a response with this status and these fields: a plain 200 that is
/// nobody's own (RFC 9111 §3, and without the exceptions made there for answers to credentials).
pub fn may_be_shared(status: StatusCode, headers: &HeaderMap) -> bool {
    let mut has_age = false;
    let forbidden = members(headers, header::CACHE_CONTROL).any(|directive| {
        let (name, value) = match directive.iter().position(|&b| b == b'=') {
            Some(at) => (&directive[..at], &directive[at + 1..]),
            None => (directive, &b""[..]),
        };
        let is = |other: &[u8]| name.trim_ascii().eq_ignore_ascii_case(other);
        let ages = is(b"max-age") || is(b"s-maxage");
        has_age |= ages;
        // `private` and `no-cache` may name fields: then, too, the answer is not for all.
        is(b"no-store") || is(b"private") || is(b"no-cache") || ages && !lasts(value.trim_ascii())
    });
    status == StatusCode::OK
        && !forbidden
        && (has_age || !has_expired(headers))
        && !members(headers, header::PRAGMA).any(|word| word.eq_ignore_ascii_case(b"no-cache"))
        && !headers.contains_key(header::SET_COOKIE)
        && !members(headers, header::VARY).any(|name| name == b"*")
}

/// Whether this is an age over zero. What cannot be read is none (RFC 9111 §4.2.1).
fn lasts(age: &[u8]) -> bool {
    age.iter().all(u8::is_ascii_digit) && age.iter().any(|&b| b != b'0')
}

/// Whether Expires tells that the answer was old when it was made, as a date or as what is none (RFC 9111 §5.3).
fn has_expired(headers: &HeaderMap) -> bool {
    let date = |name| {
        let value = headers.get(name)?.to_str().ok()?;
        value
            .parse()
            .ok()
            .map(|date: HttpDate| SystemTime::from(date))
    };
    let made = date(header::DATE).unwrap_or_else(SystemTime::now);
    headers.contains_key(header::EXPIRES) && date(header::EXPIRES).is_none_or(|then| then <= made)
}

/// The members of a field that is a list (RFC 9110 §5.6.1).
fn members(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(name)
        .flat_map(|value| value.as_bytes().split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
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
        assert_eq!(Key::of("/a", &fields(&[("user-agent", "b")])), Some(plain));
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
    fn an_answer_that_is_somebody_s_own_is_not_shared() {
        for own in [
            ("set-cookie", "a=b"),
            ("vary", "accept, *"),
            ("cache-control", "max-age=60, Private"),
            ("cache-control", "private=\"set-cookie\""),
            ("cache-control", "no-store"),
            ("cache-control", "no-cache"),
            ("cache-control", "s-maxage=0"),
            ("cache-control", "max-age=-1"),
            ("pragma", "no-cache"),
            ("expires", "0"),
            ("expires", "Thu, 19 Nov 1981 08:52:00 GMT"),
        ] {
            assert!(!may_be_shared(StatusCode::OK, &fields(&[own])), "{own:?}");
        }
        for anybody_s in [
            ("etag", "\"a\""),
            ("vary", "accept-encoding"),
            ("cache-control", "public, max-age=60"),
            ("cache-control", "max-age=10"),
            ("expires", "Fri, 19 Nov 2399 08:52:00 GMT"),
        ] {
            assert!(may_be_shared(StatusCode::OK, &fields(&[anybody_s])));
        }
        // max-age is heard before Expires.
        let both = [("cache-control", "max-age=10"), ("expires", "0")];
        assert!(may_be_shared(StatusCode::OK, &fields(&both)));
        assert!(!may_be_shared(StatusCode::NOT_FOUND, &HeaderMap::new()));
        assert!(!may_be_shared(
            StatusCode::PARTIAL_CONTENT,
            &HeaderMap::new()
        ));
    }

    #[test]
    fn vary_tells_for_whom_it_is() {
        let asked = fields(&[("accept", "image/webp"), ("user-agent", "a")]);
        let whole = Whole::new(
            asked.clone(),
            fields(&[("vary", "Accept, Accept-Language")]),
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
            fields(&[("vary", "accept accept-language")]),
            Bytes::new(),
        );
        assert!(!nonsense.answers(&asked));
    }
}
