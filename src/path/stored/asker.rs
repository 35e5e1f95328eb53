//! Requests something from the origin that may be stored: for a client, and ahead of clients for segments of HLS streams. The
//! response becomes an object for all clients that want it meanwhile, or belongs to one client.

use std::{
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
    time::{Duration, Instant},
};

use actix_http::{
    Method, StatusCode,
    header::{self, HeaderMap, HeaderName},
};
use tokio::sync::oneshot;

use super::{fetcher::Fetcher, fill};
use crate::{
    path::{
        client::Client,
        error::ProxyError,
        framing::Framing,
        headers::{self, FORWARDED_HOST, FORWARDED_PROTO, REQUEST_ID},
        origin::{Fetched, body::OriginBody},
        range::ContentRange,
    },
    store::{
        Store,
        condition::{self, Stored},
        directives::RequestDirectives,
        freshness::{self, Asked, Exchanged, Freshness},
        head::Head,
        key::Key,
        object::Object,
        object_fill::Fill,
        object_reader::Reader,
        place::{Ask, Place},
        variant::Variant,
        version::Version,
    },
    traffic::quality::Class,
};

/// Request fields that make some origins answer a different request. A request with one of them is not shared: its response must
/// not reach other clients of the target.
const OVERRIDES: [&str; 8] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
    "x-original-host",
    "x-host",
    "x-http-host-override",
];

/// The result of asking the origin.
pub enum Got {
    /// An object for all clients, and the time to the origin's head. The fill continues while this reader is held.
    Object(Reader, Option<Duration>),
    /// The stored object is still valid (304); with the time to the origin's head.
    Same(Option<Duration>),
    /// A response for this client only.
    Own(Box<Fetched>),
}

/// Receives the result; an error means that the request was given up.
pub type Asking = oneshot::Receiver<Result<Got, ProxyError>>;

/// One request to the origin whose response may be stored.
pub struct Asker {
    /// Where it is stored.
    pub store: Arc<Store>,
    /// Under which key.
    pub key: Key,
    /// The client's cache directives.
    pub directives: RequestDirectives,
    /// Makes the request to the origin.
    pub fetcher: Rc<Fetcher>,
}

impl Asker {
    /// For the request of `fetcher`; none if it cannot be stored or answered from the store: its host is invalid, or it has
    /// no-store or a field of [`OVERRIDES`].
    pub fn of(store: &Arc<Store>, fetcher: Rc<Fetcher>) -> Option<Rc<Self>> {
        let fields = &fetcher.fields;
        let directives = RequestDirectives::of(fields);
        let is_override = |name: &HeaderName| OVERRIDES.contains(&name.as_str());
        if directives.no_store || fields.keys().any(is_override) {
            return None;
        }
        let key = key_of(store, fields, fetcher.target.as_str())?;
        Some(Rc::new(Asker {
            store: Arc::clone(store),
            key,
            directives,
            fetcher,
        }))
    }

    /// How to answer it, by what is known in memory.
    pub fn place(&self, now: Instant) -> Place {
        let (fields, ignored) = (&self.fetcher.fields, &self.store.ignored);
        Place::of(&self.store.shelf, &self.key, fields, ignored, now)
    }

    /// Requests it from the origin, in a task that continues if the client leaves. `known`: the object to validate. `informed`
    /// receives interim responses. `ahead`: set for a prefetch, and to be flagged once a client asks for it.
    pub fn ask(
        self: &Rc<Self>,
        ask: Ask,
        extra: HeaderMap,
        known: Option<Arc<Object>>,
        informed: Option<Rc<Client>>,
        ahead: Option<Arc<AtomicBool>>,
    ) -> Asking {
        let (sender, asking) = oneshot::channel();
        let this = Rc::clone(self);
        actix_rt::spawn(async move {
            let (store, fetcher, directives) = (&this.store, &this.fetcher, &this.directives);
            let fetched = fetcher.get(&extra, informed).await;
            let (fetched, exchanged) = match fetched {
                Ok(fetched) => fetched,
                Err(error) => {
                    if let Some(known) = &known {
                        known.failed(Instant::now());
                    }
                    // Requests that wait for this one are sent separately.
                    ask.refuse(Duration::ZERO, Instant::now());
                    _ = sender.send(Err(error));
                    return;
                }
            };
            let ttfb = Some(fetched.ttfb);
            if let Some(known) = &known {
                if fetched.status == StatusCode::NOT_MODIFIED {
                    if let Some(head) = validated(store, known, &fetched, directives, exchanged) {
                        known.set_head(head);
                        ask.answer(known);
                        _ = sender.send(Ok(Got::Same(ttfb)));
                        return;
                    }
                } else if is_failure(fetched.status) {
                    known.failed(Instant::now());
                }
            }
            if fetched.status == StatusCode::NOT_MODIFIED {
                // The response to the client's own condition does not apply to others.
                drop(ask);
                _ = sender.send(Ok(Got::Own(Box::new(fetched))));
                return;
            }
            match keep(store, &ask, fetcher, &fetched, directives, exchanged) {
                Some((object, part)) => {
                    if let Some(used) = ahead {
                        object.is_ahead(used);
                    }
                    let fill = Fill::of(&object, part);
                    fill.iter().for_each(Fill::confirm);
                    let reader = Reader::of(&object, 0);
                    ask.answer(&object);
                    _ = sender.send(Ok(Got::Object(reader, ttfb)));
                    if let Some(fill) = fill {
                        let body = OriginBody::One(fetched.source);
                        fill::run(store, fill, body, 0, fetcher).await;
                        this.playlist_may_be_here(&object);
                    }
                }
                None => {
                    let lasting = match is_failure(fetched.status) {
                        true => Duration::ZERO,
                        false => store.settings.private_for,
                    };
                    ask.refuse(lasting, Instant::now());
                    _ = sender.send(Ok(Got::Own(Box::new(fetched))));
                }
            }
        });
        asking
    }

    /// If a complete body is a playlist, its segments are remembered. Of a live playlist the newest segment is prefetched.
    fn playlist_may_be_here(&self, object: &Object) {
        let Some(playlist) = object.bound_by_playlist() else {
            return;
        };
        if self.store.settings.prefetch == 0 {
            return;
        }
        let segments = playlist.segments.iter();
        let segments: Vec<_> = segments.filter_map(|uri| self.key.beside(uri)).collect();
        let newest = segments.last().cloned().filter(|_| !playlist.ended);
        self.store.segments.learn(&self.key, segments);
        if let Some(newest) = newest {
            self.fetch_ahead(&newest);
        }
    }

    /// A client got this: if it is a segment of a known playlist, the next ones are prefetched. Returns whether there are any.
    pub fn fetch_next(&self) -> bool {
        let most = match self.class() {
            Class::Good => self.store.settings.prefetch,
            Class::Medium => self.store.settings.prefetch.min(2),
            Class::Poor | Class::VeryPoor => self.store.settings.prefetch.min(1),
        };
        if most == 0 {
            return false;
        }
        let next = self.store.segments.behind(&self.key, most);
        next.iter().for_each(|next| self.fetch_ahead(next));
        !next.is_empty()
    }

    fn class(&self) -> Class {
        let fetcher = &self.fetcher;
        fetcher
            .origin
            .state()
            .tuning_for(fetcher.bucket)
            .load()
            .class
    }

    /// Prefetches something unless it is stored or being fetched. Only with slots that are to spare, and only if responses of the
    /// same directory are known to be public: a one-time link is never used up.
    fn fetch_ahead(&self, key: &Key) {
        if !self.store.shelf.is_shared(key) {
            return;
        }
        let Ok(target) = key.target().parse() else {
            return;
        };
        let Some(asker) = Asker::of(&self.store, Rc::new(self.fetcher.spare(target))) else {
            return;
        };
        let now = Instant::now();
        let Place::Ask(ask) = asker.place(now) else {
            return;
        };
        // One at a time on a poor line: more would take capacity from waiting clients.
        let at_once = match self.class() {
            Class::Good | Class::Medium => 4,
            Class::Poor | Class::VeryPoor => 1,
        };
        let Some(ahead) = self.store.prefetch.begin(at_once, now) else {
            return;
        };
        actix_rt::spawn(async move {
            let used = Some(Arc::clone(&ahead.used));
            let asking = asker.ask(ask, HeaderMap::new(), None, None, used);
            if let Ok(Ok(Got::Object(reader, _))) = asking.await {
                let object = Arc::clone(reader.object());
                // Without a reader, its fill has the lowest priority.
                drop(reader);
                object.settled().await;
            }
        });
    }
}

/// The store key for a request with these fields (as sent to the origin); none if its host is invalid.
pub fn key_of(store: &Store, fields: &HeaderMap, target: &str) -> Option<Key> {
    let host = fields.get(&FORWARDED_HOST)?.to_str().ok()?;
    let secure = fields.get(&FORWARDED_PROTO)?.as_bytes() == b"https";
    Some(Key::new(&store.group, secure, host, target))
}

/// Whether a status means that the origin failed (RFC 5861 §4).
pub fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// The conditional fields that validate a stored response.
pub fn condition(head: &Head) -> HeaderMap {
    let mut condition = HeaderMap::new();
    if let Some(tag) = head.fields.get(header::ETAG) {
        condition.insert(header::IF_NONE_MATCH, tag.clone());
    }
    if let Some(modified) = head.fields.get(header::LAST_MODIFIED) {
        condition.insert(header::IF_MODIFIED_SINCE, modified.clone());
    }
    condition
}

/// The head of an object that a 304 validated; none if it may no longer be stored, or is another version.
fn validated(
    store: &Store,
    known: &Object,
    fetched: &Fetched,
    directives: &RequestDirectives,
    exchanged: Exchanged,
) -> Option<Head> {
    let head = known.head();
    let mut fields = head.fields.clone();
    let mut news = fetched.headers.clone();
    plain(&mut news);
    let is_other = match &known.version {
        Some(version) => version.validator.contradicts(&news),
        None => {
            let tag = news.get(header::ETAG);
            tag.is_some() && tag != fields.get(header::ETAG)
        }
    };
    if is_other {
        return None;
    }
    freshness::update(&mut fields, &news);
    let asked = Asked {
        method: &Method::GET,
        credentials: false,
        directives,
    };
    let freshness = Freshness::of(asked, head.status, &fields, exchanged, &store.rules).ok()?;
    Some(Head {
        status: head.status,
        fields,
        freshness,
        validated: exchanged.answered,
    })
}

/// A new object for a response, and the range that the response brings; none if it is not shareable, or there is no room.
fn keep(
    store: &Store,
    ask: &Ask,
    fetcher: &Fetcher,
    fetched: &Fetched,
    directives: &RequestDirectives,
    exchanged: Exchanged,
) -> Option<(Arc<Object>, std::ops::Range<u64>)> {
    // A body that ends with its connection may be truncated without notice.
    let has_end = matches!(fetched.framing, Framing::Length(_) | Framing::Chunked);
    if fetched.switched.is_some() || !has_end {
        return None;
    }
    let asked = Asked {
        method: &Method::GET,
        credentials: fetcher.fields.contains_key(header::AUTHORIZATION),
        directives,
    };
    let (status, part, length) = match (fetched.status, fetched.framing) {
        (StatusCode::PARTIAL_CONTENT, framing) => {
            let range = ContentRange::parse(fetched.headers.get(header::CONTENT_RANGE)?)?;
            let part = range.first..range.last + 1;
            let complete = range.complete?;
            let whole = Stored {
                fields: &fetched.headers,
                length: Some(complete),
            };
            // An inconsistent response, or one for another range, is passed on but not stored.
            let told = framing == Framing::Length(part.end - part.start)
                && whole.answer(&fetcher.fields) == condition::Answer::Part(part.clone());
            (StatusCode::OK, part, Some(complete).filter(|_| told))
        }
        (status, Framing::Length(length)) => (status, 0..length, Some(length)),
        (status, _) => (status, 0..u64::MAX, None),
    };
    let mut fields = fetched.headers.clone();
    plain(&mut fields);
    let freshness = Freshness::of(asked, status, &fields, exchanged, &store.rules).ok()?;
    let version = length.and_then(|length| Version::of(&fields, length));
    // Without a validator only a complete body is certain to be one version.
    if fetched.status == StatusCode::PARTIAL_CONTENT && version.is_none() {
        return None;
    }
    fields.remove(header::CONTENT_RANGE);
    let variant = Variant::of(
        &fetcher.fields,
        &fields,
        freshness.is_for_all(),
        &store.ignored,
    );
    let head = Head {
        status,
        fields,
        freshness,
        validated: exchanged.answered,
    };
    let room = store.shelf.room(Object::cost(ask.key(), &variant, &head))?;
    let object = Object::new(ask.key().clone(), variant, version, head, length, room);
    Some((object, part))
}

/// Removes hop-by-hop fields and those of one request.
fn plain(fields: &mut HeaderMap) {
    headers::to_client_early(fields);
    fields.remove(&REQUEST_ID);
}
