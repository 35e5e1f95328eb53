//! `GET /metrics`: the figures of /stats for Prometheus, in base units. Labels have few values.

use actix_web::{HttpResponse, http::header::CACHE_CONTROL, web};

use super::exposition::Exposition;
use crate::{problem::Problem, traffic::published::Published};

mod clients;
mod decisions;
mod dependencies;
mod origin;
mod process;
mod requests;
mod store;
mod transfers;

/// The endpoint's path.
pub(super) const PATH: &str = "/metrics";

/// The figures for Prometheus.
#[utoipa::path(get, path = PATH, tag = "numbers", responses(
    (status = 200, description = "The Prometheus text format", body = String, content_type = "text/plain"),
    (status = "default", description = "Any error", body = Problem, content_type = Problem::MEDIA_TYPE),
))]
pub(super) async fn metrics(published: web::Data<Published>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type(Exposition::MEDIA_TYPE)
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(exposition(&published).into_text())
}

fn exposition(published: &Published) -> Exposition {
    let mut out = Exposition::default();
    process::write(&mut out, published);
    let clients = &published.clients;
    requests::write(&mut out, &published.summary.load(), clients);
    clients::write(&mut out, published);
    origin::write(&mut out, published);
    transfers::write(&mut out, published);
    store::write(&mut out, published);
    decisions::write(&mut out, published);
    dependencies::write(&mut out, published);
    out
}
