//! The way of one request at the origin: its turn, connection, request, response head; once more if a kept connection
//! turns out dead.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use actix_http::{
    Method, StatusCode, Uri,
    header::{self, HeaderMap, HeaderValue},
    uri::{Parts, PathAndQuery, Scheme},
};
use awc::FrozenClientRequest;
use bytes::Bytes;

use super::{
    connect::ConnectError,
    connection::Connection,
    exchange::{Answered, Exchange, HeadError},
    reader::BodyError,
    resume::Replay,
    send::send,
    slots::{NoSlot, Slot},
    source::{Source, Widened},
    worker::Origin,
};
use crate::{
    path::{client::Client, continuation::Continuation, framing::Framing, range, upload::Upload},
    traffic::{canary::split::Bucket, tuning::Tuning},
};

/// A request, ready for the origin.
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its target: a path, byte for byte as it came, or `*`.
    pub target: Option<PathAndQuery>,
    /// Its fields, Host among them, ready to be sent.
    pub headers: HeaderMap,
    /// Its body.
    pub upload: Option<Upload>,
    /// Who gets interim responses; none where they cannot be passed on.
    pub informed: Option<Rc<Client>>,
    /// Whose it is: what continues the response follows the tuning of that client.
    pub bucket: Bucket,
}

/// What goes on beside the exchange of the heads.
#[derive(Default)]
pub(super) struct Beside {
    /// The request's body.
    pub(super) upload: Option<Upload>,
    /// Who gets interim responses.
    pub(super) informed: Option<Rc<Client>>,
}

/// A response head and the source of its body.
pub struct Fetched {
    /// The status.
    pub status: StatusCode,
    /// The fields as they came.
    pub headers: HeaderMap,
    /// How the body is delimited.
    pub framing: Framing,
    /// Where the body comes from.
    pub source: Source,
    /// What fetches the rest, where the first response is only a part of the body.
    pub widened: Option<Widened>,
    /// The connection, where another protocol is spoken on it.
    pub switched: Option<Box<Connection>>,
    /// From the request sent to the head received; none for the answer of another request.
    pub ttfb: Option<Duration>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No origin connection came free in time.
    #[error(transparent)]
    NoSlot(#[from] NoSlot),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The response head is missing or broken.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// awc could not send the request or read the head.
    #[error("{0}")]
    Client(String),
    /// The exchange took too long.
    #[error("no response head within {0:?}")]
    Timeout(Duration),
    /// The body broke while it was read for more than one client.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The request's own body failed.
    #[error("the request body ended early")]
    Upload,
}

impl Origin {
    /// Takes a slot, sends the request and waits for the response head.
    ///
    /// # Errors
    ///
    /// [`FetchError`], with its cause.
    pub async fn fetch(
        self: &Rc<Self>,
        request: Request,
        tuning: &Tuning,
        deadline: Instant,
    ) -> Result<Fetched, FetchError> {
        let mut headers = request.headers;
        if let Some(upload) = &request.upload {
            // The body does not go through awc, which would tell it else.
            let (name, value) = match upload.length() {
                Some(length) => (header::CONTENT_LENGTH, HeaderValue::from(length)),
                None => (
                    header::TRANSFER_ENCODING,
                    HeaderValue::from_static("chunked"),
                ),
            };
            headers.insert(name, value);
        }
        let head = self.request(request.method, request.target, headers)?;

        // A retune is in force from the next request on.
        self.set_slots();
        let slot = self.turn(&head, tuning, deadline).await?;
        let beside = Beside {
            upload: request.upload,
            informed: request.informed,
        };
        self.answer(head, beside, request.bucket, slot, tuning, deadline)
            .await
    }

    /// Sends a request whose turn it is, and waits for the response head.
    async fn answer(
        self: &Rc<Self>,
        head: FrozenClientRequest,
        beside: Beside,
        bucket: Bucket,
        mut slot: Slot,
        tuning: &Tuning,
        deadline: Instant,
    ) -> Result<Fetched, FetchError> {
        let published = &self.shared.published;
        let is_get = *head.get_method() == Method::GET
            && beside.upload.is_none()
            && !head.headers().contains_key(header::UPGRADE);
        let first_part = self.first_part(&head, is_get, tuning);
        let asked_for_a_part = first_part.is_some();
        let (sent, whole) = match first_part {
            Some(part) => {
                self.fetch_first_part(&head, part, beside, tuning, deadline)
                    .await?
            }
            None => (self.exchange(&head, beside, tuning, deadline).await?, None),
        };
        let Answered {
            head: framed,
            mut status,
            mut headers,
            sent,
            received,
            mut connection,
        } = sent;
        let ttfb = received.saturating_duration_since(sent);
        slot.answered();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            connection.leave();
            return Ok(Fetched {
                status,
                headers,
                framing: Framing::None,
                source: Source::here(Bytes::new(), Rc::clone(&self.pool)),
                widened: None,
                switched: Some(Box::new(connection)),
                ttfb: Some(ttfb),
            });
        }
        let continuation = is_get
            .then(|| Continuation::of(status, &headers, framed.framing))
            .flatten();
        let mut framing = framed.framing;
        if let Some(whole) = whole {
            // The client gets what it would get of one plain GET.
            range::as_whole(&mut headers, whole);
            (status, framing) = (StatusCode::OK, Framing::Length(whole));
        }
        if is_get
            && status == StatusCode::OK
            && let Framing::Length(length) = framing
        {
            // An origin that did not give a part when it was asked for one has none, whatever it offers.
            let offered = !asked_for_a_part && continuation.is_some() && range::offered(&headers);
            let ranges = whole.is_some() || offered;
            published.sizes.learn(kind_of(&head), length, ranges);
        }
        let mut source = Source::new(connection, framed, slot, Rc::clone(&self.pool));
        if status == StatusCode::PARTIAL_CONTENT {
            source.expect(range::length(&headers));
        }
        let mut widened = None;
        if tuning.resume
            && (!source.is_here() || whole.is_some())
            && let Some(continuation) = continuation
        {
            self.earn_stalls();
            let lately = &self.shared.lately;
            lately.resumes.earn(self.shared.transfers.resume_share);
            let replay = Replay::new(Rc::clone(self), head, bucket, ttfb);
            if let (Some(end), Some(reach)) = (whole, continuation.end())
                && reach < end
            {
                widened = Some(Widened {
                    replay: Rc::clone(&replay),
                    whole: continuation.clone(),
                    reach,
                    end,
                });
            }
            source.resume_by(replay, continuation);
            if widened.is_some() {
                source.is_a_part();
            }
        }
        published.concurrency.answers.add(ttfb);
        Ok(Fetched {
            status,
            headers,
            framing,
            source,
            widened,
            switched: None,
            ttfb: Some(ttfb),
        })
    }

    /// A request that can be sent more than once.
    pub(super) fn request(
        &self,
        method: Method,
        target: Option<PathAndQuery>,
        headers: HeaderMap,
    ) -> Result<FrozenClientRequest, FetchError> {
        self.frozen(method, self.uri(target), headers)
    }

    pub(super) fn frozen(
        &self,
        method: Method,
        uri: Uri,
        headers: HeaderMap,
    ) -> Result<FrozenClientRequest, FetchError> {
        // Else awc adds an Accept-Encoding of its own.
        let mut head = self.client.request(method, uri).no_decompress();
        *head.headers_mut() = headers;
        head.freeze()
            .map_err(|error| FetchError::Client(error.to_string()))
    }

    /// Sends a request on a kept or a new connection and waits for the response head. An idempotent request without
    /// body is sent once more if the kept connection it went out on turns out dead.
    ///
    /// # Errors
    ///
    /// [`FetchError`], with its cause.
    pub(super) async fn exchange(
        &self,
        head: &FrozenClientRequest,
        beside: Beside,
        tuning: &Tuning,
        deadline: Instant,
    ) -> Result<Answered, FetchError> {
        let Beside {
            mut upload,
            informed,
        } = beside;
        let replayable = upload.is_none() && is_idempotent(head.get_method());
        let to_head = head.get_method() == Method::HEAD;
        let max_head = self.shared.settings.max_head.as_u64() as usize;
        let mut kept = self.pool.take();
        loop {
            let connection = match kept.take() {
                Some(connection) => connection,
                // Boxed: it is seldom taken, and large; every request would carry room for it.
                None => Box::pin(self.connect(tuning, deadline)).await?,
            };
            let reused = connection.reused;
            let told_in_vain = connection.told_in_vain;
            let exchange = Exchange::new(
                connection,
                (to_head, head.headers().get(header::UPGRADE).cloned()),
                informed.clone(),
                max_head,
            );
            let sent = send(
                head,
                exchange.clone(),
                upload.take(),
                tuning.exchange_timeout,
                deadline,
            );
            match sent.await {
                Err(FetchError::Head(HeadError::Broken(_)))
                    if reused && replayable && !exchange.answered() =>
                {
                    self.shared.published.counters.origin.retries.increment();
                    tracing::debug!(
                        "a kept origin connection was dead, the request goes out once more"
                    );
                }
                // No answer at all, but the body of the answer before, which was not to come.
                Err(FetchError::Head(HeadError::Malformed(_)))
                    if reused && replayable && told_in_vain =>
                {
                    self.shared.published.counters.origin.retries.increment();
                    tracing::debug!(
                        "the origin sent a body behind an answer without one, the request goes out once more"
                    );
                }
                sent => return sent,
            }
        }
    }

    /// The URI for awc. It is always http: TLS is the connection's own matter.
    fn uri(&self, target: Option<PathAndQuery>) -> Uri {
        let base = self.shared.settings.url.base();
        let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let mut parts = Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(if base.is_empty() || target.as_str() == "*" {
            target
        } else {
            // Both halves were valid by themselves.
            PathAndQuery::try_from(format!("{base}{target}")).unwrap_or(target)
        });
        Uri::from_parts(parts).unwrap_or_default()
    }
}

/// What the sizes are kept by: the target, and the codings that the client takes. A body that is coded on the fly has
/// another size, and no ranges.
pub(super) fn kind_of(head: &FrozenClientRequest) -> (&str, Option<&[u8]>) {
    let target = head.get_uri().path_and_query();
    let codings = head.headers().get(header::ACCEPT_ENCODING);
    (
        target.map_or("/", PathAndQuery::as_str),
        codings.map(HeaderValue::as_bytes),
    )
}

/// Methods that may be repeated (RFC 9110 §9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}
