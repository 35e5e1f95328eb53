//! `GET` and `POST /admin/optimization`: the level, shown and set.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header::RETRY_AFTER},
    web,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::info;
use utoipa::ToSchema;

use super::{
    admin::AdminToken,
    authorization::{Unauthorized, authorize, who},
    config::Config,
    request_body::{Unread, read},
    response::json_response,
};
use crate::{
    actors::{Actors, LevelSource, NotSet, TunerAway},
    problem::Problem,
    traffic::{
        canary::{Candidate, Conflict, Percent},
        level::Level,
        published::Published,
    },
};

/// The endpoint's path.
pub(super) const PATH: &str = "/admin/optimization";

/// The body of a POST: the requested level.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OptimizationRequest {
    #[schema(value_type = Level)]
    level: String,
    /// The share of the clients in percent, 0 to 100; not set: all clients. 0 takes a candidate back.
    // any value, so that `null` is not taken as missing
    #[serde(default = "everybody")]
    #[schema(value_type = u8, maximum = 100)]
    percent: Value,
}

fn everybody() -> Value {
    Percent::ALL.get().into()
}

/// The level, and the parameters in force.
#[derive(Serialize, ToSchema)]
struct Optimization {
    level: Level,
    /// The possible levels.
    allowed: [Level; Level::ALL.len()],
    /// The level that a share of the clients has; null: all clients have the same.
    canary: Option<Candidate>,
    tuning: Config,
}

/// The effect of a change of level.
#[derive(Serialize, ToSchema)]
struct OptimizationChange {
    /// The requested level.
    level: Level,
    /// The level that a share of the clients has; null: all clients have the same.
    canary: Option<Candidate>,
    before: Config,
    after: Config,
}

/// The level, and the parameters in force. Needs no token.
#[utoipa::path(get, path = PATH, tag = "steering", responses(
    (status = 200, description = "The level in force", body = Optimization),
    (status = "default", description = "Any error", body = Problem, content_type = Problem::MEDIA_TYPE),
))]
pub(super) async fn show(published: web::Data<Published>) -> HttpResponse {
    let tuning = published.origin().tuning.load();
    json_response(
        StatusCode::OK,
        &Optimization {
            level: tuning.level,
            allowed: Level::ALL,
            canary: published.canary.load().candidate,
            tuning: Config::of(&tuning),
        },
    )
}

/// Sets the level, for all clients or for a share of them, at once and on every instance that shares the Redis. Nothing restarts and
/// no transfer is cut.
#[utoipa::path(post, path = PATH, tag = "steering", security(("token" = [])), request_body = OptimizationRequest, responses(
    (status = 200, description = "The level is in force", body = OptimizationChange),
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
    token: web::Data<AdminToken>,
    actors: web::Data<Actors>,
) -> HttpResponse {
    match try_set(&request, body, &token, &actors).await {
        Ok(response) => response,
        Err(why) => why.response(&request),
    }
}

async fn try_set(
    request: &HttpRequest,
    body: web::Payload,
    token: &AdminToken,
    actors: &Actors,
) -> Result<HttpResponse, NotDone> {
    authorize(request, token).await?;
    let (level, percent) = wanted(&read(body).await?)?;
    let source = LevelSource::Admin;
    let change = actors.roll_out(level, percent, source).await?;
    let (before, after) = (change.before.level, change.after.level);
    let canary = change.canary.map(|candidate| candidate.to_string());
    info!(who = %who(request), %before, %after, canary, "admin: optimization level set");
    Ok(json_response(
        StatusCode::OK,
        &OptimizationChange {
            level: change.level,
            canary: change.canary,
            before: Config::of(&change.before),
            after: Config::of(&change.after),
        },
    ))
}

/// Parses level and share from a JSON body.
fn wanted(body: &[u8]) -> Result<(Level, Percent), NotDone> {
    // serde would accept an array of values for the struct as well
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(NotDone::BadBody("a list instead of an object".into()));
    }
    let OptimizationRequest { level, percent } =
        serde_json::from_slice(body).map_err(|error| NotDone::BadBody(error.to_string()))?;
    let level = level.parse().map_err(|_| NotDone::NoLevel(level))?;
    let share = percent.as_i64().map(Percent::try_from);
    match share {
        Some(Ok(percent)) => Ok((level, percent)),
        _ => Err(NotDone::NoPercent(percent.to_string())),
    }
}

/// Why a level was not set.
#[derive(Debug, thiserror::Error)]
enum NotDone {
    /// 401 or 429: not authorized.
    #[error(transparent)]
    Unauthorized(#[from] Unauthorized),
    /// 400: the body is invalid.
    #[error("the body is not what is allowed ({0})")]
    BadBody(String),
    /// 400: the level is invalid.
    #[error("`{0}` is not a level")]
    NoLevel(String),
    /// 400: the share is invalid.
    #[error("{0:.40} is not a percentage: give a whole number from 0 to 100")]
    NoPercent(String),
    /// 409: it contradicts the current rollout.
    #[error(transparent)]
    Conflict(Conflict),
    /// 413: the body is too large.
    #[error("the body is larger than 4 KiB")]
    TooLarge,
    /// 408: the body came too slowly.
    #[error("the body did not arrive within 5 seconds")]
    TooSlow,
    /// 503: the tuner does not answer.
    #[error(transparent)]
    Away(TunerAway),
}

impl From<Unread> for NotDone {
    fn from(why: Unread) -> Self {
        match why {
            Unread::Broken(why) => Self::BadBody(why),
            Unread::TooLarge => Self::TooLarge,
            Unread::TooSlow => Self::TooSlow,
        }
    }
}

impl From<NotSet> for NotDone {
    fn from(why: NotSet) -> Self {
        match why {
            NotSet::Away(away) => Self::Away(away),
            NotSet::Conflict(conflict) => Self::Conflict(conflict),
        }
    }
}

impl NotDone {
    fn response(&self, request: &HttpRequest) -> HttpResponse {
        const ALLOWED: &str = r#"send {"level": "low"}, {"level": "medium"} or {"level": "high"}, with "percent" for a share of the clients"#;
        let status = match self {
            Self::Unauthorized(why) => return why.response(request),
            Self::BadBody(_) | Self::NoLevel(_) | Self::NoPercent(_) => StatusCode::BAD_REQUEST,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Away(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let detail = match self {
            Self::BadBody(_) | Self::NoLevel(_) => format!("{self}: {ALLOWED}"),
            _ => self.to_string(),
        };
        let problem = Problem::new(status, detail).at(request.uri());
        let mut builder = problem.builder();
        match self {
            Self::Away(_) => {
                builder.insert_header((RETRY_AFTER, "1"));
            }
            // The rest of the body is not read.
            Self::TooLarge | Self::TooSlow => {
                builder.force_close();
            }
            _ => {}
        }
        builder.body(problem.body())
    }
}
