//! Requests the rest of a body that broke or stalled from the origin.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use actix_http::{
    StatusCode,
    header::{self, HeaderMap, HeaderValue},
};
use awc::FrozenClientRequest;
use opentelemetry::trace::{SpanContext, TraceId};

use super::{
    connector::Beside, exchange::Answered, extra_requests::ExtraRequests, reader::Reader,
    rest_error::RestError, target::target_of, worker::Origin,
};
use crate::{
    path::{
        continuation::{Ask, Continuation, Continued},
        headers, trace,
    },
    traffic::{canary::split::Bucket, tolerance::Allowance},
};

/// A request that can be sent again, for a part of the body.
pub struct Replay {
    origin: Rc<Origin>,
    request: FrozenClientRequest,
    bucket: Bucket,
    ttfb: Duration,
    /// By its first response and the settings.
    extra: ExtraRequests,
}

/// The response to a request for the rest.
pub struct Rest {
    /// Where it begins: at the next byte, or before it.
    pub continuation: Continuation,
    /// The rest; none if there are no more bytes now.
    pub reader: Option<Reader>,
}

impl Replay {
    /// Keeps a client's request for later. `ttfb` is the response time of its first response; `extra` tells what may be requested
    /// while that is under way.
    pub fn new(
        origin: Rc<Origin>,
        request: FrozenClientRequest,
        bucket: Bucket,
        ttfb: Duration,
        extra: ExtraRequests,
    ) -> Rc<Self> {
        Rc::new(Replay {
            origin,
            request,
            bucket,
            ttfb,
            extra,
        })
    }

    /// The origin to ask.
    pub fn origin(&self) -> &Rc<Origin> {
        &self.origin
    }

    /// The request's id, as its access line has it.
    pub fn id(&self) -> &str {
        let id = headers::request_id(self.request.headers());
        id.and_then(|id| id.to_str().ok()).unwrap_or_default()
    }

    /// The id of the trace that it belongs to.
    pub fn trace_id(&self) -> Option<TraceId> {
        trace::parent(self.request.headers(), false)
            .as_ref()
            .map(SpanContext::trace_id)
    }

    /// How many parts may be requested beside the original response, by what is known of targets like it.
    pub fn allowance(&self, now: Instant) -> Allowance {
        if self.extra != ExtraRequests::Parts {
            return Allowance::Nothing;
        }
        let tolerance = &self.origin.state().tolerance;
        tolerance.allowance(&target_of(&self.request), now)
    }

    /// Whether a stalled body may get a second connection: not if its URL may be valid for so many requests only, because the second
    /// one could be another client's, or this one's next.
    pub fn may_be_asked_beside(&self, now: Instant) -> bool {
        let tolerance = &self.origin.state().tolerance;
        self.extra != ExtraRequests::Nothing
            && !tolerance.may_be_counted(&target_of(&self.request), now)
    }

    /// A part was refused: targets like this one get fewer.
    pub fn refused(&self, now: Instant) {
        let tolerance = &self.origin.state().tolerance;
        tolerance.refused(&target_of(&self.request), now);
    }

    /// Several parts were accepted: targets like this one may get more.
    pub fn tolerated(&self, now: Instant) {
        let tolerance = &self.origin.state().tolerance;
        tolerance.tolerated(&target_of(&self.request), now);
    }

    /// The usual response time: the origin's, or this request's if that was longer.
    pub fn usual_ttfb(&self) -> Duration {
        self.origin.usual_ttfb().max(self.ttfb)
    }

    /// Requests the rest. It is used only if it is the same representation, from the next byte on or, if allowed, from the first.
    ///
    /// # Errors
    ///
    /// [`RestError`], which tells whether another attempt makes sense.
    pub async fn fetch_rest(
        self: Rc<Self>,
        mut continuation: Continuation,
        ask: Ask,
    ) -> Result<Rest, RestError> {
        let tuning = self.origin.state().tuning_for(self.bucket).load_full();
        let deadline = Instant::now() + tuning.exchange_timeout;
        let request = self.origin.frozen(
            self.request.get_method().clone(),
            self.request.get_uri().clone(),
            self.fields(&continuation, ask),
        )?;
        let Answered {
            head,
            status,
            headers,
            connection,
            ..
        } = self
            .origin
            .connector
            .exchange(&request, Beside::default(), &tuning, deadline)
            .await?;
        if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
            let after = headers.get(header::RETRY_AFTER).and_then(seconds);
            return Err(RestError::Busy(status.as_u16(), after));
        }
        let reader = match continuation.check(ask, status, &headers, head.framing)? {
            Continued::Body => {
                let mut reader = Reader::new(connection, head, Rc::clone(self.origin.pool()));
                if let Some(end) = continuation.end() {
                    reader.promise(end.saturating_sub(continuation.next()));
                }
                Some(reader)
            }
            Continued::Nothing => None,
        };
        Ok(Rest {
            continuation,
            reader,
        })
    }

    /// The client's fields without its conditions; unless the whole body is requested, with Range and If-Range (RFC 9110 §13.1.5).
    fn fields(&self, continuation: &Continuation, ask: Ask) -> HeaderMap {
        let mut fields = self.request.headers().clone();
        for condition in [
            header::RANGE,
            header::IF_RANGE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            header::IF_MODIFIED_SINCE,
            header::IF_UNMODIFIED_SINCE,
        ] {
            fields.remove(condition);
        }
        if ask != Ask::Whole
            && let Ok(range) = HeaderValue::from_str(&continuation.range())
        {
            fields.insert(header::RANGE, range);
            fields.insert(header::IF_RANGE, continuation.validator().value().clone());
        }
        fields.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        fields
    }
}

/// The value of Retry-After, if it is a number (RFC 9110 §10.2.3). A date would need the origin's clock.
fn seconds(value: &HeaderValue) -> Option<Duration> {
    let seconds = value.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
