//! The list of the operators' endpoints: their routes and their description.

use std::sync::Arc;

use actix_web::{Resource, web};
use utoipa::{
    Modify, OpenApi,
    openapi::{
        ContentBuilder, Ref, ResponseBuilder,
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use super::{
    admin::AdminToken,
    assets, docs,
    examples::Examples,
    feed::Feed,
    health, metrics, monitor,
    openapi::{self, Document},
    optimization, past, purge,
    reload::{self, Reloads},
    resource::{at, get_or_post, only_get, only_post, readable},
    stats, stored, stream,
};
use crate::{actors::Actors, problem::Problem, traffic::published::Published};

/// What the endpoints use.
#[derive(Clone)]
pub struct State {
    /// The published state: the source of all figures.
    pub published: Arc<Published>,
    /// Sets levels and shares purges.
    pub actors: Actors,
    /// The token of the admin endpoints.
    pub token: AdminToken,
    /// Requests reloads.
    pub reloads: Reloads,
    /// The stream for dashboards.
    pub feed: Arc<Feed>,
}

/// Adds the endpoints to an application. Call it before the route that catches everything else is added.
pub fn configure(cfg: &mut web::ServiceConfig, state: State) {
    let State {
        published,
        actors,
        token,
        reloads,
        feed,
    } = state;
    let published = web::Data::from(published);
    let token = web::Data::new(token);
    let actors = web::Data::new(actors);
    let document = web::Data::new(Document(Description::openapi));
    let numbers = |resource: Resource| resource.app_data(published.clone());
    cfg.service(numbers(readable("/health", health::health)))
        .service(readable("/health/live", health::live))
        .service(numbers(readable("/health/ready", health::ready)))
        .service(numbers(readable("/stats", stats::stats)))
        .service(numbers(readable(metrics::PATH, metrics::metrics)))
        .service(
            numbers(at(optimization::PATH))
                .app_data(token.clone())
                .app_data(actors.clone())
                .route(web::get().to(optimization::show))
                .route(web::head().to(optimization::show))
                .route(web::post().to(optimization::set))
                .default_service(web::to(get_or_post)),
        )
        .service(
            numbers(at(purge::PATH))
                .app_data(token.clone())
                .app_data(actors)
                .route(web::post().to(purge::purge))
                .default_service(web::to(only_post)),
        )
        .service(numbers(readable(stored::PATH, stored::look_up)).app_data(token.clone()))
        .service(
            at(reload::PATH)
                .app_data(token)
                .app_data(web::Data::new(reloads))
                .route(web::post().to(reload::reload))
                .default_service(web::to(only_post)),
        )
        .service(readable(past::PATH, past::past).app_data(web::Data::from(Arc::clone(&feed))))
        .service(
            at(stream::PATH)
                .app_data(web::Data::from(feed))
                .route(web::get().to(stream::stream))
                .route(web::head().to(stream::head))
                .default_service(web::to(only_get)),
        )
        .service(readable(openapi::PATH, openapi::describe).app_data(document.clone()))
        .service(readable(docs::PATH, docs::page).app_data(document))
        .service(readable(monitor::PATH, monitor::page));
    for asset in assets::ALL {
        cfg.service(readable(
            asset.path,
            move || async move { asset.response() },
        ));
    }
}

/// The paths of the endpoints, without the pages' files below `/monitor/`.
pub const PATHS: [&str; 14] = [
    "/health",
    "/health/live",
    "/health/ready",
    "/stats",
    stream::PATH,
    past::PATH,
    metrics::PATH,
    monitor::PATH,
    docs::PATH,
    openapi::PATH,
    optimization::PATH,
    purge::PATH,
    stored::PATH,
    reload::PATH,
];

/// Whether a path is exactly that of an endpoint.
pub fn is_endpoint(path: &str) -> bool {
    PATHS.contains(&path) || assets::ALL.iter().any(|asset| asset.path == path)
}

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
        past::past,
        metrics::metrics,
        monitor::page,
        optimization::show,
        optimization::set,
        purge::purge,
        stored::look_up,
        reload::reload,
        openapi::describe,
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
    modifiers(&Token, &Defaults, &Examples)
)]
struct Description;

/// Adds to each operation what all have in common: that it needs no token unless it says so, and the answer to other methods.
struct Defaults;

impl Modify for Defaults {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        for item in api.paths.paths.values_mut() {
            for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                operation.security.get_or_insert_default();
                let problem = ContentBuilder::new()
                    .schema(Some(Ref::from_schema_name("Problem")))
                    .build();
                let response = ResponseBuilder::new()
                    .description("Another method: `Allow` names those that there are")
                    .content(Problem::MEDIA_TYPE, problem)
                    .build();
                operation
                    .responses
                    .responses
                    .insert("405".to_owned(), response.into());
            }
        }
    }
}

/// Adds to the description what `Authorization` must contain.
struct Token;

impl Modify for Token {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let mut bearer = Http::new(HttpAuthScheme::Bearer);
        bearer.description = Some("The setting `admin.token`".to_owned());
        api.components
            .get_or_insert_default()
            .add_security_scheme("token", SecurityScheme::Http(bearer));
    }
}
