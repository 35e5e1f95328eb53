//! The operators' endpoints: how the process is, what it did, and the level.
//!
//! Only these exact paths are the proxy's own; whatever else comes, an encoded `/%68ealth` too, is the origin's.

use std::{sync::Arc, time::Duration};

use actix_web::{
    FromRequest, Handler, HttpRequest, HttpResponse, Resource, Responder,
    guard::fn_guard,
    http::{
        Method, StatusCode,
        header::{ALLOW, CACHE_CONTROL},
    },
    web,
};
use serde::Serialize;
use serde_json::Value;

use crate::{actors::Actors, problem::Problem, traffic::published::Published};

pub mod admin;
mod assets;
mod attempts;
mod canary;
mod config;
mod docs;
mod exposition;
pub mod feed;
mod figures;
mod health;
mod history;
mod metrics;
mod monitor;
mod openapi;
mod places;
mod process;
pub mod reload;
mod stats;
mod stream;

pub use admin::AdminToken;
pub use feed::Feed;

/// What the endpoints read and, for the level, change.
#[derive(Clone)]
pub struct State {
    /// What the actors publish.
    pub published: Arc<Published>,
    /// Whom a new level is sent to.
    pub actors: Actors,
    /// Who may change it.
    pub token: AdminToken,
    /// Whom a reload is asked of.
    pub reloads: reload::Reloads,
    /// What dashboards follow.
    pub feed: Arc<Feed>,
}

/// Adds the endpoints. They must come before the route that catches everything else.
pub fn configure(cfg: &mut web::ServiceConfig, state: State) {
    let state = web::Data::new(state);
    cfg.service(
        at("/health")
            .app_data(state.clone())
            .route(web::get().to(health::health))
            .route(web::head().to(health::health))
            .default_service(web::to(only_get)),
    )
    .service(
        at("/health/live")
            .app_data(state.clone())
            .route(web::get().to(health::live))
            .route(web::head().to(health::live))
            .default_service(web::to(only_get)),
    )
    .service(
        at("/health/ready")
            .app_data(state.clone())
            .route(web::get().to(health::ready))
            .route(web::head().to(health::ready))
            .default_service(web::to(only_get)),
    )
    .service(
        at("/stats")
            .app_data(state.clone())
            .route(web::get().to(stats::stats))
            .route(web::head().to(stats::stats))
            .default_service(web::to(only_get)),
    )
    .service(
        at(admin::PATH)
            .app_data(state.clone())
            .route(web::get().to(admin::show))
            .route(web::head().to(admin::show))
            .route(web::post().to(admin::set))
            .default_service(web::to(get_or_post)),
    )
    .service(
        at(reload::PATH)
            .app_data(state.clone())
            .route(web::post().to(reload::reload))
            .default_service(web::to(only_post)),
    )
    .service(
        at(stream::PATH)
            .app_data(state.clone())
            .route(web::get().to(stream::stream))
            .route(web::head().to(stream::head))
            .default_service(web::to(only_get)),
    )
    .service(readable(metrics::PATH, metrics::metrics).app_data(state.clone()))
    .service(readable(openapi::PATH, openapi::describe))
    .service(readable(docs::PATH, docs::page))
    .service(readable(monitor::PATH, monitor::page));
    for asset in assets::ALL {
        cfg.service(readable(
            asset.path,
            move || async move { asset.response() },
        ));
    }
}

/// The paths that are the proxy's own, but for the files of the pages, which are below `/monitor/`.
pub const PATHS: [&str; 11] = [
    "/health",
    "/health/live",
    "/health/ready",
    "/stats",
    stream::PATH,
    metrics::PATH,
    monitor::PATH,
    docs::PATH,
    openapi::PATH,
    admin::PATH,
    reload::PATH,
];

/// The answer to any other path on the operators' own address.
pub fn nothing_here(request: &HttpRequest) -> HttpResponse {
    let detail = "only the operators' endpoints are on this address";
    Problem::new(StatusCode::NOT_FOUND, detail)
        .at(request)
        .into_response()
}

/// A resource that is only read.
fn readable<F, Args>(path: &'static str, handler: F) -> Resource
where
    F: Handler<Args> + Clone,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    at(path)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
        .default_service(web::to(only_get))
}

/// A resource at exactly this path as it came: the router alone would decode `%68` first.
fn at(path: &'static str) -> Resource {
    web::resource(path).guard(fn_guard(move |ctx| ctx.head().uri.path() == path))
}

async fn only_get(request: HttpRequest) -> HttpResponse {
    not_allowed(&request, "GET, HEAD")
}

async fn only_post(request: HttpRequest) -> HttpResponse {
    not_allowed(&request, "POST")
}

async fn get_or_post(request: HttpRequest) -> HttpResponse {
    not_allowed(&request, "GET, HEAD, POST")
}

fn not_allowed(request: &HttpRequest, allowed: &'static str) -> HttpResponse {
    let problem = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!(
            "{} is not allowed here: use {allowed}",
            method(request.method())
        ),
    )
    .at(request);
    problem
        .builder()
        .insert_header((ALLOW, allowed))
        .body(problem.body())
}

/// A method for a message: one that nobody knows may be as long as it likes.
fn method(method: &Method) -> &str {
    let method = method.as_str();
    method.get(..method.len().min(20)).unwrap_or(method)
}

fn answer(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    HttpResponse::build(status)
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type("application/json")
        .body(json(body).to_string())
}

/// A value with its keys in order.
fn json(body: &impl Serialize) -> Value {
    // maps with names as keys, and numbers that are some
    serde_json::to_value(body).unwrap_or_default()
}

/// Milliseconds, to the microsecond.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

/// A float with so many decimals, for people.
fn rounded(number: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (number * scale).round() / scale
}
