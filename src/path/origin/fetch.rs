//! The way of one request at the origin: its turn, connection, request, response head; once more if a kept connection
//! turns out dead.

use std::{
    cell::RefCell,
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
    resume::Replay,
    send::send,
    slots::{NoSlot, Slot},
    source::Source,
    worker::Origin,
};
use crate::{
    path::{
        client::Client, continuation::Continuation, framing::Framing, network::Network, range,
        upload::Upload,
    },
    traffic::{canary::split::Bucket, tolerance::Target, tuning::Tuning},
};

/// A request, ready for the origin.
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its target: a path, byte for byte as it came, or `*`.
    pub target: PathAndQuery,
    /// Its fields, Host among them, ready to be sent.
    pub headers: HeaderMap,
    /// Its body.
    pub upload: Option<Upload>,
    /// Who gets interim responses; none where they cannot be passed on.
    pub informed: Option<Rc<Client>>,
    /// Whose it is: what continues the response follows the tuning of that client.
    pub bucket: Bucket,
    /// Where it is from: networks share what all need.
    pub network: Network,
}

impl Request {
    /// Whether the store may answer it, or keep what the origin answers: a GET or HEAD that neither sends a body nor offers to
    /// switch to another protocol.
    pub fn may_be_stored(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
            && self.upload.is_none()
            && !self.headers.contains_key(header::UPGRADE)
    }
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
    /// The connection, where another protocol is spoken on it.
    pub switched: Option<Box<Connection>>,
    /// From the request sent to the head received.
    pub ttfb: Duration,
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
        mut request: Request,
        tuning: &Tuning,
        mut deadline: Instant,
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
        let slot = match self.free_slot(&head, request.network) {
            Some(slot) => slot,
            None => {
                if let Some(upload) = &mut request.upload {
                    // It waits for a slot once there is something to send.
                    let counters = &self.shared.published.counters;
                    if !upload.gather(tuning.buffer.as_u64(), counters).await {
                        return Err(FetchError::Upload);
                    }
                    deadline = Instant::now() + tuning.exchange_timeout;
                }
                self.wait_for_slot(&head, request.network, tuning, deadline)
                    .await?
            }
        };
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
        mut beside: Beside,
        bucket: Bucket,
        slot: Slot,
        tuning: &Tuning,
        deadline: Instant,
    ) -> Result<Fetched, FetchError> {
        let published = &self.shared.published;
        let is_get = *head.get_method() == Method::GET
            && beside.upload.is_none()
            && !head.headers().contains_key(header::UPGRADE);
        // Until the head is here, an upload gives the slot back while it waits for its client.
        let lent = Rc::new(RefCell::new(Some(slot)));
        if let Some(upload) = &mut beside.upload {
            upload.parks(Rc::clone(&lent));
        }
        let sent = self
            .exchange_in_a_crowd(&head, beside, tuning, deadline)
            .await?;
        let Answered {
            head: framed,
            status,
            headers,
            sent,
            received,
            mut connection,
        } = sent;
        let ttfb = received.saturating_duration_since(sent);
        let Some(slot) = lent.take() else {
            return Err(FetchError::Client("the slot is gone".to_owned()));
        };
        slot.answered(
            matches!(framed.framing, Framing::Length(length) if published.sizes.is_large(length)),
        );
        if status == StatusCode::SWITCHING_PROTOCOLS {
            connection.leave();
            return Ok(Fetched {
                status,
                headers,
                framing: Framing::None,
                source: Source::here(Bytes::new(), Rc::clone(&self.pool)),
                switched: Some(Box::new(connection)),
                ttfb,
            });
        }
        let continuation = is_get
            .then(|| Continuation::of(status, &headers, framed.framing))
            .flatten();
        let framing = framed.framing;
        if is_get
            && status == StatusCode::OK
            && let Framing::Length(length) = framing
        {
            published.sizes.learn(kind_of(&head), length);
        }
        let offers_ranges = status == StatusCode::PARTIAL_CONTENT || range::offered(&headers);
        let mut source = Source::new(connection, framed, slot, Rc::clone(&self.pool));
        if status == StatusCode::PARTIAL_CONTENT {
            source.expect(range::length(&headers));
        }
        if tuning.resume
            && !source.is_here()
            && let Some(continuation) = continuation
        {
            self.earn_stalls();
            let lately = &self.shared.lately;
            lately.resumes.earn(self.shared.transfers.resume_share);
            // What a coding has not vouched for must not be followed by another response's bytes.
            let in_parts =
                matches!(framing, Framing::Length(_)) && self.is_divisible(&head, status, &headers);
            let replay = Replay::new(Rc::clone(self), head, bucket, ttfb, in_parts);
            source.resume_by(replay, continuation);
            source.may_go_on_later(offers_ranges);
        }
        published.concurrency.answers.add(ttfb);
        Ok(Fetched {
            status,
            headers,
            framing,
            source,
            switched: None,
            ttfb,
        })
    }

    /// A request that can be sent more than once.
    pub(super) fn request(
        &self,
        method: Method,
        target: PathAndQuery,
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
    fn uri(&self, target: PathAndQuery) -> Uri {
        let base = self.shared.settings.url.base();
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

/// The target, as far as others are like it.
pub(super) fn target_of(head: &FrozenClientRequest) -> Target<'_> {
    let host = head.headers().get(header::HOST);
    let target = head.get_uri().path_and_query();
    Target::new(
        host.map_or(b"", HeaderValue::as_bytes),
        target.map_or("/", PathAndQuery::as_str),
    )
}

/// Methods that may be repeated (RFC 9110 §9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}
