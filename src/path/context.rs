//! What goes with one request from its head to the end of its response.

use std::{net::IpAddr, rc::Rc, sync::Arc};

use actix_http::{
    HttpMessage as _, Request, Response,
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
    trace::{self, Trace},
    upgrades::UpgradePermit,
    worker::Worker,
};
use crate::traffic::{canary::split::Bucket, keys::Keys};

/// What goes with one request from its head to the end of its response.
pub(super) struct Context {
    /// The worker that serves it.
    pub worker: Rc<Worker>,
    /// The policy in force when it arrived; a reload does not touch it.
    pub policy: Arc<Policy>,
    /// The origin in force when it arrived.
    pub origin: Rc<Origin>,
    /// The connection that it came on.
    pub client: Rc<Client>,
    /// Who asked: the peer, or whom a trusted proxy says it asks for.
    pub asked_by: IpAddr,
    /// Where who asked stands in a canary.
    pub bucket: Bucket,
    /// Its id: the client's own, or one made here.
    pub id: HeaderValue,
    /// Lets its connection switch to another protocol; none where that was not offered or is not taken.
    pub upgrade: Option<UpgradePermit>,
    /// Its account: reports a sample on every way out.
    pub meter: Meter,
}

impl Context {
    /// The context of a request whose head is here; none for one that no client sent.
    pub fn of(request: &Request, worker: Rc<Worker>) -> Option<Self> {
        let client = Client::of(request)?;
        let (policy, origin) = worker.in_force();
        let id = request_id(request);
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
            upgrade: None,
            meter,
        })
    }

    /// The network that it is from: networks share what all need.
    pub fn network(&self) -> Network {
        Network::of(self.asked_by)
    }

    /// The fields that the origin sees. They are the request's own, taken from it: nothing needs them there any more. `host`
    /// is what an absolute target names.
    pub fn fields(&self, request: &mut Request, host: Option<HeaderValue>) -> HeaderMap {
        let from = headers::Client {
            address: &self.client.address,
            trusted: self.client.trusted,
            scheme: if self.client.secure { "https" } else { "http" },
            version: request.version(),
        };
        let mut fields = std::mem::replace(request.headers_mut(), HeaderMap::new());
        if let Some(host) = host {
            // An absolute target names the host, whatever Host says (RFC 9112 §3.2.2).
            fields.insert(header::HOST, host);
        }
        headers::to_origin(&mut fields, from, self.policy.host.as_ref(), &self.id);
        fields
    }

    /// Takes leave for its connection to switch to another protocol, where its client offers that and the offer can be passed
    /// on; while the process drains it is not.
    ///
    /// # Errors
    ///
    /// [`ProxyError::Upgrades`]: too many connections switched already.
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

    /// The proxy's own answer to a request that ends by this error.
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

/// The client's own id, or one made for this request.
fn request_id(request: &Request) -> HeaderValue {
    if let Some(id) = headers::request_id(request.headers()) {
        return id.clone();
    }
    let mut text = uuid::Uuid::encode_buffer();
    let text = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

/// Who asked: the peer, or whom a trusted proxy says it asks for.
fn asked_by(request: &Request, client: &Client, policy: &Policy) -> IpAddr {
    let mut asked_by = None;
    if client.trusted {
        let said = request
            .headers()
            .get_all("x-forwarded-for")
            .filter_map(|value| value.to_str().ok());
        for hop in said.flat_map(|value| value.split(',')) {
            match hop.trim().parse::<IpAddr>() {
                // The last that is no proxy of ours.
                Ok(hop) if !headers::is_trusted(hop, &policy.server.trusted_proxies) => {
                    asked_by = Some(hop);
                }
                Ok(_) => {}
                // Before what cannot be read, anything may be made up.
                Err(_) => asked_by = None,
            }
        }
    }
    asked_by.unwrap_or_else(|| client.peer.ip().to_canonical())
}
