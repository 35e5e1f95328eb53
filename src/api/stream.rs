//! `GET /stats/stream`: /stats as server-sent events, once a second.

use std::{
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
};

use actix_web::{
    HttpRequest, HttpResponse, HttpResponseBuilder,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, RETRY_AFTER},
    },
    web,
};
use futures_util::stream;

use super::feed::Feed;
use crate::{path::client::Client, problem::Problem};

/// The endpoint's path.
pub(super) const PATH: &str = "/stats/stream";

/// The figures as they change, as server-sent events. First `history` (the last minutes as rows of numbers) and `stats` (all of
/// `/stats`); then every second `row` (one more for the history) and `change`, a merge patch (RFC 7396) of `/stats`.
#[utoipa::path(get, path = PATH, tag = "numbers", responses(
    (status = 200, description = "A stream that ends when the process drains, or its place goes to a client whose address has fewer", body = String,
        content_type = "text/event-stream"),
    (status = 503, description = "Too many streams, or draining", body = Problem, content_type = Problem::MEDIA_TYPE,
        headers(("Retry-After" = u64, description = "Seconds"))),
    (status = "default", description = "Any other error", body = Problem, content_type = Problem::MEDIA_TYPE),
))]
pub(super) async fn stream(request: HttpRequest, feed: web::Data<Feed>) -> HttpResponse {
    let address = request.peer_addr().map(|peer| peer.ip());
    let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let subscription = match feed.subscribe(address) {
        Ok(subscription) => subscription,
        Err(why) => {
            let problem =
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, why.to_string()).at(request.uri());
            return problem
                .builder()
                .insert_header((RETRY_AFTER, "5"))
                .body(problem.body());
        }
    };
    // The connection counts as in use while the stream lasts.
    let client = request.conn_data::<Rc<Client>>();
    let held = client.map(Client::hold);
    let events = stream::unfold((subscription, held), |(mut subscription, held)| async {
        let piece = subscription.next().await?;
        Some((Ok::<_, actix_web::Error>(piece), (subscription, held)))
    });
    head_of_stream().streaming(Box::pin(events))
}

/// The response to HEAD: as to GET, without the stream.
pub(super) async fn head() -> HttpResponse {
    head_of_stream().finish()
}

fn head_of_stream() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        // Otherwise an nginx in front of this proxy would buffer the events.
        .insert_header(("x-accel-buffering", "no"));
    response
}
