//! Asks the origin for something that may be kept: for a client, and ahead of clients for segments of HLS streams. What comes is
//! an object for all who ask meanwhile, or one client's own.

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

/// Fields by which some origins answer another request than the one that was made. Who sends one goes by itself: what came of it
/// must reach nobody who asks for the target.
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

/// What came of asking the origin.
pub enum Got {
    /// An object for all, and the time to the origin's head. As long as its reader is held, its fill goes on.
    Object(Reader, Option<Duration>),
    /// The object that is here is still the same.
    Same(Option<Duration>),
    /// A response for this client alone.
    Own(Box<Fetched>),
}

/// The answer, once it is here; an error: nobody asks any more.
pub type Asking = oneshot::Receiver<Result<Got, ProxyError>>;

/// One request to the origin whose answer may be kept.
pub struct Asker {
    /// Where it is kept.
    pub store: Arc<Store>,
    /// By what.
    pub key: Key,
    /// What the client says of caches.
    pub directives: RequestDirectives,
    /// Asks the origin.
    pub fetcher: Rc<Fetcher>,
}

impl Asker {
    /// The request of `fetcher`; none if its answer cannot be kept or come from the store: its host cannot be told, or it keeps to
    /// itself.
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

    /// Who answers it, by what is known in memory.
    pub fn place(&self, now: Instant) -> Place {
        let (fields, ignored) = (&self.fetcher.fields, &self.store.ignored);
        Place::of(&self.store.shelf, &self.key, fields, ignored, now)
    }

    /// Asks the origin, in a task that goes on though the client leaves. `known`: what is validated by it. Who is `informed` gets
    /// interim responses. `ahead`: nobody asked for it yet, and this is to be set once somebody does.
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
                    // Whoever waits goes by itself.
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
                // To a condition of the client's own: others have another one, or none.
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

    /// A body is here: where it is a playlist, what it names is known from now on. Of a live one the newest segment is fetched.
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

    /// A client got this: where it is a segment of a known playlist, the next ones are fetched. Whether there are some.
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

    /// Fetches what nobody waits for, unless it is here or under way. Only out of slots that nobody needs, and only where responses
    /// in the same directory are known to be for all: a link that is good for one download is never used up.
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
        // One at a time where the line is poor: it would take from what clients wait for.
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
                // Read by nobody, its fill has the lowest rank.
                drop(reader);
                object.settled().await;
            }
        });
    }
}

/// What a request with these fields, as the origin sees them, asks for; none if its host cannot be told.
pub fn key_of(store: &Store, fields: &HeaderMap, target: &str) -> Option<Key> {
    let host = fields.get(&FORWARDED_HOST)?.to_str().ok()?;
    let secure = fields.get(&FORWARDED_PROTO)?.as_bytes() == b"https";
    Some(Key::new(&store.group, secure, host, target))
}

/// Whether a status says that the origin fails (RFC 5861 §4).
pub fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// What asks whether a response has changed.
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

/// The head of an object that a 304 validated; none where it may be kept no more, or is of another version.
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

/// An object for a response, and the part of it that the response brings; none where it is not for all, or there is no room.
fn keep(
    store: &Store,
    ask: &Ask,
    fetcher: &Fetcher,
    fetched: &Fetched,
    directives: &RequestDirectives,
    exchanged: Exchanged,
) -> Option<(Arc<Object>, std::ops::Range<u64>)> {
    // What ends where its connection does may have been cut: nobody can tell.
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
            // What contradicts itself, or is not what was asked for, is passed on and not kept.
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
    // Without a validator only a whole body is one response's.
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

/// Takes out what is of one hop, or of one request.
fn plain(fields: &mut HeaderMap) {
    headers::to_client_early(fields);
    fields.remove(&REQUEST_ID);
}
