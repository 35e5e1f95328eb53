//! Who answers a GET or HEAD: an object that is here, one that is on its way, or the origin, for this client alone or for all
//! who ask meanwhile.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use actix_http::{
    Method, StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use tokio::{sync::oneshot, time::timeout};

use super::{cache_status::CacheStatus, fetcher::Fetcher, fill, reply::Reply};
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
        counters::Kind,
        directives::RequestDirectives,
        freshness::{self, Asked, Exchanged, Freshness, Use},
        key::Key,
        object::{Fill, Head, Object, Reader, Version},
        shelf::{Ask, Joined, Place},
        variant::Variant,
    },
};

/// A validation that takes so many times the usual is late.
const LATE: u32 = 8;

/// And never before this.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

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

/// How often it is looked how fast a body comes that is waited for.
const LOOK: Duration = Duration::from_secs(1);

/// Who answers.
pub enum Answer {
    /// The store. The time to the origin's head, where this request asked it.
    Store(Box<Reply>, Option<Duration>),
    /// The origin did: its response is this client's own.
    Origin(Box<Fetched>),
    /// The origin is to be asked, by the request as it came.
    Bypass,
}

/// What came of asking the origin.
enum Got {
    /// An object for all, and the time to the origin's head. As long as its reader is held, its fill goes on.
    Object(Reader, Option<Duration>),
    /// The object that is here is still the same.
    Same(Option<Duration>),
    /// A response for this client alone.
    Own(Box<Fetched>),
}

type Asking = oneshot::Receiver<Result<Got, ProxyError>>;

/// One client's request, as the store sees it.
pub struct Front {
    store: Arc<Store>,
    key: Key,
    method: Method,
    directives: RequestDirectives,
    fetcher: Rc<Fetcher>,
    /// Who gets interim responses.
    client: Option<Rc<Client>>,
}

impl Front {
    /// The request; none if it is none that the store could answer: its host cannot be told, or it keeps to itself.
    pub fn of(
        store: &Arc<Store>,
        method: &Method,
        fetcher: Rc<Fetcher>,
        client: Option<Rc<Client>>,
    ) -> Option<Self> {
        let fields = &fetcher.fields;
        let directives = RequestDirectives::of(fields);
        let is_override = |name: &HeaderName| OVERRIDES.contains(&name.as_str());
        if directives.no_store || fields.keys().any(is_override) {
            return None;
        }
        let key = key_of(store, fields, fetcher.target.as_str())?;
        Some(Front {
            store: Arc::clone(store),
            key,
            method: method.clone(),
            directives,
            fetcher,
            client,
        })
    }

    /// Who answers it.
    ///
    /// # Errors
    ///
    /// [`ProxyError`], where the origin was asked and there is no response.
    pub async fn answer(&self, patience: Duration) -> Result<Answer, ProxyError> {
        let fields = &self.fetcher.fields;
        let ignored = &*self.store.ignored;
        // Of what has credentials nothing is kept, and HEAD brings nothing that could be.
        let is_own = fields.contains_key(header::AUTHORIZATION)
            || fields.contains_key(header::COOKIE)
            || self.method != Method::GET;
        loop {
            let place = if is_own {
                let shelf = &self.store.shelf;
                let here = match shelf.get(&self.key, fields, ignored) {
                    None => shelf.recall(&self.key, fields, ignored).await,
                    here => here,
                };
                here.map_or(Place::Alone, Place::Here)
            } else {
                (self.store.shelf).place(&self.key, fields, ignored, Instant::now())
            };
            match place {
                Place::Here(object) => return self.answer_by(object, patience, is_own).await,
                Place::Alone if self.directives.only_if_cached => {
                    return Err(ProxyError::OnlyIfCached);
                }
                Place::Alone => return Ok(self.bypass()),
                Place::Ask(ask) => {
                    if let Some(object) = self.store.shelf.recall(&self.key, fields, ignored).await
                    {
                        let object = ask.recalled(object);
                        return self.answer_by(object, patience, is_own).await;
                    }
                    if self.directives.only_if_cached {
                        return Err(ProxyError::OnlyIfCached);
                    }
                    let asking = self.ask(ask, self.fetcher.conditions(), None, true);
                    return match asking.await {
                        Ok(Ok(Got::Object(reader, ttfb))) => {
                            Ok(self.serve(reader.object(), Kind::Miss, ttfb).await)
                        }
                        Ok(Ok(Got::Own(fetched))) => {
                            self.store.count(Kind::Bypass);
                            Ok(Answer::Origin(fetched))
                        }
                        Ok(Ok(Got::Same(_))) | Err(_) => Ok(self.bypass()),
                        Ok(Err(error)) => Err(error),
                    };
                }
                Place::Join(_) if self.directives.only_if_cached => {
                    return Err(ProxyError::OnlyIfCached);
                }
                Place::Join(joined) => match timeout(patience / 2, joined).await {
                    Ok(Ok(Some(object))) if self.may_have(&object) => {
                        return Ok(self.serve_sure(&object, Kind::Joined, patience).await);
                    }
                    // Its request was given up: whoever looks first goes in its place.
                    Ok(Err(_)) => {}
                    Ok(Ok(_)) | Err(_) => return Ok(self.bypass()),
                },
            }
        }
    }

    /// Whether an object that another request brought while this one waited answers this one.
    fn may_have(&self, object: &Object) -> bool {
        object
            .variant
            .answers(&self.fetcher.fields, &self.store.ignored)
            && !object.head().freshness.is_always_validated()
    }

    fn bypass(&self) -> Answer {
        self.store.count(Kind::Bypass);
        Answer::Bypass
    }

    /// The answer by an object, if it answers this request, and the origin gives what of it is missing; else the origin is asked for
    /// this client alone, as it asked.
    async fn serve(&self, object: &Arc<Object>, kind: Kind, ttfb: Option<Duration>) -> Answer {
        let part = Reply::part(object, &self.method, &self.fetcher.fields);
        // Asked for before the response begins: an origin that has another version by now, or gives no ranges, costs nobody his.
        if object.can_be_resumed()
            && let Some(part) = part
            && let Some(fill) = object.claim(part).await
            && !fill::begin(&self.store, fill, &self.fetcher).await
        {
            return self.bypass();
        }
        match Reply::of(&self.store, object, kind, &self.method, &self.fetcher) {
            Some(reply) => {
                self.store.count(kind);
                Answer::Store(Box::new(reply), ttfb)
            }
            None => self.bypass(),
        }
    }

    /// The same, for a client whose own request did not bring the object. What has a strong validator can be gone on with if its
    /// fill breaks; of what has none all must be here first, and is waited for: a response that breaks must not cost others theirs.
    async fn serve_sure(&self, object: &Arc<Object>, kind: Kind, patience: Duration) -> Answer {
        match object.can_be_resumed() || will_be_whole(object, patience / 2).await {
            true => self.serve(object, kind, None).await,
            false => self.bypass(),
        }
    }

    /// The answer where an object is here: at once, if it is fresh; else once it is validated, or though it is not.
    async fn answer_by(
        &self,
        object: Arc<Object>,
        patience: Duration,
        is_own: bool,
    ) -> Result<Answer, ProxyError> {
        let head = object.head();
        let stale_if_error = match head.freshness.judge(&self.directives, SystemTime::now()) {
            Use::Fresh => return Ok(self.serve_sure(&object, Kind::Fresh, patience).await),
            _ if self.directives.only_if_cached => return Err(ProxyError::OnlyIfCached),
            Use::StaleWhileRevalidate => {
                if !object.is_left_alone(Instant::now()) {
                    _ = self.validate(&object);
                }
                return Ok(self.serve_sure(&object, Kind::StaleWhile, patience).await);
            }
            Use::Validate { stale_if_error } => stale_if_error,
        };
        if is_own {
            return Ok(self.bypass());
        }
        if stale_if_error && object.is_left_alone(Instant::now()) {
            return Ok(self.serve_sure(&object, Kind::StaleError, patience).await);
        }
        let late = (self.fetcher.origin.usual_ttfb() * LATE).max(LEAST_PATIENCE);
        // Who waits for another one's answer needs time to ask by itself.
        let (patience, others) = match stale_if_error {
            true => (late.min(patience), late.min(patience)),
            false => (patience, patience / 2),
        };
        let validated = match self.validate(&object) {
            Validation::Asking(asking) => match timeout(patience, asking).await {
                Ok(Ok(got)) => Validated::By(got),
                Ok(Err(_)) => Validated::Unknown,
                Err(_) => Validated::Late,
            },
            Validation::Joined(joined) => match timeout(others, joined).await {
                Ok(Ok(Some(other))) if Arc::ptr_eq(&other, &object) => {
                    Validated::By(Ok(Got::Same(None)))
                }
                Ok(Ok(Some(other))) if self.may_have(&other) => {
                    return Ok(self.serve_sure(&other, Kind::Joined, patience).await);
                }
                Ok(_) => Validated::Unknown,
                Err(_) => Validated::Late,
            },
        };
        let kind = match validated {
            Validated::By(Ok(Got::Same(ttfb))) => {
                return Ok(self.serve(&object, Kind::Revalidated, ttfb).await);
            }
            Validated::By(Ok(Got::Object(other, ttfb))) => {
                return Ok(self.serve(other.object(), Kind::Miss, ttfb).await);
            }
            Validated::By(Ok(Got::Own(fetched)))
                if !(stale_if_error && is_failure(fetched.status)) =>
            {
                self.store.count(Kind::Bypass);
                return Ok(Answer::Origin(fetched));
            }
            Validated::By(Err(error)) if !stale_if_error => return Err(error),
            _ if !stale_if_error => return Ok(self.bypass()),
            Validated::Late => Kind::StaleSlow,
            Validated::By(_) | Validated::Unknown => Kind::StaleError,
        };
        Ok(self.serve_sure(&object, kind, patience).await)
    }

    /// Asks the origin whether an object is still what it has, or waits for who does so already.
    fn validate(&self, object: &Arc<Object>) -> Validation {
        let fields = &self.fetcher.fields;
        match (self.store.shelf).ask_again(&self.key, fields, &self.store.ignored) {
            Place::Ask(ask) => {
                let condition = condition(&object.head());
                Validation::Asking(self.ask(ask, condition, Some(Arc::clone(object)), false))
            }
            Place::Join(joined) => Validation::Joined(joined),
            // Neither is said where it is asked again.
            Place::Here(_) | Place::Alone => Validation::Joined(oneshot::channel().1),
        }
    }

    /// Asks the origin, in a task that goes on though this client leaves. `known`: what is validated by it.
    fn ask(&self, ask: Ask, extra: HeaderMap, known: Option<Arc<Object>>, informs: bool) -> Asking {
        let (sender, asking) = oneshot::channel();
        let (store, fetcher) = (Arc::clone(&self.store), Rc::clone(&self.fetcher));
        let directives = self.directives;
        let informed = self.client.clone().filter(|_| informs);
        actix_rt::spawn(async move {
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
                    if let Some(head) = validated(&store, known, &fetched, &directives, exchanged) {
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
            match keep(&store, &ask, &fetcher, &fetched, &directives, exchanged) {
                Some((object, part)) => {
                    let fill = object.fill(part);
                    fill.iter().for_each(Fill::confirm);
                    let reader = object.reader(0);
                    ask.answer(&object);
                    _ = sender.send(Ok(Got::Object(reader, ttfb)));
                    if let Some(fill) = fill {
                        let body = OriginBody::One(fetched.source);
                        fill::run(&store, fill, body, 0, &fetcher.published, fetcher.bucket).await;
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
}

/// Who asks the origin whether an object is still what it has.
enum Validation {
    /// This request.
    Asking(Asking),
    /// Another one, whose answer is waited for.
    Joined(Joined),
}

/// What came of it.
enum Validated {
    /// The origin's answer, or why there is none.
    By(Result<Got, ProxyError>),
    /// Whoever asked was given up, or what it got is not for all.
    Unknown,
    /// Nothing in time.
    Late,
}

/// What a request with these fields, as the origin sees them, asks for; none if its host cannot be told.
pub fn key_of(store: &Store, fields: &HeaderMap, target: &str) -> Option<Key> {
    let host = fields.get(&FORWARDED_HOST)?.to_str().ok()?;
    let secure = fields.get(&FORWARDED_PROTO)?.as_bytes() == b"https";
    Some(Key::new(&store.group, secure, host, target))
}

/// Waits until all of an object is here, unless at its pace that takes longer than `patience`, or nobody can tell.
async fn will_be_whole(object: &Object, patience: Duration) -> bool {
    let begun = Instant::now();
    while timeout(LOOK, object.settled()).await.is_err() {
        let Some(length) = object.length().filter(|_| object.held() > 0) else {
            return false;
        };
        let took = object.stored.elapsed().unwrap_or_default();
        let all = took.mul_f64(length as f64 / object.held() as f64);
        if all.saturating_sub(took) > patience.saturating_sub(begun.elapsed()) {
            return false;
        }
    }
    object.is_whole()
}

/// Whether a status says that the origin fails (RFC 5861 §4).
fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// What asks whether a response has changed.
fn condition(head: &Head) -> HeaderMap {
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

/// Adds how a response came to be that the store has nothing to do with.
pub fn tell_bypass(headers: &mut HeaderMap) {
    let value: HeaderValue = CacheStatus::BYPASS.value();
    headers.append(header::CACHE_STATUS, value);
}
