//! A request's place in a trace (W3C Trace Context), and its spans for a collector (OpenTelemetry, OTLP).
//!
//! One span for the request, and within it one for the exchange with the origin, which is the parent of the origin's own spans.
//! Without a collector no spans are made, and the client's trace fields pass unchanged.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use actix_http::{
    Method, StatusCode, Uri,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use opentelemetry::{
    Context, KeyValue,
    trace::{
        Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags,
        TraceId, TraceState, Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_sdk::{
    Resource,
    trace::{
        Sampler, SamplingDecision, SamplingResult, SdkTracer, SdkTracerProvider, ShouldSample, Span,
    },
};
use serde::{Deserialize, Serialize};

use super::collector::{CollectorError, exporter};
use crate::{reloadable::reloadable, traffic::sample::Outcome, units::OutOfRange};

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Longest path in a span.
const MAX_PATH: usize = 1024;
/// How long to wait for the last spans to be sent when the process ends.
const LAST: Duration = Duration::from_secs(3);

/// `[traces]`: where spans are sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The collector's URL, for OTLP over HTTP; empty: no spans.
    pub collector: String,
    /// PEM file of CA certificates for an https collector, in addition to the system's; empty: none.
    pub ca_file: PathBuf,
    /// The share of requests that are traced, 0 to 1, chosen by trace id.
    pub share: f64,
    /// The service name in the spans.
    pub service: String,
}

reloadable!(Settings {
    collector: AfterRestart,
    ca_file: AfterRestart,
    share: AfterRestart,
    service: AfterRestart,
});

impl Settings {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that makes no sense.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let uri = self.collector.parse::<Uri>().ok();
        let plain = uri.is_some_and(|uri| {
            let host = uri.authority();
            matches!(uri.scheme_str(), Some("http" | "https"))
                && host.is_some_and(|host| !host.as_str().contains('@'))
                && uri.query().is_none()
        });
        OutOfRange::unless(
            self.collector.is_empty() || plain,
            "traces.collector",
            "empty, or an http or https URL without user, password and query, like \"http://127.0.0.1:4318\"",
            "something else",
        )?;
        OutOfRange::unless(
            (0.0..=1.0).contains(&self.share),
            "traces.share",
            "0 to 1",
            self.share,
        )?;
        OutOfRange::unless(
            !self.service.is_empty(),
            "traces.service",
            "a name",
            "empty",
        )
    }
}

/// The connection to the collector. Clones share it.
#[derive(Clone, Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// Starts exporting spans to the configured collector; none if no collector is set. Whether it is reachable is not checked:
    /// spans are sent in batches by a separate thread, and failures are logged.
    ///
    /// # Errors
    ///
    /// [`CollectorError`]
    pub fn start(settings: &Settings) -> Result<Option<Self>, CollectorError> {
        if settings.collector.is_empty() {
            return Ok(None);
        }
        let exporter = exporter(&settings.collector, &settings.ca_file)?;
        let resource = Resource::builder()
            .with_service_name(settings.service.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Chosen {
                by_share: Sampler::TraceIdRatioBased(settings.share),
            })
            .with_resource(resource.build())
            .build();
        Ok(Some(Self { provider }))
    }

    /// Creates a tracer.
    pub fn tracer(&self) -> Tracer {
        Tracer(self.provider.tracer("fileproxy"))
    }

    /// Sends the remaining spans and stops. Blocks for some seconds if the collector does not answer.
    pub fn stop(&self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST) {
            tracing::warn!(%error, "the last spans did not reach the collector");
        }
    }
}

/// Makes spans.
#[derive(Clone, Debug)]
pub struct Tracer(SdkTracer);

/// Samples what the caller sampled, and a share of the rest.
#[derive(Clone, Debug)]
struct Chosen {
    by_share: Sampler,
}

impl ShouldSample for Chosen {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let mut result = self
            .by_share
            .should_sample(parent, id, name, kind, attributes, links);
        let chosen = parent.is_some_and(|parent| parent.span().span_context().is_sampled());
        // the exchange is sampled if its request is
        let within = parent.is_some_and(|parent| !parent.span().span_context().is_remote());
        if chosen {
            result.decision = SamplingDecision::RecordAndSample;
        } else if within && parent.is_some_and(|parent| parent.has_active_span()) {
            result.decision = SamplingDecision::Drop;
        }
        result
    }
}

/// The caller's trace context, from `traceparent` (W3C Trace Context, section 3.2). Its sampled flag counts only if it is
/// `trusted`.
pub fn parent(headers: &HeaderMap, trusted: bool) -> Option<SpanContext> {
    let mut fields = headers.get_all(&TRACEPARENT);
    let text = fields.next()?.to_str().ok()?;
    if fields.next().is_some() {
        return None;
    }
    let hex = |part: &str, length: usize| {
        let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        part.len() == length && part.bytes().all(lower)
    };
    let mut parts = text.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // a later version may append more fields
    let sound = hex(version, 2)
        && version != "ff"
        && hex(trace, 32)
        && hex(span, 16)
        && hex(flags, 2)
        && (version != "00" || parts.next().is_none());
    if !sound {
        return None;
    }
    let wants = u8::from_str_radix(flags, 16).ok()? & 1 == 1;
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::default().with_sampled(wants && trusted),
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

/// The spans of one request. Dropping it ends them.
#[derive(Debug)]
pub struct Trace {
    tracer: SdkTracer,
    /// The request's span, as parent of the exchange's.
    request: Context,
    exchange: Option<Span>,
    continued: bool,
}

impl Trace {
    /// Begins a request's span.
    pub fn begin(
        Tracer(tracer): &Tracer,
        parent: Option<SpanContext>,
        method: &Method,
        uri: &Uri,
        client: IpAddr,
    ) -> Self {
        let path = uri.path();
        let path = path.get(..path.len().min(MAX_PATH)).unwrap_or(path);
        let continued = parent.is_some();
        let parent = parent.map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(parent)
        });
        let span = tracer
            .span_builder(known(method))
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("http.request.method", known(method)),
                KeyValue::new("url.path", path.to_owned()),
                KeyValue::new("client.address", client.to_string()),
            ])
            .start_with_context(tracer, &parent);
        Self {
            tracer: tracer.clone(),
            request: Context::new().with_span(span),
            exchange: None,
            continued,
        }
    }

    /// The trace's id.
    pub fn id(&self) -> TraceId {
        self.request.span().span_context().trace_id()
    }

    /// Begins the span of the exchange with the origin, and adds the trace fields to the request.
    pub fn exchange(&mut self, method: &Method, headers: &mut HeaderMap) {
        let span = self
            .tracer
            .span_builder(known(method))
            .with_kind(SpanKind::Client)
            .with_attributes([KeyValue::new("http.request.method", known(method))])
            .start_with_context(&self.tracer, &self.request);
        let context = span.span_context();
        let field = format!(
            "00-{}-{}-{:02x}",
            context.trace_id(),
            context.span_id(),
            context.trace_flags()
        );
        if let Ok(field) = HeaderValue::from_str(&field) {
            headers.insert(TRACEPARENT.clone(), field);
        }
        if !self.continued {
            // tracestate of a trace that is not continued
            headers.remove(&TRACESTATE);
        }
        self.exchange = Some(span);
    }

    /// The origin's response head has arrived.
    pub fn answered(&mut self, status: StatusCode) {
        if let Some(mut span) = self.exchange.take() {
            span.set_attribute(status_code(status));
            if status.is_client_error() || status.is_server_error() {
                span.set_status(Status::error(""));
            }
            span.end();
        }
    }

    /// The request has ended.
    pub fn end(mut self, outcome: Outcome, status: Option<StatusCode>, bytes: u64) {
        if let Some(mut span) = self.exchange.take() {
            span.set_status(Status::error(outcome.as_str()));
        }
        let span = self.request.span();
        if let Some(status) = status {
            span.set_attribute(status_code(status));
        }
        span.set_attribute(KeyValue::new(
            "http.response.body.size",
            i64::try_from(bytes).unwrap_or(i64::MAX),
        ));
        span.set_attribute(KeyValue::new("fileproxy.outcome", outcome.as_str()));
        if outcome.is_origin_error() || !outcome.reached_origin() {
            span.set_status(Status::error(outcome.as_str()));
        }
        span.end();
    }
}

fn status_code(status: StatusCode) -> KeyValue {
    KeyValue::new("http.response.status_code", i64::from(status.as_u16()))
}

/// A method for a span's name; unknown methods are replaced, because they may be arbitrarily long.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        Method::TRACE => "TRACE",
        _ => "_OTHER",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent_of(text: &str) -> Option<SpanContext> {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT.clone(), text.parse().unwrap());
        parent(&headers, true)
    }

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let good = parent_of(&format!("00-{trace}-b7ad6b7169203331-01")).unwrap();
        assert_eq!(good.trace_id().to_string(), trace);
        assert_eq!(good.span_id().to_string(), "b7ad6b7169203331");
        assert!(good.is_sampled());
        for text in [
            format!("cc-{trace}-b7ad6b7169203331-01-what-comes"),
            format!("00-{trace}-b7ad6b7169203331-00"),
        ] {
            assert!(parent_of(&text).is_some(), "{text}");
        }
        for text in [
            String::new(),
            format!("00-{trace}-b7ad6b7169203331"),
            format!("00-{trace}-b7ad6b7169203331-01-more"),
            format!("ff-{trace}-b7ad6b7169203331-01"),
            format!("00-{}-b7ad6b7169203331-01", trace.to_uppercase()),
            format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)),
            format!("00-{trace}-0000000000000000-01"),
            format!("00-{trace}-b7ad6b716920333-01"),
            "00-+-b7ad6b7169203331-01".to_owned(),
        ] {
            assert!(parent_of(&text).is_none(), "{text}");
        }
    }

    #[test]
    fn only_a_trusted_one_can_ask_to_be_traced() {
        let mut headers = HeaderMap::new();
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        headers.insert(TRACEPARENT.clone(), text.parse().unwrap());
        assert!(parent(&headers, true).unwrap().is_sampled());
        assert!(!parent(&headers, false).unwrap().is_sampled());
    }

    #[test]
    fn a_collector_is_an_http_or_https_url_and_its_password_is_not_repeated() {
        let settings = |collector: &str| Settings {
            collector: collector.to_owned(),
            ca_file: PathBuf::new(),
            share: 0.1,
            service: "s".to_owned(),
        };
        for good in ["", "http://127.0.0.1:4318", "https://collector/otlp/"] {
            settings(good).check().unwrap();
        }
        for bad in [
            "http://user:secret@collector",
            "collector:4318",
            "http://a/?b",
        ] {
            let error = settings(bad).check().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
