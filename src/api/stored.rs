//! `GET /admin/store?url=`: what is stored for one URL.

use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{admin::AdminToken, authorization::authorize, response::json_response};
use crate::{
    problem::Problem,
    store::{Store, key::Key, object::Object, tags::tags},
    traffic::published::Published,
};

/// The endpoint's path.
pub(super) const PATH: &str = "/admin/store";

/// The query.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// An absolute URL with the host that clients use.
    url: String,
}

/// What is stored for one URL.
#[derive(Serialize, ToSchema)]
struct StoredUrl {
    /// The URL as the store normalizes it.
    url: String,
    /// Each variant (RFC 9111 §4.1) that is in the index in memory.
    variants: Vec<Variant>,
    /// Why nothing is stored; null if something is.
    not_stored_because: Option<&'static str>,
}

/// One stored response.
#[derive(Serialize, ToSchema)]
struct Variant {
    status: u16,
    /// Its ETag or Last-Modified; null without a strong validator.
    version: Option<String>,
    /// Complete length; null while unknown.
    length: Option<u64>,
    /// Bytes of the body in memory.
    bytes: u64,
    /// Whether the whole body is stored, in memory or on disk.
    whole: bool,
    /// When it was first stored, in seconds since 1970.
    stored: u64,
    /// Current age (RFC 9111 §4.2.3), in seconds.
    age_s: u64,
    /// Remaining freshness in seconds; negative if stale.
    ttl_s: i64,
    /// Number of requests it answered.
    hits: u64,
    /// Tags that it can be purged by.
    tags: Vec<String>,
}

/// What is stored for one URL. Responses that are only on disk, not in memory, appear after the next request for them.
#[utoipa::path(get, path = PATH, tag = "steering", security(("token" = [])), params(Query), responses(
    (status = 200, description = "Each variant, or why there is none", body = StoredUrl),
    (status = 400, description = "No absolute URL", body = Problem, content_type = Problem::MEDIA_TYPE),
    (status = 401, description = "No token, or a wrong one", body = Problem, content_type = Problem::MEDIA_TYPE,
        headers(("WWW-Authenticate" = String, description = "`Bearer` (RFC 6750)"))),
    (status = "default", description = "Any other error", body = Problem, content_type = Problem::MEDIA_TYPE),
))]
pub(super) async fn look_up(
    request: HttpRequest,
    token: web::Data<AdminToken>,
    published: web::Data<Published>,
) -> HttpResponse {
    if let Err(why) = authorize(&request, &token).await {
        return why.response(&request);
    }
    let refuse = |status, why: String| Problem::new(status, why).at(request.uri()).into_response();
    let Some(store) = published.store.get() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the process starts".into());
    };
    let query = match web::Query::<Query>::from_query(request.query_string()) {
        Ok(query) => query.into_inner(),
        Err(error) => return refuse(StatusCode::BAD_REQUEST, format!("{error}: give ?url=")),
    };
    match Key::of_url(&store.group, &query.url) {
        Some(key) => json_response(StatusCode::OK, &StoredUrl::of(store, &key)),
        None => refuse(
            StatusCode::BAD_REQUEST,
            "`url` is not an absolute http or https URL with a host".into(),
        ),
    }
}

impl StoredUrl {
    fn of(store: &Store, key: &Key) -> Self {
        let now = SystemTime::now();
        let variants: Vec<_> = (store.shelf.variants(key).iter())
            .map(|object| Variant::of(object, now))
            .collect();
        let not_stored_because = variants.is_empty().then(|| {
            if store.shelf.is_own(key) {
                "its last answer was not for all: each request for it goes by itself for a while"
            } else {
                "nobody asked for it since the start, its answer may not be stored, or it was pushed out or purged"
            }
        });
        StoredUrl {
            url: key.url(),
            variants,
            not_stored_because,
        }
    }
}

impl Variant {
    fn of(object: &Object, now: SystemTime) -> Self {
        let head = object.head();
        let stored = object.stored.duration_since(UNIX_EPOCH);
        let tags = tags(&head.fields).map(|tag| String::from_utf8_lossy(tag).into_owned());
        Variant {
            status: head.status.as_u16(),
            version: object.version.as_ref().map(ToString::to_string),
            length: object.length(),
            bytes: object.held(),
            whole: object.is_whole(),
            stored: stored.unwrap_or_default().as_secs(),
            age_s: head.freshness.age(now).as_secs(),
            ttl_s: head.freshness.ttl(now),
            hits: object.hits(),
            tags: tags.collect(),
        }
    }
}
