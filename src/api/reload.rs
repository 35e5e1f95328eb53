//! `POST /admin/reload`: the settings are read again, as at SIGHUP.

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

/// Reloads that may wait for the one under way.
const WAITING: usize = 4;

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Reloaded {
    /// The settings that differ from those before, and are in force.
    pub changed: Vec<SettingChange>,
    /// The settings that differ, and are not in force before a restart.
    pub needs_restart: Vec<SettingChange>,
}

/// One setting that differs.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct SettingChange {
    /// The whole key.
    pub key: String,
    /// The value in force before; null if there was none.
    pub before: Value,
    /// The value that the settings have now; null if there is none.
    pub after: Value,
}

/// The settings are wrong, and nothing changed. It holds what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing was changed: {0}")]
pub struct NotReloaded(pub String);

/// A request to read the settings again.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Who asks, for the log: an address, or the name of a signal.
    pub who: String,
    /// Where the outcome goes.
    pub answer: oneshot::Sender<Result<Reloaded, NotReloaded>>,
}

/// Where reloads are asked for: by the endpoint, and at SIGHUP. They are done one after the other. Clones are the same.
#[derive(Clone, Debug)]
pub struct Reloads(mpsc::Sender<ReloadRequest>);

impl Reloads {
    /// Where to ask, and where the requests arrive.
    pub fn channel() -> (Self, mpsc::Receiver<ReloadRequest>) {
        let (ask, asked) = mpsc::channel(WAITING);
        (Self(ask), asked)
    }

    /// Has the settings read again, and waits for the outcome. None if too many wait already, or the process ends.
    pub async fn ask(&self, who: String) -> Option<Result<Reloaded, NotReloaded>> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(ReloadRequest { who, answer }).ok()?;
        answered.await.ok()
    }
}

/// Reads the settings again, as SIGHUP does. What can change at once does, without cutting a transfer.
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
