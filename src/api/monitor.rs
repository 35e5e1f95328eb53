//! `GET /monitor`: the dashboard, a page that follows `/stats/stream`.

use actix_web::HttpResponse;

use super::assets;
use crate::problem::Problem;

/// The endpoint's path.
pub(super) const PATH: &str = "/monitor";

/// The dashboard.
#[utoipa::path(get, path = PATH, operation_id = "monitor", tag = "numbers", responses(
    (status = 200, description = "A page; its files are below `/monitor/`", body = String, content_type = "text/html"),
    (status = "default", description = "Any error", body = Problem, content_type = Problem::MEDIA_TYPE),
))]
pub(super) async fn page() -> HttpResponse {
    assets::page(include_str!("assets/monitor.html"))
}
