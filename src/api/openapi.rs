//! `GET /openapi.json`: the operators' endpoints as OpenAPI 3.1, made from the types that answer.

use actix_web::{
    HttpResponse,
    http::header::{CACHE_CONTROL, HeaderValue},
    web,
};
use utoipa::openapi::OpenApi;

use crate::problem::Problem;

/// The endpoint's path.
pub(super) const PATH: &str = "/openapi.json";

/// Makes the description of all endpoints. The list of endpoints hands it to the two that show it: so they need not know
/// the list.
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
        // A document of names and texts always serializes.
        .body(document.0().to_json().unwrap_or_default())
}
