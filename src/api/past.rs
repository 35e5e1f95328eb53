//! `GET /stats/history`: the last hours as one row of numbers per 15 seconds.

use actix_web::{HttpResponse, http::StatusCode, web};

use super::{feed::Feed, history::History, response::json_response};
use crate::problem::Problem;

/// The endpoint's path.
pub(super) const PATH: &str = "/stats/history";

/// The last hours: one row of numbers per 15 seconds, at most six hours. The last minutes, by the second, are the `history` of
/// `/stats/stream`.
#[utoipa::path(get, path = PATH, tag = "numbers", responses(
    (status = 200, description = "The rows, oldest first", body = History),
    (status = "default", description = "Any error", body = Problem, content_type = Problem::MEDIA_TYPE),
))]
pub(super) async fn past(feed: web::Data<Feed>) -> HttpResponse {
    json_response(StatusCode::OK, &feed.hours())
}
