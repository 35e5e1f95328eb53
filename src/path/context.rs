//! The state that belongs to one request, from its head to the end of its response.

use std::{net::IpAddr, rc::Rc, sync::Arc};

use actix_http::{
    HttpMessage as _, Request, Response, Uri, Version,
    body::BoxBody,
    header::{self, HeaderMap, HeaderValue},
};
use opentelemetry::trace::SpanContext;

use super::{
    client::Client,
    error::ProxyError,
    headers,
    meter::Meter,
    network::Network,
    origin::Origin,
    policy::Policy,
    rendered::response::{Asked, Hit},
    trace::{self, Trace},
    upgrades::UpgradePermit,
    worker::Worker,
};
use crate::traffic::{canary::split::Bucket, keys::Keys};

/// The state that belongs to one request, from its head to the end of its response.
pub(super) struct Context {
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// The settings in force when it arrived; a reload does not change them.
    pub policy: Arc<Policy>,
    /// The origin in force when it arrived; a reload does not change it.
    pub origin: Rc<Origin>,
    /// The connection or HTTP/2 stream that it came on.
    pub client: Rc<Client>,
    /// The client's address: the peer's, or the one that a trusted proxy forwards.
    pub asked_by: IpAddr,
    /// The client's bucket in a canary.
    pub bucket: Bucket,
    /// The request id: the client's own (X-Request-Id), or a new one.
    pub id: HeaderValue,
    /// Whether the client sent the id.
    has_own_id: bool,
    /// Permits the connection to switch protocols; none if that was not offered or not accepted.
    pub upgrade: Option<UpgradePermit>,
    /// Measures the request, and reports a sample however it ends.
    pub meter: Meter,
}

impl Context {
    /// The context of a request whose head is complete; none for one that did not come over a client connection.
    pub fn of(request: &Request, worker: Rc<Worker>) -> Option<Self> {
        let client = Client::of(request)?;
        let (policy, origin) = worker.in_force();
        let (id, has_own_id) = request_id(request);
        let asked_by = asked_by(request, &client, &policy);
        let bucket = Bucket::of(asked_by);
        let uri = request.uri();
        let mut meter = Meter::start(
            worker.reporter.clone(),
            client.engage(),
            origin.state().id,
            Keys::of(uri.path(), uri.query(), asked_by),
            worker.published.split.membership(bucket),
            &id,
        );
        if policy.access_log || worker.tracer.is_some() {
            let parent = trace::parent(request.headers(), client.trusted);
            let trace_id = parent.as_ref().map(SpanContext::trace_id);
            if let Some(tracer) = &worker.tracer {
                meter.trace(Trace::begin(
                    tracer,
                    parent,
                    request.method(),
                    uri,
                    asked_by,
                ));
            }
            if policy.access_log {
                meter.log(&id, request.method(), uri, asked_by, trace_id);
                if policy.access_details {
                    meter.detail(request.version(), request.headers());
                }
            }
        }
        Some(Context {
            worker,
            policy,
            origin,
            client,
            asked_by,
            bucket,
            id,
            has_own_id,
            upgrade: None,
            meter,
        })
    }

    /// Allows the response to be repeated for byte-identical requests, if it depends on nothing else. Requests of trusted proxies,
    /// with tracing or with detailed access lines are always handled in full.
    pub fn may_repeat(&self, request: &Request, hit: Hit) {
        let is_http1 = self.client.interim.is_none() && request.version() == Version::HTTP_11;
        let is_plain = self.worker.tracer.is_none() && !self.policy.access_details;
        if !is_http1 || !is_plain || self.client.trusted {
            return;
        }
        // Copied, because a slice of the request would keep its whole read buffer alive.
        let copy = |value: &HeaderValue| HeaderValue::from_bytes(value.as_bytes()).ok();
        let Ok(path) = Uri::try_from(request.path()) else {
            return;
        };
        let asked = Asked {
            method: request.method().clone(),
            path,
            keys: self.meter.keys(),
            origin: self.origin.state().id,
            id: self.has_own_id.then(|| copy(&self.id)).flatten(),
        };
        self.client.repeatable.replace(Some(Box::new((hit, asked))));
    }

    /// The client's network, which is the unit for sharing slots fairly.
    pub fn network(&self) -> Network {
        Network::of(self.asked_by)
    }

    /// The fields to send to the origin, moved out of the request. `host` is the host of an absolute-form target.
    pub fn fields(&self, request: &mut Request, host: Option<HeaderValue>) -> HeaderMap {
        let from = headers::Client {
            address: &self.client.address,
            trusted: self.client.trusted,
            scheme: if self.client.secure { "https" } else { "http" },
            version: request.version(),
        };
        let mut fields = std::mem::replace(request.headers_mut(), HeaderMap::new());
        if let Some(host) = host {
            // In the absolute form, the target overrides Host (RFC 9112 §3.2.2).
            fields.insert(header::HOST, host);
        }
        headers::to_origin(&mut fields, from, self.policy.host.as_ref(), &self.id);
        fields
    }

    /// Takes an upgrade permit, if the client offers to switch protocols and the offer can be passed on. None is taken while the
    /// process drains.
    ///
    /// # Errors
    ///
    /// [`ProxyError::Upgrades`] if too many connections speak another protocol already.
    pub fn take_upgrade(&mut self) -> Result<(), ProxyError> {
        let (settings, permits) = &self.policy.upgrades;
        if self.client.offers_websocket()
            && settings.max > 0
            && !self.worker.published.is_draining()
        {
            let permit = permits.take(self.asked_by, settings);
            self.upgrade = Some(permit.ok_or(ProxyError::Upgrades)?);
        }
        Ok(())
    }

    /// The proxy's error response to this request.
    pub fn refuse(mut self, request: &Request, error: &ProxyError) -> Response<BoxBody> {
        self.meter.failed(error);
        if matches!(error, ProxyError::SlowUpload) {
            let counters = &self.worker.published.clients;
            counters.body_timeouts.increment();
            self.client.refuses_body();
        }
        error.response(request.uri(), &self.id)
    }
}

/// The id that the client sent, or a new one; and whether the client sent it.
fn request_id(request: &Request) -> (HeaderValue, bool) {
    match headers::request_id(request.headers()) {
        Some(id) => (id.clone(), true),
        None => (new_id(), false),
    }
}

/// A new id, for a request without one.
pub(super) fn new_id() -> HeaderValue {
    let mut text = uuid::Uuid::encode_buffer();
    let text = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// The client's address: the peer's, or the one that a trusted proxy forwards.
fn asked_by(request: &Request, client: &Client, policy: &Policy) -> IpAddr {
    let mut asked_by = None;
    if client.trusted {
        let said = request
            .headers()
            .get_all("x-forwarded-for")
            .filter_map(|value| value.to_str().ok());
        for hop in said.flat_map(|value| value.split(',')) {
            match hop.trim().parse::<IpAddr>() {
                // The last hop that is not a trusted proxy.
                Ok(hop) if !headers::is_trusted(hop, &policy.server.trusted_proxies) => {
                    asked_by = Some(hop);
                }
                Ok(_) => {}
                // Hops before one that cannot be parsed may be forged.
                Err(_) => asked_by = None,
            }
        }
    }
    asked_by.unwrap_or_else(|| client.peer.ip().to_canonical())
}
