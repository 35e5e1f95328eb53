//! Responses in JSON.

use actix_web::{
    HttpResponse,
    http::{StatusCode, header::CACHE_CONTROL},
};
use serde::Serialize;
use serde_json::Value;

/// A response with `body` as JSON, which no cache stores.
pub(super) fn json_response(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type("application/json")
        .body(json(body).to_string())
}

/// A value as JSON, with keys in alphabetical order.
pub(super) fn json(body: &impl Serialize) -> Value {
    // The response types have string keys and finite numbers, so they can always be serialized.
    serde_json::to_value(body).unwrap_or_default()
}
