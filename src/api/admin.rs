//! `GET` and `POST /admin/optimization`: the level, shown and set.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{AUTHORIZATION, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    web,
};
use arc_swap::ArcSwap;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use subtle::ConstantTimeEq;
use tracing::{info, warn};
use utoipa::ToSchema;

use super::{
    State, answer,
    attempts::{Attempts, Verdict},
    config::Config,
};
use crate::{
    actors::{LevelSource, NotSet, TunerAway},
    problem::Problem,
    traffic::{
        canary::{Candidate, Conflict, Percent},
        level::Level,
    },
    units::OutOfRange,
};

/// The endpoint's path.
pub const PATH: &str = "/admin/optimization";

/// `[admin]`: who may change the level, and where operators ask.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The bearer token; empty: one is made at the start and logged once.
    #[serde(serialize_with = "hidden")]
    pub token: String,
    /// An address of the operators' own; none: they share the public one.
    #[serde(with = "crate::units::if_not_empty")]
    pub listen: Option<SocketAddr>,
    /// Where the endpoints are beside the public address, for browsers on this machine; none: nowhere. Without effect
    /// where they have an address of their own.
    #[serde(with = "crate::units::if_not_empty")]
    pub local: Option<SocketAddr>,
}

impl Settings {
    /// Checks the token.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] if it cannot stand in a header. The token itself is not repeated.
    pub fn check(&self) -> Result<(), OutOfRange> {
        OutOfRange::unless(
            self.token.bytes().all(|byte| byte.is_ascii_graphic()) && self.token.len() <= 1024,
            "admin.token",
            "at most 1024 visible ASCII characters without spaces",
            "something else",
        )
    }
}

fn hidden<S: serde::Serializer>(secret: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(if secret.is_empty() { "" } else { "***" })
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = if self.token.is_empty() { "none" } else { "set" };
        f.debug_struct("Settings")
            .field("token", &token)
            .field("listen", &self.listen)
            .field("local", &self.local)
            .finish()
    }
}

/// The token that the admin endpoints ask for. It is never shown. Clones are the same token.
#[derive(Clone)]
pub struct AdminToken(Arc<Guarded>);

struct Guarded {
    token: ArcSwap<String>,
    attempts: Attempts,
}

impl AdminToken {
    /// The token of the settings, or one that is made now and logged once.
    ///
    /// # Errors
    ///
    /// The system has no randomness to make one from.
    pub fn of(settings: &Settings) -> io::Result<Self> {
        let token = Self::chosen(settings)?;
        Ok(Self(Arc::new(Guarded {
            token: ArcSwap::from_pointee(token),
            attempts: Attempts::new(),
        })))
    }

    /// Another token from now on, as [`AdminToken::of`] takes it.
    ///
    /// # Errors
    ///
    /// The system has no randomness to make one from; the token stays what it is.
    pub fn renew(&self, settings: &Settings) -> io::Result<()> {
        self.0.token.store(Arc::new(Self::chosen(settings)?));
        Ok(())
    }

    fn chosen(settings: &Settings) -> io::Result<String> {
        if !settings.token.is_empty() {
            return Ok(settings.token.clone());
        }
        let token = made()?;
        info!(
            token,
            "no admin.token is set: this one was made for this run"
        );
        Ok(token)
    }

    /// The token itself, for whoever started the process.
    pub fn reveal(&self) -> Arc<String> {
        self.0.token.load_full()
    }

    /// Compares in time that does not depend on where the two differ.
    fn matches(&self, given: &[u8]) -> bool {
        self.0.token.load().as_bytes().ct_eq(given).into()
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken")
    }
}

/// 128 random bits in hexadecimal.
fn made() -> io::Result<String> {
    let mut bytes = [0u8; 16];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("no randomness for an admin token: set admin.token"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The level that is wanted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[schema(value_type = Level)]
    level: String,
    /// The share of the clients in percent, 0 to 100; not given: everybody. 0 takes a candidate back.
    // any value, so that `null` is not taken for that
    #[serde(default = "everybody")]
    #[schema(value_type = u8, maximum = 100)]
    percent: Value,
}

fn everybody() -> Value {
    Percent::ALL.get().into()
}

/// The level, and what it comes to.
#[derive(Serialize, ToSchema)]
struct Shown {
    level: Level,
    /// What it may be set to.
    allowed: [Level; Level::ALL.len()],
    /// The level that a share of the clients has; null: all have the one.
    canary: Option<Candidate>,
    tuning: Config,
}

/// What a change of level did.
#[derive(Serialize, ToSchema)]
struct Changed {
    /// What was asked for.
    level: Level,
    /// The level that a share of the clients has; null: all have the one.
    canary: Option<Candidate>,
    before: Config,
    after: Config,
}

/// The level, and what it comes to. Open to anybody.
#[utoipa::path(get, path = PATH, tag = "steering", responses(
    (status = 200, description = "The level in force", body = Shown),
    (status = "default", description = "Any error", body = Problem, content_type = Problem::MEDIA_TYPE),
))]
pub(super) async fn show(state: web::Data<State>) -> HttpResponse {
    let tuning = state.published.tuning.load();
    answer(
        StatusCode::OK,
        &Shown {
            level: tuning.level,
            allowed: Level::ALL,
            canary: state.published.canary.load().candidate,
            tuning: Config::of(&tuning),
        },
    )
}

/// Sets the level, for all clients or for a share of them, at once and on every instance that shares the Redis. Nothing restarts and no transfer is cut.
#[utoipa::path(post, path = PATH, tag = "steering", security(("token" = [])), request_body = Wanted, responses(
    (status = 200, description = "The level is in force", body = Changed),
    (status = 400, description = "The body is not what is allowed", body = Problem, content_type = Problem::MEDIA_TYPE),
    (status = 401, description = "No token, or a wrong one", body = Problem, content_type = Problem::MEDIA_TYPE,
        headers(("WWW-Authenticate" = String, description = "`Bearer` (RFC 6750)"))),
    (status = 429, description = "Too many attempts without the right token lately", body = Problem, content_type = Problem::MEDIA_TYPE,
        headers(("Retry-After" = u64, description = "Seconds"))),
    (status = 409, description = "Another candidate runs, or none", body = Problem, content_type = Problem::MEDIA_TYPE),
    (status = 408, description = "The body did not arrive in time", body = Problem, content_type = Problem::MEDIA_TYPE),
    (status = 413, description = "The body is too large", body = Problem, content_type = Problem::MEDIA_TYPE),
    (status = 503, description = "The tuner does not answer just now", body = Problem, content_type = Problem::MEDIA_TYPE,
        headers(("Retry-After" = u64, description = "Seconds"))),
    (status = "default", description = "Any other error", body = Problem, content_type = Problem::MEDIA_TYPE),
))]
pub(super) async fn set(
    request: HttpRequest,
    body: web::Payload,
    state: web::Data<State>,
) -> HttpResponse {
    match try_set(&request, body, &state).await {
        Ok(response) => response,
        Err(refusal) => refusal.response(&request),
    }
}

async fn try_set(
    request: &HttpRequest,
    body: web::Payload,
    state: &State,
) -> Result<HttpResponse, Refusal> {
    authorize(request, &state.token).await?;
    let (level, percent) = wanted(&read(body).await?)?;
    let source = LevelSource::Admin;
    let change = state.actors.roll_out(level, percent, source).await?;
    let (before, after) = (change.before.level, change.after.level);
    let canary = change.canary.map(|candidate| candidate.to_string());
    info!(who = %who(request), %before, %after, canary, "admin: optimization level set");
    Ok(answer(
        StatusCode::OK,
        &Changed {
            level: change.level,
            canary: change.canary,
            before: Config::of(&change.before),
            after: Config::of(&change.after),
        },
    ))
}

/// Whoever asks, by the address of the connection: what a header says of it could be made up.
pub(super) fn who(request: &HttpRequest) -> String {
    address(request).map_or_else(|| "unknown".to_owned(), |address| address.to_string())
}

fn address(request: &HttpRequest) -> Option<IpAddr> {
    let peer = request.peer_addr();
    peer.map(|peer| peer.ip().to_canonical())
}

/// RFC 6750, section 2.1. Who has no token or a wrong one is written to the log; whose address had that too often lately
/// gets its answer late. A right token is never asked to wait.
pub(super) async fn authorize(request: &HttpRequest, token: &AdminToken) -> Result<(), Refusal> {
    let Err(refusal) = bearer(request, token) else {
        return Ok(());
    };
    let attempts = &token.0.attempts;
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
    Err(Refusal::TooOften {
        retry_after,
        close: delay.is_none(),
    })
}

fn bearer(request: &HttpRequest, token: &AdminToken) -> Result<(), Refusal> {
    let header = request
        .headers()
        .get(AUTHORIZATION)
        .ok_or(Refusal::NoToken)?;
    let header = header.as_bytes();
    let space = header
        .iter()
        .position(|byte| *byte == b' ')
        .ok_or(Refusal::NoToken)?;
    let (scheme, given) = header.split_at(space);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(Refusal::NoToken);
    }
    if token.matches(given.trim_ascii()) {
        Ok(())
    } else {
        Err(Refusal::WrongToken)
    }
}

/// The body, whatever its Content-Type says.
async fn read(mut body: web::Payload) -> Result<Vec<u8>, Refusal> {
    const MOST: usize = 4096;
    const PATIENCE: Duration = Duration::from_secs(5);
    let read = async {
        let mut bytes = Vec::new();
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| Refusal::BadBody(error.to_string()))?;
            if bytes.len() + piece.len() > MOST {
                return Err(Refusal::TooLarge);
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    };
    tokio::time::timeout(PATIENCE, read)
        .await
        .unwrap_or(Err(Refusal::TooSlow))
}

fn wanted(body: &[u8]) -> Result<(Level, Percent), Refusal> {
    // serde would take a list of values for a struct as well
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Refusal::BadBody("a list instead of an object".into()));
    }
    let Wanted { level, percent } =
        serde_json::from_slice(body).map_err(|error| Refusal::BadBody(error.to_string()))?;
    let level = level.parse().map_err(|_| Refusal::NoLevel(level))?;
    let share = percent.as_i64().map(Percent::try_from);
    match share {
        Some(Ok(percent)) => Ok((level, percent)),
        _ => Err(Refusal::NoPercent(percent.to_string())),
    }
}

/// Why an administrator's request is not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// 401
    #[error("give the admin token: `Authorization: Bearer <token>`")]
    NoToken,
    /// 401
    #[error("the token is wrong")]
    WrongToken,
    /// 429
    #[error("too many attempts without the right token")]
    TooOften {
        /// When the next one is worth while.
        retry_after: Duration,
        /// Whether the connection ends.
        close: bool,
    },
    /// 400
    #[error("the body is not what is allowed ({0})")]
    BadBody(String),
    /// 400
    #[error("`{0}` is not a level")]
    NoLevel(String),
    /// 400
    #[error("{0:.40} is not a percentage: give a whole number from 0 to 100")]
    NoPercent(String),
    /// 409
    #[error(transparent)]
    Conflict(Conflict),
    /// 413
    #[error("the body is larger than 4 KiB")]
    TooLarge,
    /// 408
    #[error("the body did not arrive within 5 seconds")]
    TooSlow,
    /// 503
    #[error(transparent)]
    Away(TunerAway),
}

impl From<NotSet> for Refusal {
    fn from(why: NotSet) -> Self {
        match why {
            NotSet::Away(away) => Self::Away(away),
            NotSet::Conflict(conflict) => Self::Conflict(conflict),
        }
    }
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NoToken | Self::WrongToken => StatusCode::UNAUTHORIZED,
            Self::TooOften { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::BadBody(_) | Self::NoLevel(_) | Self::NoPercent(_) => StatusCode::BAD_REQUEST,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Away(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(super) fn response(&self, request: &HttpRequest) -> HttpResponse {
        const ALLOWED: &str = r#"send {"level": "low"}, {"level": "medium"} or {"level": "high"}, with "percent" for a share of the clients"#;
        let detail = match self {
            Self::BadBody(_) | Self::NoLevel(_) => format!("{self}: {ALLOWED}"),
            _ => self.to_string(),
        };
        let problem = Problem::new(self.status(), detail).at(request);
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
            Self::Away(_) => {
                builder.insert_header((RETRY_AFTER, "1"));
            }
            // what is left of the body is not worth reading
            Self::TooLarge | Self::TooSlow => {
                builder.force_close();
            }
            Self::BadBody(_) | Self::NoLevel(_) | Self::NoPercent(_) | Self::Conflict(_) => {}
        }
        builder.body(problem.body())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_is_made_is_long_and_never_the_same() {
        let made = || AdminToken::of(&Settings::default()).unwrap();
        let (one, other) = (made(), made());
        assert_eq!(one.reveal().len(), 32);
        assert_ne!(one.reveal(), other.reveal());
        assert!(one.matches(one.reveal().as_bytes()));
        assert!(!one.matches(other.reveal().as_bytes()));
        assert!(!one.matches(b""));
    }

    #[test]
    fn a_token_is_never_shown_and_a_wrong_one_not_repeated() {
        let settings = Settings {
            token: "secret word".into(),
            ..Settings::default()
        };
        let error = settings.check().unwrap_err().to_string();
        let shown = format!(
            "{settings:?} {error} {:?}",
            AdminToken::of(&settings).unwrap()
        );
        assert!(!shown.contains("secret"), "{shown}");
        assert!(shown.contains("admin.token must be"), "{shown}");
    }
}
