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

use super::State;
use crate::{path::client::Client, problem::Problem};

/// The endpoint's path.
pub(super) const PATH: &str = "/stats/stream";

/// The numbers as they change: server-sent events. First `history` (the last minutes as rows of numbers) and `stats`
/// (all of `/stats`); then every second `row` (one more for the history) and `change`, a merge patch (RFC 7396) of
/// `/stats`.
#[utoipa::path(get, path = PATH, tag = "numbers", responses(
    (status = 200, description = "A stream that ends when the process drains, or its place goes to a client whose address has fewer", body = String,
        content_type = "text/event-stream"),
    (status = 503, description = "Too many streams, or draining", body = Problem, content_type = Problem::MEDIA_TYPE,
        headers(("Retry-After" = u64, description = "Seconds"))),
    (status = "default", description = "Any other error", body = Problem, content_type = Problem::MEDIA_TYPE),
))]
pub(super) async fn stream(request: HttpRequest, state: web::Data<State>) -> HttpResponse {
    let address = request.peer_addr().map(|peer| peer.ip());
    let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let listener = match state.feed.listen(address) {
        Ok(listener) => listener,
        Err(why) => {
            let problem =
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, why.to_string()).at(&request);
            return problem
                .builder()
                .insert_header((RETRY_AFTER, "5"))
                .body(problem.body());
        }
    };
    // the connection counts as in use for as long as the stream lasts
    let client = request.conn_data::<Rc<Client>>();
    let held = client.map(Client::hold);
    let events = stream::unfold((listener, held), |(mut listener, held)| async {
        let piece = listener.next().await?;
        Some((Ok::<_, actix_web::Error>(piece), (listener, held)))
    });
    head_of_stream().streaming(Box::pin(events))
}

/// To HEAD: what a GET would answer, without the stream.
pub(super) async fn head() -> HttpResponse {
    head_of_stream().finish()
}

fn head_of_stream() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        // nginx before this one would gather the events
        .insert_header(("x-accel-buffering", "no"));
    response
}
