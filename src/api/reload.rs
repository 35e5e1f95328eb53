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

use super::{State, admin, answer};
use crate::problem::Problem;

/// The endpoint's path.
pub const PATH: &str = "/admin/reload";

/// So many may wait for their turn.
const WAITING: usize = 4;

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Reloaded {
    /// What is in force now.
    pub changed: Vec<Change>,
    /// What stays as it was until the process is started anew.
    pub needs_restart: Vec<Change>,
}

/// One setting that is another than before.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Change {
    /// The whole key.
    pub key: String,
    /// The value in force before; null if there was none.
    pub before: Value,
    /// The value that the settings have now; null if there is none.
    pub after: Value,
}

/// The settings cannot be taken: nothing changed. In the words of what is wrong with them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing was changed: {0}")]
pub struct NotReloaded(pub String);

/// One request to read the settings again.
#[derive(Debug)]
pub struct Ask {
    /// Who asks: an address, or a signal.
    pub who: String,
    /// Who waits for the outcome.
    pub answer: oneshot::Sender<Result<Reloaded, NotReloaded>>,
}

/// Where reloads are asked for. They are done one after the other.
#[derive(Clone, Debug)]
pub struct Reloads(mpsc::Sender<Ask>);

impl Reloads {
    /// Where to ask, and where to listen.
    pub fn channel() -> (Self, mpsc::Receiver<Ask>) {
        let (ask, asked) = mpsc::channel(WAITING);
        (Self(ask), asked)
    }

    /// Has the settings read again. None where nobody can: the process ends, or too many ask.
    pub async fn ask(&self, who: String) -> Option<Result<Reloaded, NotReloaded>> {
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Ask { who, answer }).ok()?;
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
pub(super) async fn reload(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    if let Err(refusal) = admin::authorize(&request, &state.token).await {
        return refusal.response(&request);
    }
    match state.reloads.ask(admin::who(&request)).await {
        Some(Ok(reloaded)) => answer(StatusCode::OK, &reloaded),
        Some(Err(error)) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
            .at(&request)
            .into_response(),
        None => {
            let problem = Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "no reload can be done now: others wait for theirs, or the process ends",
            )
            .at(&request);
            problem
                .builder()
                .insert_header((RETRY_AFTER, "1"))
                .body(problem.body())
        }
    }
}
