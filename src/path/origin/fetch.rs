//! Sends one request to the origin: waits for a slot, sends it, and receives the response head. Repeats it once if an idle
//! connection turns out to be closed.

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
    connection::Connection, connector::Beside, exchange::Answered, fetch_error::FetchError,
    replay::Replay, slots::Slot, source::Source, target::kind_of, worker::Origin,
};
use crate::{
    path::{
        client::Client, continuation::Continuation, framing::Framing, network::Network, range,
        upload::Upload,
    },
    traffic::{canary::split::Bucket, tuning::Tuning},
};

/// A request for the origin.
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its target: a path as the client sent it, or `*`.
    pub target: PathAndQuery,
    /// Its fields, with Host, ready to be sent.
    pub headers: HeaderMap,
    /// Its body.
    pub upload: Option<Upload>,
    /// The client that receives interim responses; none if they cannot be passed on.
    pub informed: Option<Rc<Client>>,
    /// The client's canary bucket: requests that continue the body use that client's tuning.
    pub bucket: Bucket,
    /// The client's network: slots are shared fairly between networks.
    pub network: Network,
}

impl Request {
    /// Whether the store may answer it or keep its response: a GET or HEAD without a body and without an offer to switch protocols.
    pub fn may_be_stored(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
            && self.upload.is_none()
            && !self.headers.contains_key(header::UPGRADE)
    }
}

/// A response head and the source of its body.
pub struct Fetched {
    /// The status.
    pub status: StatusCode,
    /// The fields as received.
    pub headers: HeaderMap,
    /// How the body is delimited.
    pub framing: Framing,
    /// Where the body comes from.
    pub source: Source,
    /// The connection, if it has switched protocols.
    pub switched: Option<Box<Connection>>,
    /// Time from the request sent to the head received.
    pub ttfb: Duration,
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
            // awc does not send the body, so it would not set this field.
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

        // Applies a changed limit from this request on.
        self.shared.set_slots();
        let slot = match self.free_slot(&head, request.network) {
            Some(slot) => slot,
            None => {
                if let Some(upload) = &mut request.upload {
                    // A slot is requested only once part of the body is here.
                    if !upload.gather(tuning.buffer.as_u64()).await {
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

    /// Like [`Self::fetch`], for a request that nobody waits for: only if a slot is to spare and the rate limit allows it.
    ///
    /// # Errors
    ///
    /// [`FetchError`], with its cause.
    pub async fn fetch_spare(
        self: &Rc<Self>,
        request: Request,
        tuning: &Tuning,
        deadline: Instant,
    ) -> Result<Fetched, FetchError> {
        let is_admitted = || self.state().gate.admit_spare(Instant::now());
        let slot = self.try_slot().filter(|_| is_admitted());
        let slot = slot.ok_or(FetchError::NoneSpare)?;
        let head = self.request(request.method, request.target, request.headers)?;
        let beside = Beside::default();
        self.answer(head, beside, request.bucket, slot, tuning, deadline)
            .await
    }

    /// Sends a request that has its slot, and waits for the response head.
    async fn answer(
        self: &Rc<Self>,
        head: FrozenClientRequest,
        mut beside: Beside,
        bucket: Bucket,
        slot: Slot,
        tuning: &Tuning,
        deadline: Instant,
    ) -> Result<Fetched, FetchError> {
        let state = &self.shared.state;
        let is_get = *head.get_method() == Method::GET
            && beside.upload.is_none()
            && !head.headers().contains_key(header::UPGRADE);
        // Until the response head arrives, an upload lends the slot to others while it waits for its client.
        let lent = Rc::new(RefCell::new(Some(slot)));
        if let Some(upload) = &mut beside.upload {
            upload.parks(Rc::clone(&lent));
        }
        let sent = self
            .exchange_beside_parts(&head, beside, tuning, deadline)
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
            matches!(framed.framing, Framing::Length(length) if state.sizes.is_large(length)),
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
            state.sizes.learn(kind_of(&head), length);
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
            let transfer_state = &self.shared.transfer_state;
            transfer_state
                .resumes
                .earn(self.shared.transfers.resume_share);
            let extra = self.extra_requests(&head, status, &headers, framing);
            let replay = Replay::new(Rc::clone(self), head, bucket, ttfb, extra);
            source.resume_by(replay, continuation);
            source.may_go_on_later(offers_ranges);
        }
        state.concurrency.answers.add(ttfb);
        Ok(Fetched {
            status,
            headers,
            framing,
            source,
            switched: None,
            ttfb,
        })
    }

    /// A request in a form that can be sent repeatedly.
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
        // Otherwise awc adds its own Accept-Encoding.
        let mut head = self.client.request(method, uri).no_decompress();
        *head.headers_mut() = headers;
        head.freeze()
            .map_err(|error| FetchError::Client(error.to_string()))
    }

    /// The URI for awc. Always http: the connection handles TLS itself.
    fn uri(&self, target: PathAndQuery) -> Uri {
        let base = self.shared.settings.url.base();
        let mut parts = Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(if base.is_empty() || target.as_str() == "*" {
            target
        } else {
            // Both halves are valid by themselves.
            PathAndQuery::try_from(format!("{base}{target}")).unwrap_or(target)
        });
        Uri::from_parts(parts).unwrap_or_default()
    }
}
