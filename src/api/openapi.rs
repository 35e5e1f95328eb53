//! `GET /openapi.json`: the operators' endpoints as OpenAPI 3.1, made from the types that answer.

use actix_web::{
    HttpResponse,
    http::header::{CACHE_CONTROL, HeaderValue},
};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        self,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use super::{admin, docs, health, metrics, monitor, reload, stats, stream};
use crate::problem::Problem;

/// The endpoint's path.
pub(super) const PATH: &str = "/openapi.json";

/// The description of the operators' endpoints.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "fileproxy",
        description = "The operators' endpoints. Every other path goes to the origin. HEAD answers as GET, without a \
                       body; any other method is answered 405. Errors are problem details (RFC 9457)."
    ),
    paths(
        health::health,
        health::live,
        health::ready,
        stats::stats,
        stream::stream,
        metrics::metrics,
        monitor::page,
        admin::show,
        admin::set,
        reload::reload,
        describe,
        docs::page
    ),
    servers(
        (url = "/", description = "Where this was read"),
        (url = "http://127.0.0.1:10081", description = "By default also here, on the machine itself (`admin.local`): \
         browsers refuse port 10080")
    ),
    components(schemas(Problem)),
    tags(
        (name = "health", description = "Whether it works"),
        (name = "numbers", description = "What it did, and why"),
        (name = "steering", description = "How much optimization is on"),
        (name = "description", description = "These endpoints themselves")
    ),
    modifiers(&Token)
)]
pub(super) struct Description;

/// Says what `Authorization` must carry where an endpoint asks for it.
struct Token;

impl Modify for Token {
    fn modify(&self, api: &mut openapi::OpenApi) {
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.description = Some("The setting `admin.token`".to_owned());
        api.components
            .get_or_insert_default()
            .add_security_scheme("token", SecurityScheme::Http(bearer));
    }
}

/// This description.
#[utoipa::path(get, path = PATH, tag = "description", responses(
    (status = 200, description = "An OpenAPI 3.1 document", body = serde_json::Value),
    (status = "default", description = "Any error", body = Problem, content_type = Problem::MEDIA_TYPE),
))]
pub(super) async fn describe() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-cache")))
        // a document of names and texts always serializes
        .body(Description::openapi().to_json().unwrap_or_default())
}
