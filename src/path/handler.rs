//! The whole way of a request on one screen.

use std::{
    cell::RefCell,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_http::{
    Method, StatusCode, Version,
    body::{BodySize, BoxBody, MessageBody as _},
    header::{self, HeaderMap, HeaderValue},
};
use actix_web::{
    HttpMessage as _, HttpResponse,
    dev::{Payload, ServiceRequest, ServiceResponse},
    web,
};
use opentelemetry::trace::SpanContext;
use tracing_actix_web::RequestId;

use super::{
    admission,
    body::{Body, Transfer},
    client::Client,
    error::ProxyError,
    framing::Framing,
    headers,
    meter::Meter,
    network::Network,
    origin::{Fetched, Origin, connection::Connection, fetch::Request, shared::Shared},
    policy::{InForce, Policy},
    stored::{
        fetcher::Fetcher,
        front::{self, Front},
        reply::Reply,
    },
    target::Target,
    trace::{self, Trace, Tracer},
    tunnel::Tunnel,
    upgrades::Place,
    upload::{self, Upload},
};
use crate::{
    actors::Reporter,
    store::Store,
    traffic::{canary::split::Bucket, keys::Keys, published::Published, tuning::Tuning},
};

/// Most fileproxies that a request may pass before it is taken to go round.
const MAX_PASSES: usize = 8;

/// What one worker needs for its requests.
pub struct Worker {
    /// What requests must keep to.
    policy: InForce,
    /// The origin, with this worker's connections to it, and what it was made of.
    origin: RefCell<(Arc<Shared>, Rc<Origin>)>,
    /// Takes the samples.
    reporter: Reporter,
    /// What the actors say.
    published: Arc<Published>,
    /// What is kept of the origin's responses.
    store: Arc<Store>,
    /// Makes spans, where a collector is set.
    tracer: Option<Tracer>,
}

impl Worker {
    /// The worker on this thread.
    pub fn new(
        policy: InForce,
        reporter: Reporter,
        published: Arc<Published>,
        store: Arc<Store>,
        tracer: Option<Tracer>,
    ) -> Self {
        let shared = Arc::clone(&policy.load().origin);
        let origin = Origin::start(&shared);
        Worker {
            policy,
            origin: RefCell::new((shared, origin)),
            reporter,
            published,
            store,
            tracer,
        }
    }

    /// What is in force now. Where the origin's side changed, transfers under way keep what they began with.
    fn terms(&self) -> Terms {
        let policy = self.policy.load_full();
        let mut origin = self.origin.borrow_mut();
        if !Arc::ptr_eq(&origin.0, &policy.origin) {
            let shared = Arc::clone(&policy.origin);
            *origin = (Arc::clone(&shared), Origin::start(&shared));
        }
        let origin = Rc::clone(&origin.1);
        Terms { policy, origin }
    }
}

/// What one request came under: it keeps to this to its end.
struct Terms {
    policy: Arc<Policy>,
    origin: Rc<Origin>,
}

/// Forwards one request to the origin and its response to the client.
///
/// # Errors
///
/// None: what goes wrong becomes a response.
pub async fn forward(
    mut request: ServiceRequest,
    worker: Rc<Worker>,
) -> Result<ServiceResponse, actix_web::Error> {
    let Some(client) = Client::of(&request) else {
        return Ok(request.into_response(HttpResponse::InternalServerError()));
    };
    let terms = worker.terms();
    let id = request_id(&request);
    let asked_by = asked_by(&request, &client, &terms.policy);
    let bucket = Bucket::of(asked_by);
    // reports on every way out
    let mut meter = Meter::start(
        worker.reporter.clone(),
        client.engage(),
        Keys::of(request.uri().path(), request.uri().query(), asked_by),
        worker.published.split.membership(bucket),
    );
    if terms.policy.access_log || worker.tracer.is_some() {
        account(
            &request,
            worker.tracer.as_ref(),
            &terms.policy,
            (&client, asked_by),
            &id,
            &mut meter,
        );
    }
    let place = match place(&client, asked_by, &terms.policy, &worker.published) {
        Ok(place) => place,
        Err(error) => {
            meter.failed(&error);
            let response = error.response(request.request(), &id);
            return Ok(request.into_response(response));
        }
    };
    let response = match exchange(
        &mut request,
        &worker,
        &terms,
        (&client, Network::of(asked_by)),
        (bucket, place.is_some()),
        &id,
        &mut meter,
    )
    .await
    {
        Ok(Answered::Store(reply)) => relay(&request, *reply, &worker, &client, bucket, meter),
        Ok(Answered::Origin(mut fetched)) => match (fetched.switched.take(), place) {
            (Some(origin), Some(place)) => {
                let idle = terms.policy.upgrades.0.idle;
                let payload = request.take_payload();
                let client = (client, payload);
                switch(
                    *origin,
                    fetched.headers,
                    client,
                    &worker,
                    (place, idle),
                    &id,
                    meter,
                )
            }
            _ => {
                let reply = Reply::fetched(*fetched, &id);
                relay(&request, reply, &worker, &client, bucket, meter)
            }
        },
        Err(error) => {
            meter.failed(&error);
            if matches!(error, ProxyError::SlowUpload) {
                worker.published.counters.clients.body_timeouts.increment();
                client.refuses_body();
            }
            error.response(request.request(), &id)
        }
    };
    Ok(request.into_response(response))
}

/// Who answered a request.
enum Answered {
    /// The store.
    Store(Box<Reply>),
    /// The origin, for this request alone.
    Origin(Box<Fetched>),
}

/// Begins what the request's access line and spans tell.
fn account(
    request: &ServiceRequest,
    tracer: Option<&Tracer>,
    policy: &Policy,
    (client, asked_by): (&Client, IpAddr),
    id: &HeaderValue,
    meter: &mut Meter,
) {
    let (method, uri) = (request.method(), request.uri());
    let parent = trace::parent(request.headers(), client.trusted);
    let trace_id = parent.as_ref().map(SpanContext::trace_id);
    if let Some(tracer) = tracer {
        meter.trace(Trace::begin(tracer, parent, method, uri, asked_by));
    }
    if policy.access_log {
        meter.log(id, method, uri, asked_by, trace_id);
        if policy.access_details {
            meter.detail(request.version(), request.headers());
        }
    }
}

/// The store; else admission, then the origin.
async fn exchange(
    request: &mut ServiceRequest,
    worker: &Worker,
    terms: &Terms,
    (client, network): (&Rc<Client>, Network),
    (bucket, switches): (Bucket, bool),
    id: &HeaderValue,
    meter: &mut Meter,
) -> Result<Answered, ProxyError> {
    if *request.method() == Method::CONNECT {
        return Err(ProxyError::Method("CONNECT"));
    }
    let target = Target::of(
        request.method(),
        request.version(),
        request.uri(),
        request.headers(),
    )?;
    if headers::passes_so_far(request.headers()) >= MAX_PASSES {
        return Err(ProxyError::Loop);
    }
    let upload = upload(request, client, terms.policy.upload_limits());
    let progress = upload.as_ref().map(Upload::progress);
    let tuning = worker.published.tuning_for(bucket).load_full();
    let deadline = Instant::now() + tuning.exchange_timeout;
    let method = request.method().clone();
    // HTTP/1.0 knows no interim responses (RFC 9110 §15.2).
    let informed = (request.version() >= Version::HTTP_11).then(|| Rc::clone(client));
    let mut headers = fields(request, &terms.policy, client, target.host, id);
    if let Some(offer) = client.offer().filter(|_| switches) {
        headers.insert(header::UPGRADE, offer);
    }
    meter.exchange(&method, &mut headers);
    let may_be_stored = matches!(method, Method::GET | Method::HEAD)
        && upload.is_none()
        && !headers.contains_key(header::UPGRADE);
    let mut bypassed = false;
    if tuning.store && may_be_stored {
        let fetcher = Fetcher {
            origin: Rc::clone(&terms.origin),
            published: Arc::clone(&worker.published),
            keys: meter.keys(),
            bucket,
            network,
            target: target.path.clone(),
            fields: headers.clone(),
        };
        let client = (&method, informed.clone());
        match from_store(worker, &tuning, fetcher, client, id, meter).await? {
            Some(answered) => return Ok(answered),
            None => bypassed = true,
        }
    }
    admission::admit(&worker.published, &tuning, meter.keys()).await?;
    let fetched = terms
        .origin
        .fetch(
            Request {
                method,
                target: Some(target.path),
                headers,
                upload,
                informed,
                bucket,
                network,
            },
            &tuning,
            deadline,
        )
        .await
        .map_err(|error| {
            ProxyError::of(error, progress.as_ref().and_then(upload::Progress::fault))
        })?;
    meter.answered(fetched.status, fetched.ttfb);
    let mut fetched = fetched;
    if bypassed {
        front::tell_bypass(&mut fetched.headers);
    }
    Ok(Answered::Origin(Box::new(fetched)))
}

/// The store's answer; none where the origin is to be asked by the request as it came.
async fn from_store(
    worker: &Worker,
    tuning: &Tuning,
    fetcher: Fetcher,
    (method, informed): (&Method, Option<Rc<Client>>),
    id: &HeaderValue,
    meter: &mut Meter,
) -> Result<Option<Answered>, ProxyError> {
    let fetcher = Rc::new(fetcher);
    let Some(front) = Front::of(&worker.store, method, fetcher, informed) else {
        return Ok(None);
    };
    Ok(match front.answer(tuning.exchange_timeout).await? {
        front::Answer::Store(mut reply, ttfb) => {
            meter.answered(reply.status, ttfb);
            reply.pass_on(id);
            Some(Answered::Store(reply))
        }
        front::Answer::Origin(mut fetched) => {
            meter.answered(fetched.status, fetched.ttfb);
            front::tell_bypass(&mut fetched.headers);
            Some(Answered::Origin(fetched))
        }
        front::Answer::Bypass => None,
    })
}

/// The place of a connection that may switch to another protocol, where its client offers that and the offer can be passed
/// on; while the process drains it is not.
///
/// # Errors
///
/// [`ProxyError::Upgrades`]: there are too many.
fn place(
    client: &Client,
    asked_by: IpAddr,
    policy: &Policy,
    published: &Published,
) -> Result<Option<Place>, ProxyError> {
    let (settings, places) = &policy.upgrades;
    if !client.offers_websocket() || settings.max == 0 || published.is_draining() {
        return Ok(None);
    }
    let place = places.take(asked_by, settings);
    place.map(Some).ok_or(ProxyError::Upgrades)
}

/// Passes the origin's 101 on, and from then on whatever comes, both ways.
fn switch(
    origin: Connection,
    mut headers: HeaderMap,
    (client, payload): (Rc<Client>, Payload),
    worker: &Worker,
    place: (Place, Duration),
    id: &HeaderValue,
    mut meter: Meter,
) -> HttpResponse {
    let chosen = headers.get(header::UPGRADE).cloned();
    let status = StatusCode::SWITCHING_PROTOCOLS;
    headers::to_client(&mut headers, status, id);
    let mut response = HttpResponse::new(status);
    *response.headers_mut() = headers;
    if let Some(chosen) = chosen {
        response.headers_mut().insert(header::UPGRADE, chosen);
    }
    response
        .head_mut()
        .set_connection_type(actix_http::ConnectionType::Upgrade);
    worker.published.counters.clients.upgrades.increment();
    meter.switched();
    client.switches_protocol();
    let published = Arc::clone(&worker.published);
    let tunnel = Tunnel::new(origin, (client, payload), published, meter, place);
    response.set_body(BoxBody::new(tunnel))
}

/// Passes a response on.
fn relay(
    request: &ServiceRequest,
    reply: Reply,
    worker: &Worker,
    client: &Rc<Client>,
    bucket: Bucket,
    mut meter: Meter,
) -> HttpResponse {
    let Reply {
        status,
        headers,
        told,
        framing,
        mut flow,
    } = reply;
    let mut response = HttpResponse::new(status);
    *response.headers_mut() = headers;

    if framing == Framing::None {
        meter.completed();
        // To HEAD: the length of what a GET would send, without sending it.
        return match told {
            Some(length) if request.method() == Method::HEAD => {
                response.set_body(BoxBody::new(Nothing(length)))
            }
            _ => response.set_body(BoxBody::new(actix_http::body::None::new())),
        };
    }
    if let Some(whole) = flow.take_whole() {
        meter.passed(whole.len());
        meter.completed();
        return response.set_body(BoxBody::new(whole));
    }
    let published = Arc::clone(&worker.published);
    let transfer = Transfer::new(flow, published, bucket, meter);
    client.sends(&transfer);
    let body = match framing {
        Framing::Length(length) => Body::new(transfer, BodySize::Sized(length)),
        // No chunks for HTTP/1.0, nor where actix-http holds a WebSocket to be begun: the body runs to the close.
        _ if request.version() < Version::HTTP_11 || client.offers_websocket() => {
            response.head_mut().no_chunking(true);
            response
                .head_mut()
                .set_connection_type(actix_http::ConnectionType::Close);
            Body::to_the_close(transfer, Rc::clone(client))
        }
        _ => Body::new(transfer, BodySize::Stream),
    };
    response.set_body(body.boxed())
}

/// The fields that the origin sees. They are the request's own, taken from it: nothing needs them there any more.
fn fields(
    request: &mut ServiceRequest,
    policy: &Policy,
    client: &Client,
    named: Option<HeaderValue>,
    id: &HeaderValue,
) -> HeaderMap {
    let from = headers::Client {
        address: &client.address,
        trusted: client.trusted,
        scheme: if client.secure { "https" } else { "http" },
        version: request.version(),
    };
    let mut fields = std::mem::replace(request.headers_mut(), HeaderMap::new());
    if let Some(host) = named {
        // An absolute target names the host, whatever Host says (RFC 9112 §3.2.2).
        fields.insert(header::HOST, host);
    }
    headers::to_origin(&mut fields, from, policy.host.as_ref(), id);
    fields
}

/// The request's body, if it has one.
fn upload(
    request: &mut ServiceRequest,
    client: &Rc<Client>,
    limits: upload::Limits,
) -> Option<Upload> {
    let upload = |payload, length| Upload::new(Rc::clone(client), payload, length, limits);
    if request.chunked().unwrap_or(false) {
        return Some(upload(request.take_payload(), None));
    }
    let Some(length) = headers::content_length(request.headers()) else {
        // HTTP/2 has no need to tell how long a body is.
        let has_body = request.version() == Version::HTTP_2;
        let payload = has_body.then(|| request.take_payload());
        return payload
            .filter(|payload| !matches!(payload, Payload::None))
            .map(|payload| upload(payload, None));
    };
    // A length of zero is worth telling where the method means a body (RFC 9110 §8.6).
    let means_a_body = matches!(
        *request.method(),
        Method::POST | Method::PUT | Method::PATCH
    );
    (length > 0 || means_a_body).then(|| upload(request.take_payload(), Some(length)))
}

/// The client's own id, or the one made for this request.
fn request_id(request: &ServiceRequest) -> HeaderValue {
    if let Some(id) = headers::request_id(request.headers()) {
        return id.clone();
    }
    let made = request.extensions().get::<RequestId>().copied();
    let mut text = uuid::Uuid::encode_buffer();
    let text = made.map(|id| &*id.hyphenated().encode_lower(&mut text));
    text.and_then(|id| HeaderValue::from_str(id).ok())
        .unwrap_or(HeaderValue::from_static(""))
}

/// Who asked: the peer, or whom a trusted proxy says it asks for.
fn asked_by(request: &ServiceRequest, client: &Client, policy: &Policy) -> IpAddr {
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

/// A body that tells its length and sends nothing: the answer to HEAD.
struct Nothing(u64);

impl actix_http::body::MessageBody for Nothing {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0)
    }

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<web::Bytes, Self::Error>>> {
        std::task::Poll::Ready(None)
    }
}
