//! Measures one request from head to end, and reports a sample, the access line and the trace.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use actix_http::{
    Method, StatusCode, Uri, Version,
    header::{HeaderMap, HeaderName, HeaderValue, REFERER, USER_AGENT},
};
use opentelemetry::trace::TraceId;
use tracing::Span;

use super::{client::Engaged, error::ProxyError, origin::body_error::BodyError, trace::Trace};
use crate::{
    actors::Reporter,
    traffic::{
        canary::split::Membership,
        keys::Keys,
        origin_id::OriginId,
        quality::Class,
        sample::{Outcome, Sample},
    },
};

/// Measures one request. On drop it reports a sample, writes the access line and ends the trace. If no end was recorded before, the
/// client left.
pub struct Meter {
    reporter: Reporter,
    line: Option<AccessLine>,
    started: Instant,
    outcome: Option<Outcome>,
    status: Option<StatusCode>,
    origin_ttfb: Option<Duration>,
    ttfb: Option<Duration>,
    bytes: u64,
    /// Time from the head to the protocol switch, if there was one; reported as the request's total time.
    switched: Option<Duration>,
    cause: Option<String>,
    origin: OriginId,
    keys: Keys,
    canary: Option<Membership>,
    trace: Option<Box<Trace>>,
    /// The tracing span with the request's id: log lines about the request are written inside it.
    span: Span,
    engaged: Engaged,
}

/// Values that only the access line needs.
#[derive(Debug)]
struct AccessLine {
    id: HeaderValue,
    method: Method,
    uri: Uri,
    client: IpAddr,
    trace: Option<TraceId>,
    details: Option<Box<Details>>,
}

/// Values for the access line if `log.access_details` is on.
#[derive(Debug)]
struct Details {
    protocol: &'static str,
    user_agent: Option<String>,
    /// The Referer without its query, which may contain a token.
    referrer: Option<String>,
}

impl Details {
    /// The most bytes of a field that are logged.
    const LONGEST: usize = 256;

    fn of(version: Version, headers: &HeaderMap) -> Self {
        let field = |name: HeaderName| {
            let value = headers.get(name)?.as_bytes();
            let value = &value[..value.len().min(Self::LONGEST)];
            Some(String::from_utf8_lossy(value).into_owned())
        };
        let plain = |mut url: String| {
            url.truncate(url.find(['?', '#']).unwrap_or(url.len()));
            url
        };
        Details {
            protocol: match version {
                Version::HTTP_10 => "HTTP/1.0",
                Version::HTTP_2 => "HTTP/2",
                _ => "HTTP/1.1",
            },
            user_agent: field(USER_AGENT),
            referrer: field(REFERER).map(plain),
        }
    }
}

impl Meter {
    /// Starts measuring a request whose head is complete. `keys` group it for the rate limit, `canary` is its client's group if a
    /// canary runs.
    pub fn start(
        reporter: Reporter,
        engaged: Engaged,
        origin: OriginId,
        keys: Keys,
        canary: Option<Membership>,
        id: &HeaderValue,
    ) -> Self {
        let request_id = id.to_str().unwrap_or_default();
        Meter {
            span: tracing::debug_span!("request", request_id),
            reporter,
            line: None,
            started: Instant::now(),
            outcome: None,
            status: None,
            origin_ttfb: None,
            ttfb: None,
            bytes: 0,
            switched: None,
            cause: None,
            origin,
            keys,
            canary,
            trace: None,
            engaged,
        }
    }

    /// Adds the request to a trace. Call it before [`Meter::log`], so that the access line gets the trace id.
    pub fn trace(&mut self, trace: Trace) {
        self.trace = Some(Box::new(trace));
    }

    /// Enables the access line. `trace` is the trace id that the client sent, if the proxy makes no trace itself.
    pub fn log(
        &mut self,
        id: &HeaderValue,
        method: &Method,
        uri: &Uri,
        client: IpAddr,
        trace: Option<TraceId>,
    ) {
        let trace = self.trace.as_ref().map(|trace| trace.id()).or(trace);
        self.line = Some(AccessLine {
            id: id.clone(),
            method: method.clone(),
            uri: uri.clone(),
            client,
            trace,
            details: None,
        });
    }

    /// Adds User-Agent, Referer and HTTP version to the access line. Call it after [`Meter::log`].
    pub fn detail(&mut self, version: Version, headers: &HeaderMap) {
        if let Some(line) = &mut self.line {
            line.details = Some(Box::new(Details::of(version, headers)));
        }
    }

    /// The tracing span with the request's id: log lines about the request are written inside it.
    pub fn span(&self) -> &Span {
        &self.span
    }

    /// The keys that group the request for the rate limit.
    pub fn keys(&self) -> Keys {
        self.keys
    }

    /// Quality class of the client's connection.
    pub fn client_class(&self) -> Class {
        self.engaged.client().class()
    }

    /// The request is sent to the origin: begins its span and adds the trace fields.
    pub fn exchange(&mut self, method: &Method, headers: &mut HeaderMap) {
        if let Some(trace) = &mut self.trace {
            trace.exchange(method, headers);
        }
    }

    /// The response head is here. `origin_ttfb` is none if the request shared another request's response.
    pub fn answered(&mut self, status: StatusCode, origin_ttfb: Option<Duration>) {
        self.status = Some(status);
        self.origin_ttfb = origin_ttfb;
        self.ttfb = Some(self.started.elapsed());
        if let Some(trace) = &mut self.trace {
            trace.answered(status);
        }
    }

    /// Records a protocol switch: the request's time ends here, however long the connection lasts.
    pub fn switched(&mut self) {
        self.switched = Some(self.started.elapsed());
    }

    /// Counts body bytes handed to the client.
    pub fn passed(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.engaged.sent(bytes as u64);
    }

    /// The whole response was handed to the client.
    pub fn completed(&mut self) {
        let status = self.status.map_or(0, |s| s.as_u16());
        self.outcome = Some(match status {
            500.. => Outcome::OriginFailed,
            400.. => Outcome::Refused,
            _ => Outcome::Completed,
        });
    }

    /// The response's body failed.
    pub fn broke(&mut self, error: &BodyError) {
        self.outcome = Some(error.outcome());
        self.cause = Some(error.to_string());
    }

    /// The proxy answers the request with an error.
    pub fn failed(&mut self, error: &ProxyError) {
        self.outcome = Some(error.outcome());
        self.status = Some(error.status());
        self.cause = Some(error.to_string());
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let ended = Instant::now();
        let total = ended - self.started;
        // No end was recorded: the client left, or its body violated HTTP.
        let refused = match self.outcome {
            None => self.engaged.client().refused(),
            Some(_) => None,
        };
        let mut outcome = self.outcome.unwrap_or(Outcome::ClientLeft);
        if let Some(refusal) = refused {
            outcome = Outcome::ClientFault;
            self.status = self.status.or(Some(refusal.status()));
            self.cause = Some(refusal.to_string());
        }
        if let Some(status) = self.status {
            let published = self.engaged.client().published();
            published.clients.responded(status.as_u16());
        }
        self.reporter.report(Sample {
            ended,
            outcome,
            origin_ttfb: self.origin_ttfb,
            ttfb: self.ttfb,
            total: self.switched.unwrap_or(total),
            bytes: self.bytes,
            origin: self.origin,
            keys: self.keys,
            canary: self.canary,
        });
        if let Some(trace) = self.trace.take() {
            trace.end(outcome, self.status, self.bytes);
        }
        if let Some(line) = &self.line {
            let details = line.details.as_deref();
            tracing::info!(
                target: "access",
                id = line.id.to_str().unwrap_or_default(),
                trace_id = line.trace.map(tracing::field::display),
                client = %line.client,
                method = %line.method,
                // Without the query, which may contain a token.
                path = line.uri.path(),
                status = self.status.map(|s| s.as_u16()),
                outcome = outcome.as_str(),
                bytes = self.bytes,
                origin_ms = self.origin_ttfb.map(milliseconds),
                total_ms = milliseconds(total),
                cause = self.cause.as_deref(),
                protocol = details.map(|details| details.protocol),
                user_agent = details.and_then(|details| details.user_agent.as_deref()),
                referrer = details.and_then(|details| details.referrer.as_deref()),
                group = self.canary.map(|member| member.group.as_str()),
                "request"
            );
        }
    }
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
