//! `POST /admin/reload`: reads the settings again, like SIGHUP.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header::RETRY_AFTER},
    web,
};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use utoipa::ToSchema;

use super::{
    admin::AdminToken,
    authorization::{authorize, who},
    response::json_response,
};
use crate::problem::Problem;

/// The endpoint's path.
pub const PATH: &str = "/admin/reload";

/// Reloads that may wait for the current one.
const WAITING: usize = 4;

/// The result of a reload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Reloaded {
    /// Changed settings that are in force.
    pub changed: Vec<SettingChange>,
    /// Changed settings that need a restart.
    pub needs_restart: Vec<SettingChange>,
}

/// One changed setting.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SettingChange {
    /// The full key.
    pub key: String,
    /// The previous value; null if there was none.
    pub before: Value,
    /// The new value; null if there is none.
    pub after: Value,
}

/// The settings are invalid, and nothing changed. Contains the reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing was changed: {0}")]
pub struct NotReloaded(pub String);

/// A request for a reload.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Who requests it, for the log: an address, or the name of a signal.
    pub who: String,
    /// Receives the result.
    pub answer: oneshot::Sender<Result<Reloaded, NotReloaded>>,
}

/// Requests reloads, by the endpoint and at SIGHUP. They are done one after the other. Clones share the queue.
#[derive(Clone, Debug)]
pub struct Reloads(mpsc::Sender<ReloadRequest>);

impl Reloads {
    /// The sender and receiver of requests.
    pub fn channel() -> (Self, mpsc::Receiver<ReloadRequest>) {
        let (ask, asked) = mpsc::channel(WAITING);
        (Self(ask), asked)
    }

    /// Requests a reload and waits for the result. None if too many wait already, or the process ends.
    pub async fn ask(&self, who: String) -> Option<Result<Reloaded, NotReloaded>> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(ReloadRequest { who, answer }).ok()?;
        answered.await.ok()
    }
}

/// Reads the settings again, like SIGHUP. What can change at once does, without interrupting transfers.
#[utoipa::path(post, path = PATH, tag = "steering", security(("token" = [])), responses(
    (status = 200, description = "What changed, and what needs a restart", body = Reloaded),
    (status = 401, description = "No token, or a wrong one", body = Problem, content_type = Problem::MEDIA_TYPE,
        headers(("WWW-Authenticate" = String, description = "`Bearer` (RFC 6750)"))),
    (status = 429, description = "Too many attempts without the right token lately", body = Problem, content_type = Problem::MEDIA_TYPE,
        headers(("Retry-After" = u64, description = "Seconds"))),
    (status = 422, description = "The settings cannot be taken: nothing changed", body = Problem,
        content_type = Problem::MEDIA_TYPE),
    (status = 503, description = "Others wait for their reload", body = Problem, content_type = Problem::MEDIA_TYPE,
        headers(("Retry-After" = u64, description = "Seconds"))),
    (status = "default", description = "Any other error", body = Problem, content_type = Problem::MEDIA_TYPE),
))]
pub(super) async fn reload(
    request: HttpRequest,
    token: web::Data<AdminToken>,
    reloads: web::Data<Reloads>,
) -> HttpResponse {
    if let Err(why) = authorize(&request, &token).await {
        return why.response(&request);
    }
    match reloads.ask(who(&request)).await {
        Some(Ok(reloaded)) => json_response(StatusCode::OK, &reloaded),
        Some(Err(error)) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
            .at(request.uri())
            .into_response(),
        None => {
            let problem = Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no reload can be done now: others wait for theirs, or the process ends",
            )
            .at(request.uri());
            problem
                .builder()
                .insert_header((RETRY_AFTER, "1"))
                .body(problem.body())
        }
    }
}
