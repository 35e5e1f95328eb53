//! Authorization of admin endpoints by the bearer token.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE},
    },
};
use tracing::warn;

use super::{admin::AdminToken, attempts::Verdict};
use crate::problem::Problem;

/// Why a request is not authorized.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unauthorized {
    /// 401: there is no token.
    #[error("give the admin token: `Authorization: Bearer <token>`")]
    NoToken,
    /// 401: the token is wrong.
    #[error("the token is wrong")]
    WrongToken,
    /// 429: too many wrong tokens from this address.
    #[error("too many attempts without the right token")]
    TooOften {
        /// Time until an attempt from this address is answered with 401 again.
        retry_after: Duration,
        /// Whether to close the connection.
        close: bool,
    },
}

impl Unauthorized {
    /// The response to the client.
    pub(super) fn response(&self, request: &HttpRequest) -> HttpResponse {
        let status = match self {
            Self::NoToken | Self::WrongToken => StatusCode::UNAUTHORIZED,
            Self::TooOften { .. } => StatusCode::TOO_MANY_REQUESTS,
        };
        let problem = Problem::new(status, self.to_string()).at(request.uri());
        let mut builder = problem.builder();
        match self {
            Self::NoToken => {
                builder.insert_header((WWW_AUTHENTICATE, r#"Bearer realm="fileproxy""#));
            }
            Self::WrongToken => {
                let challenge = r#"Bearer realm="fileproxy", error="invalid_token""#;
                builder.insert_header((WWW_AUTHENTICATE, challenge));
            }
            Self::TooOften { retry_after, close } => {
                let seconds = retry_after.as_secs_f64().ceil().max(1.0) as u64;
                builder.insert_header((RETRY_AFTER, seconds));
                if *close {
                    builder.force_close();
                }
            }
        }
        builder.body(problem.body())
    }
}

/// The sender of a request, for the log: the connection's address, because header fields can be forged.
pub(super) fn who(request: &HttpRequest) -> String {
    address(request).map_or_else(|| "unknown".to_owned(), |address| address.to_string())
}

fn address(request: &HttpRequest) -> Option<IpAddr> {
    let peer = request.peer_addr();
    peer.map(|peer| peer.ip().to_canonical())
}

/// Checks the bearer token of a request (RFC 6750, section 2.1). A failure is logged; if the address recently had too many, the
/// answer is delayed. A request with the right token is never delayed.
///
/// # Errors
///
/// [`Unauthorized`]: the token is missing or wrong.
pub(super) async fn authorize(
    request: &HttpRequest,
    token: &AdminToken,
) -> Result<(), Unauthorized> {
    let Err(refusal) = bearer(request, token) else {
        return Ok(());
    };
    let attempts = token.attempts();
    let Verdict { retry_after, line } = attempts.wrong(address(request), Instant::now());
    if let Some(others) = line {
        let others = Some(others).filter(|&others| others > 0);
        warn!(who = %who(request), path = request.path(), why = %refusal, others_since_last_line = others, "admin: turned away");
    }
    let Some(retry_after) = retry_after else {
        return Err(refusal);
    };
    let delay = attempts.delay();
    if let Some((_held, delay)) = &delay {
        tokio::time::sleep(*delay).await;
    }
    Err(Unauthorized::TooOften {
        retry_after,
        close: delay.is_none(),
    })
}

fn bearer(request: &HttpRequest, token: &AdminToken) -> Result<(), Unauthorized> {
    let header = request
        .headers()
        .get(AUTHORIZATION)
        .ok_or(Unauthorized::NoToken)?;
    let header = header.as_bytes();
    let space = header
        .iter()
        .position(|byte| *byte == b' ')
        .ok_or(Unauthorized::NoToken)?;
    let (scheme, given) = header.split_at(space);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(Unauthorized::NoToken);
    }
    if token.matches(given.trim_ascii()) {
        Ok(())
    } else {
        Err(Unauthorized::WrongToken)
    }
}
