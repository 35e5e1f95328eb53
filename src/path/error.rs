//! The only place where an error becomes an HTTP status.

use std::time::Duration;

use actix_http::{Response, StatusCode, Uri, body::BoxBody, header};

use super::{
    origin::{connect::ConnectError, fetch_error::FetchError},
    target::BadTarget,
    upload::Fault,
};
use crate::{
    problem::Problem,
    traffic::{rate_gate::OverRate, sample::Outcome},
};

/// Why the proxy answers a request itself.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// 503: the origin's rate limit is exceeded, and the wait would be too long.
    #[error("over the rate limit")]
    Limited(OverRate),
    /// 502, 503 or 504: no response from the origin.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// 408: the request's body came too slowly.
    #[error("the request body came too slowly")]
    SlowUpload,
    /// 400: the request's body was cut off, or its transfer coding is malformed.
    #[error("the request body broke")]
    BrokenUpload,
    /// 503: too many connections speak another protocol already.
    #[error("too many connections speak another protocol: try again in a moment")]
    Upgrades,
    /// 504: `only-if-cached`, and the store has no usable response (RFC 9111 §5.2.1.7).
    #[error("not in the store, and the request says only-if-cached")]
    OnlyIfCached,
    /// 400: the request target or the host is invalid.
    #[error(transparent)]
    Target(#[from] BadTarget),
    /// 405: a method that the proxy does not forward.
    #[error("{0} is not for a reverse proxy")]
    Method(&'static str),
    /// 508: the request has passed this proxy too often.
    #[error("the request came back to this proxy: its origin leads here")]
    Loop,
}

impl ProxyError {
    /// The error of an exchange with the origin; `fault` is set if the request's own body failed.
    pub fn of(error: FetchError, fault: Option<Fault>) -> Self {
        match (error, fault) {
            (FetchError::Upload, Some(Fault::TooSlow)) => ProxyError::SlowUpload,
            (FetchError::Upload, _) => ProxyError::BrokenUpload,
            (error, _) => ProxyError::Fetch(error),
        }
    }

    /// The status that the client gets.
    pub fn status(&self) -> StatusCode {
        match self {
            ProxyError::Limited(_)
            | ProxyError::Upgrades
            | ProxyError::Fetch(FetchError::NoSlot(_)) => StatusCode::SERVICE_UNAVAILABLE,
            ProxyError::Fetch(
                FetchError::Timeout(_) | FetchError::Connect(ConnectError::Timeout(_)),
            ) => StatusCode::GATEWAY_TIMEOUT,
            ProxyError::Fetch(FetchError::Connect(ConnectError::Connect { source, .. }))
                if source.kind() == std::io::ErrorKind::TimedOut =>
            {
                StatusCode::GATEWAY_TIMEOUT
            }
            ProxyError::OnlyIfCached => StatusCode::GATEWAY_TIMEOUT,
            ProxyError::Fetch(_) => StatusCode::BAD_GATEWAY,
            ProxyError::SlowUpload => StatusCode::REQUEST_TIMEOUT,
            ProxyError::BrokenUpload | ProxyError::Target(_) => StatusCode::BAD_REQUEST,
            ProxyError::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            ProxyError::Loop => StatusCode::LOOP_DETECTED,
        }
    }

    /// The outcome to record for the request.
    pub fn outcome(&self) -> Outcome {
        match self {
            ProxyError::Limited(_) => Outcome::RateLimited,
            ProxyError::Upgrades | ProxyError::Fetch(FetchError::NoSlot(_)) => Outcome::Overloaded,
            ProxyError::Fetch(
                FetchError::Connect(ConnectError::Timeout(_)) | FetchError::Timeout(_),
            ) => Outcome::OriginTimeout,
            ProxyError::Fetch(FetchError::Connect(_)) => Outcome::ConnectFailed,
            ProxyError::Fetch(_) => Outcome::OriginBroken,
            ProxyError::SlowUpload
            | ProxyError::BrokenUpload
            | ProxyError::OnlyIfCached
            | ProxyError::Target(_)
            | ProxyError::Method(_)
            | ProxyError::Loop => Outcome::ClientFault,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            ProxyError::Limited(turned) => Some(turned.retry_after),
            ProxyError::Upgrades | ProxyError::Fetch(FetchError::NoSlot(_)) => {
                Some(Duration::from_secs(1))
            }
            _ => None,
        }
    }

    /// The error response. Addresses and system errors are only logged: the client learns what failed, not where.
    pub fn response(&self, uri: &Uri, id: &header::HeaderValue) -> Response<BoxBody> {
        let detail = match self {
            ProxyError::Fetch(FetchError::Connect(_)) => {
                "no connection to the origin could be made".to_owned()
            }
            ProxyError::Fetch(FetchError::Client(_) | FetchError::Head(_)) => {
                "the origin's response could not be read".to_owned()
            }
            other => other.to_string(),
        };
        let problem = Problem::new(self.status(), detail).at(uri);
        let mut response = Response::from(problem.into_response());
        response
            .headers_mut()
            .insert(super::headers::REQUEST_ID.clone(), id.clone());
        if let Some(after) = self.retry_after() {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response.headers_mut().insert(
                header::RETRY_AFTER,
                header::HeaderValue::from(seconds.max(1)),
            );
        }
        if matches!(self, ProxyError::Method(_)) {
            let allow =
                header::HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            response.headers_mut().insert(header::ALLOW, allow);
        }
        if matches!(
            self,
            ProxyError::SlowUpload | ProxyError::BrokenUpload | ProxyError::Target(_)
        ) {
            response
                .head_mut()
                .set_connection_type(actix_http::ConnectionType::Close);
        }
        response
    }
}
