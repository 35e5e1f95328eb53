//! `GET /openapi.json`: the operators' endpoints as OpenAPI 3.1, generated from the response types.

use actix_web::{
    HttpResponse,
    http::header::{CACHE_CONTROL, HeaderValue},
    web,
};
use utoipa::openapi::OpenApi;

use crate::problem::Problem;

/// The endpoint's path.
pub(super) const PATH: &str = "/openapi.json";

/// Generates the description of all endpoints. A function pointer, so that this file and `docs` need not know the list of
/// endpoints.
#[derive(Clone, Copy)]
pub(super) struct Document(pub fn() -> OpenApi);

/// This description.
#[utoipa::path(get, path = PATH, tag = "description", responses(
    (status = 200, description = "An OpenAPI 3.1 document", body = serde_json::Value),
    (status = "default", description = "Any error", body = Problem, content_type = Problem::MEDIA_TYPE),
))]
pub(super) async fn describe(document: web::Data<Document>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .insert_header((CACHE_CONTROL, HeaderValue::from_static("no-cache")))
        // A document of strings can always be serialized.
        .body(document.0().to_json().unwrap_or_default())
}
