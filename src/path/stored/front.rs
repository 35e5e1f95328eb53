//! Decides how to answer a GET or HEAD: from an object, from one that is being fetched, or by the origin, for this client alone or
//! for all that want it.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use actix_http::{
    Method,
    header::{self, HeaderMap, HeaderValue},
};
use tokio::{sync::oneshot, time::timeout};

use super::{
    asker::{Asker, Asking, Got, condition, is_failure},
    cache_status::CacheStatus,
    fetcher::Fetcher,
    fill,
    reply::Reply,
};
use crate::{
    path::{
        client::Client, error::ProxyError, framing::Framing, headers, origin::Fetched,
        rendered::response::Hit,
    },
    store::{
        Store,
        counters::Kind,
        freshness::Use,
        object::Object,
        object_fill::Claim,
        place::{Joined, Place},
    },
};

/// A validation that takes this many times the usual response time is late.
const LATE: u32 = 8;

/// But never before this time.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// How often the throughput of an awaited body is checked.
const LOOK: Duration = Duration::from_secs(1);

/// How a request is answered.
pub enum Answer {
    /// From the store; with the time to the origin's head, if this request asked it.
    Store(Box<Reply>, Option<Duration>),
    /// By the origin, with a response for this client only.
    Origin(Box<Fetched>),
    /// By the origin, which is still to be asked with the unchanged request.
    Bypass,
}

/// One client's request to the store.
pub struct Front {
    asker: Rc<Asker>,
    method: Method,
    /// The client that receives interim responses.
    client: Option<Rc<Client>>,
}

impl Front {
    /// The request; none if the store cannot answer it: its host is invalid, or it must not be shared.
    pub fn of(
        store: &Arc<Store>,
        method: &Method,
        fetcher: Rc<Fetcher>,
        client: Option<Rc<Client>>,
    ) -> Option<Self> {
        Some(Front {
            asker: Asker::of(store, fetcher)?,
            method: method.clone(),
            client,
        })
    }

    /// Answers it.
    ///
    /// # Errors
    ///
    /// [`ProxyError`] if the origin was asked and there is no response.
    pub async fn answer(&self, patience: Duration) -> Result<Answer, ProxyError> {
        let fields = &self.asker.fetcher.fields;
        let ignored = &*self.asker.store.ignored;
        // Responses to requests with credentials are not stored, and HEAD has nothing to store.
        let is_own = fields.contains_key(header::AUTHORIZATION)
            || fields.contains_key(header::COOKIE)
            || self.method != Method::GET;
        loop {
            let place = if is_own {
                let shelf = &self.asker.store.shelf;
                let here = match shelf.get(&self.asker.key, fields, ignored) {
                    None => shelf.recall(&self.asker.key, fields, ignored).await,
                    here => here,
                };
                here.map_or(Place::Alone, Place::Here)
            } else {
                self.asker.place(Instant::now())
            };
            match place {
                Place::Here(object) => return self.answer_by(object, patience, is_own).await,
                Place::Alone if self.asker.directives.only_if_cached => {
                    return Err(ProxyError::OnlyIfCached);
                }
                Place::Alone => return Ok(self.bypass()),
                Place::Ask(ask) => {
                    if let Some(object) = self
                        .asker
                        .store
                        .shelf
                        .recall(&self.asker.key, fields, ignored)
                        .await
                    {
                        let object = ask.recalled(object);
                        return self.answer_by(object, patience, is_own).await;
                    }
                    if self.asker.directives.only_if_cached {
                        return Err(ProxyError::OnlyIfCached);
                    }
                    let asking = self.asker.ask(
                        ask,
                        self.asker.fetcher.conditions(),
                        None,
                        self.client.clone(),
                        None,
                    );
                    return match asking.await {
                        Ok(Ok(Got::Object(reader, ttfb))) => {
                            Ok(self.serve(reader.object(), Kind::Miss, ttfb, true).await)
                        }
                        Ok(Ok(Got::Own(fetched))) => {
                            self.asker.store.count(Kind::Bypass);
                            Ok(Answer::Origin(fetched))
                        }
                        Ok(Ok(Got::Same(_))) | Err(_) => Ok(self.bypass()),
                        Ok(Err(error)) => Err(error),
                    };
                }
                Place::Join(_) if self.asker.directives.only_if_cached => {
                    return Err(ProxyError::OnlyIfCached);
                }
                Place::Join(joined) => match timeout(patience / 2, joined).await {
                    Ok(Ok(Some(object))) if self.may_have(&object) => {
                        return Ok(self.serve_sure(&object, Kind::Joined, None, patience).await);
                    }
                    // The request for it was given up: the first one to look again takes its place.
                    Ok(Err(_)) => {}
                    Ok(Ok(_)) | Err(_) => return Ok(self.bypass()),
                },
            }
        }
    }

    /// Whether an object fetched by another request meanwhile can answer this one.
    fn may_have(&self, object: &Object) -> bool {
        object
            .variant
            .answers(&self.asker.fetcher.fields, &self.asker.store.ignored)
            && !object.head().freshness.is_always_validated()
    }

    fn bypass(&self) -> Answer {
        self.asker.store.count(Kind::Bypass);
        Answer::Bypass
    }

    /// Answers from an object, if it matches the request and the origin delivers what is missing; otherwise the origin is asked for
    /// this client alone. `is_own`: this request fetched the object.
    async fn serve(
        &self,
        object: &Arc<Object>,
        kind: Kind,
        ttfb: Option<Duration>,
        is_own: bool,
    ) -> Answer {
        let part = Reply::part(object, &self.method, &self.asker.fetcher.fields);
        // Requested before the response begins: an origin with another version by now, or without ranges, then cuts nobody's
        // response.
        if let Some(part) = part.filter(|_| object.can_be_resumed()) {
            let comes = match Claim::of(object, part).await {
                Claim::Sure => true,
                Claim::Fetch(fill) => {
                    fill::begin(&self.asker.store, fill, &self.asker.fetcher).await
                }
                Claim::Failed => false,
            };
            if !comes {
                return self.bypass();
            }
        }
        match Reply::of(
            &self.asker.store,
            object,
            kind,
            &self.method,
            &self.asker.fetcher,
            is_own,
        ) {
            Some(mut reply) => {
                let leads_on = self.method == Method::GET && self.asker.fetch_next();
                if kind == Kind::Fresh && !leads_on {
                    reply.hit = self.hit(object, &reply);
                }
                self.asker.store.count(kind);
                Answer::Store(Box::new(reply), ttfb)
            }
            None => self.bypass(),
        }
    }

    /// What a reply is of the object, so that it can be repeated; none if the origin's Date is unknown, or if identical requests
    /// can get different responses, because it varies by fields that the proxy sets.
    fn hit(&self, object: &Arc<Object>, reply: &Reply) -> Option<Box<Hit>> {
        if object.variant.selects_by(headers::is_set_here) {
            return None;
        }
        let head = object.head();
        let part = match reply.framing {
            Framing::None => None,
            Framing::Length(length) => {
                let part = Reply::part(object, &self.method, &self.asker.fetcher.fields);
                let begin = part.map_or(0, |part| part.start);
                Some(begin..begin + length)
            }
            _ => return None,
        };
        head.fields.contains_key(header::DATE).then(|| {
            Box::new(Hit {
                object: Arc::downgrade(object),
                head: Arc::downgrade(&head),
                directives: self.asker.directives,
                part,
                status: reply.status,
            })
        })
    }

    /// As [`Self::serve`], for a client whose own request did not fetch the object. With a strong validator a broken fill can be
    /// resumed; without one the object must be complete first, so that a failing fill does not cut other clients' responses.
    async fn serve_sure(
        &self,
        object: &Arc<Object>,
        kind: Kind,
        ttfb: Option<Duration>,
        patience: Duration,
    ) -> Answer {
        match object.can_be_resumed() || will_be_whole(object, patience / 2).await {
            true => self.serve(object, kind, ttfb, false).await,
            false => self.bypass(),
        }
    }

    /// Answers from a stored object: at once if it is fresh; otherwise after validation, or stale where that is allowed.
    async fn answer_by(
        &self,
        object: Arc<Object>,
        patience: Duration,
        is_own: bool,
    ) -> Result<Answer, ProxyError> {
        let head = object.head();
        let stale_if_error = match head
            .freshness
            .judge(&self.asker.directives, SystemTime::now())
        {
            Use::Fresh => return Ok(self.serve_sure(&object, Kind::Fresh, None, patience).await),
            _ if self.asker.directives.only_if_cached => return Err(ProxyError::OnlyIfCached),
            Use::StaleWhileRevalidate => {
                if !object.is_left_alone(Instant::now()) {
                    _ = self.validate(&object);
                }
                return Ok(self
                    .serve_sure(&object, Kind::StaleWhile, None, patience)
                    .await);
            }
            Use::Validate { stale_if_error } => stale_if_error,
        };
        if is_own {
            return Ok(self.bypass());
        }
        if stale_if_error && object.is_left_alone(Instant::now()) {
            return Ok(self
                .serve_sure(&object, Kind::StaleError, None, patience)
                .await);
        }
        let late = (self.asker.fetcher.origin.usual_ttfb() * LATE).max(LEAST_PATIENCE);
        // A request that waits for another one's answer needs time to ask by itself.
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
                    return Ok(self.serve_sure(&other, Kind::Joined, None, patience).await);
                }
                Ok(_) => Validated::Unknown,
                Err(_) => Validated::Late,
            },
        };
        let kind = match validated {
            Validated::By(Ok(Got::Same(ttfb))) => {
                return Ok(self
                    .serve_sure(&object, Kind::Revalidated, ttfb, patience)
                    .await);
            }
            Validated::By(Ok(Got::Object(other, ttfb))) => {
                return Ok(self.serve(other.object(), Kind::Miss, ttfb, false).await);
            }
            Validated::By(Ok(Got::Own(fetched)))
                if !(stale_if_error && is_failure(fetched.status)) =>
            {
                self.asker.store.count(Kind::Bypass);
                return Ok(Answer::Origin(fetched));
            }
            Validated::By(Err(error)) if !stale_if_error => return Err(error),
            _ if !stale_if_error => return Ok(self.bypass()),
            Validated::Late => Kind::StaleSlow,
            Validated::By(_) | Validated::Unknown => Kind::StaleError,
        };
        Ok(self.serve_sure(&object, kind, None, patience).await)
    }

    /// Validates an object at the origin, or joins a validation that is under way.
    fn validate(&self, object: &Arc<Object>) -> Validation {
        let fields = &self.asker.fetcher.fields;
        let store = &self.asker.store;
        match Place::again(&store.shelf, &self.asker.key, fields, &store.ignored) {
            Place::Ask(ask) => {
                let condition = condition(&object.head());
                Validation::Asking((self.asker).ask(
                    ask,
                    condition,
                    Some(Arc::clone(object)),
                    None,
                    None,
                ))
            }
            Place::Join(joined) => Validation::Joined(joined),
            // Cannot occur for a request that revalidates.
            Place::Here(_) | Place::Alone => Validation::Joined(oneshot::channel().1),
        }
    }
}

/// Who validates an object.
enum Validation {
    /// This request.
    Asking(Asking),
    /// Another one, whose result is awaited.
    Joined(Joined),
}

/// The result of a validation.
enum Validated {
    /// The origin's answer, or the error.
    By(Result<Got, ProxyError>),
    /// Unknown: the other request was given up, or its response is not shareable.
    Unknown,
    /// No result in time.
    Late,
}

/// Waits until an object is complete. False if at its throughput that would take longer than `patience`, or if that is unknown.
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

/// Adds Cache-Status to a response that the store did not handle.
pub fn tell_bypass(headers: &mut HeaderMap) {
    let value: HeaderValue = CacheStatus::BYPASS.value();
    headers.append(header::CACHE_STATUS, value);
}
