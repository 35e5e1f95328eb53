//! The main request handler: builds the context, asks the store or the origin, and sends the response.

use std::{rc::Rc, time::Instant};

use actix_http::{
    HttpMessage as _, Method, Request, Response, StatusCode, Version, body::BoxBody, header,
};
use tracing::Instrument as _;

use super::{
    admission,
    context::Context,
    error::ProxyError,
    headers,
    origin::{self, Fetched},
    relay::relay,
    stored::{
        fetcher::Fetcher,
        front::{self, Front},
        invalidation::Invalidation,
        reply::Reply,
    },
    target::Target,
    tunnel,
    upload::{self, Upload},
    worker::Worker,
};
use crate::traffic::tuning::Tuning;

/// How often a request may have passed this proxy (by Via) before it counts as a forwarding loop.
const MAX_PASSES: usize = 8;

/// Answers one request from the store or the origin. Errors become error responses.
pub async fn forward(mut request: Request, worker: Rc<Worker>) -> Response<BoxBody> {
    let Some(mut context) = Context::of(&request, worker) else {
        return Response::new(StatusCode::INTERNAL_SERVER_ERROR).map_into_boxed_body();
    };
    let span = context.meter.span().clone();
    let answered = answer(&mut request, &mut context).instrument(span);
    match answered.await {
        Ok(Answered::Store(mut reply)) => {
            if let Some(hit) = reply.hit.take() {
                context.may_repeat(&request, *hit);
            }
            relay(&request, *reply, context)
        }
        Ok(Answered::Origin(mut fetched)) => {
            match (fetched.switched.take(), context.upgrade.take()) {
                (Some(origin), Some(permit)) => {
                    let payload = request.take_payload();
                    tunnel::response(*origin, fetched.headers, payload, permit, context)
                }
                _ => {
                    let reply = Reply::fetched(*fetched, &context.id);
                    relay(&request, reply, context)
                }
            }
        }
        Err(error) => context.refuse(&request, &error),
    }
}

/// Who answered a request.
enum Answered {
    /// The store.
    Store(Box<Reply>),
    /// The origin, for this request alone.
    Origin(Box<Fetched>),
}

/// Asks the store first; otherwise, after admission, the origin.
///
/// # Errors
///
/// [`ProxyError`], for which the proxy sends an error response.
async fn answer(request: &mut Request, context: &mut Context) -> Result<Answered, ProxyError> {
    context.take_upgrade()?;
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
    let limits = context.policy.upload_limits();
    let upload = Upload::of(request, &context.client, limits);
    let progress = upload.as_ref().map(Upload::progress);
    let worker = Rc::clone(&context.worker);
    let tuning = context
        .origin
        .state()
        .tuning_for(context.bucket)
        .load_full();
    let deadline = Instant::now() + tuning.exchange_timeout;
    // HTTP/1.0 clients do not know interim responses (RFC 9110 §15.2).
    let informed = (request.version() >= Version::HTTP_11).then(|| Rc::clone(&context.client));
    let mut headers = context.fields(request, target.host);
    if let Some(offer) = context.client.offer().filter(|_| context.upgrade.is_some()) {
        headers.insert(header::UPGRADE, offer);
    }
    context.meter.exchange(request.method(), &mut headers);
    let asked = origin::fetch::Request {
        method: request.method().clone(),
        target: target.path,
        headers,
        upload,
        informed,
        bucket: context.bucket,
        network: context.network(),
    };

    let invalidation = Invalidation::of(
        &worker.store,
        &asked.method,
        &asked.headers,
        asked.target.as_str(),
    );
    let stores = worker.published.level_for(context.bucket).load().store;
    let may_be_stored = stores && asked.may_be_stored();
    if may_be_stored && let Some(answered) = from_store(&asked, &tuning, context).await? {
        return Ok(answered);
    }
    admission::admit(context.origin.state(), &tuning, context.meter.keys()).await?;
    let fetched = context.origin.fetch(asked, &tuning, deadline).await;
    let mut fetched = fetched.map_err(|error| {
        ProxyError::of(error, progress.as_ref().and_then(upload::Progress::fault))
    })?;
    context.meter.answered(fetched.status, Some(fetched.ttfb));
    if let Some(invalidation) = invalidation {
        invalidation.answered(fetched.status, &fetched.headers);
    }
    if may_be_stored {
        front::tell_bypass(&mut fetched.headers);
    }
    Ok(Answered::Origin(Box::new(fetched)))
}

/// The store's response; none if the request must be forwarded unchanged.
async fn from_store(
    asked: &origin::fetch::Request,
    tuning: &Tuning,
    context: &mut Context,
) -> Result<Option<Answered>, ProxyError> {
    let fetcher = Rc::new(Fetcher {
        origin: Rc::clone(&context.origin),
        keys: context.meter.keys(),
        bucket: asked.bucket,
        network: asked.network,
        target: asked.target.clone(),
        fields: asked.headers.clone(),
        is_spare: false,
    });
    let informed = asked.informed.clone();
    let Some(front) = Front::of(&context.worker.store, &asked.method, fetcher, informed) else {
        return Ok(None);
    };
    Ok(match front.answer(tuning.exchange_timeout).await? {
        front::Answer::Store(mut reply, ttfb) => {
            context.meter.answered(reply.status, ttfb);
            reply.pass_on(&context.id);
            Some(Answered::Store(reply))
        }
        front::Answer::Origin(mut fetched) => {
            context.meter.answered(fetched.status, Some(fetched.ttfb));
            front::tell_bypass(&mut fetched.headers);
            Some(Answered::Origin(fetched))
        }
        front::Answer::Bypass => None,
    })
}
