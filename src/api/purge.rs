//! `POST /admin/store/purge`: takes responses out of the store, or makes them stale.

use std::{sync::Arc, time::SystemTime};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde::{Deserialize, Serialize};
use tracing::info;
use utoipa::ToSchema;

use super::{
    admin::AdminToken,
    authorization::{Unauthorized, authorize, who},
    request_body::{Unread, read},
    response::json_response,
};
use crate::{
    actors::Actors,
    problem::Problem,
    store::{
        Store,
        disk::NotDurable,
        key::Key,
        purge::{Found, What},
        tags::LONGEST,
    },
    traffic::published::{Published, RedisLink},
};

/// The endpoint's path.
pub(super) const PATH: &str = "/admin/store/purge";

/// Most tags of one purge.
const TAGS: usize = 64;

/// The body of a POST: one of `url`, `prefix`, `tags` and `all`.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct PurgeRequest {
    /// An absolute URL, with the host that clients ask for: all variants of it.
    url: Option<String>,
    /// The beginning of absolute URLs, at least scheme and host.
    prefix: Option<String>,
    /// Tags that the origin gave by Surrogate-Key or Cache-Tag, byte for byte: what has one of them.
    tags: Option<Vec<String>>,
    /// Everything.
    all: bool,
    /// It is made stale instead: validated before it is used, and still there when the origin fails.
    soft: bool,
}

/// What a purge found.
#[derive(Serialize, ToSchema)]
struct PurgeResult {
    /// In memory.
    memory: Purged,
    /// On disk; null where `store.directory` is not set. What is in both counts in both.
    disk: Option<PurgedOnDisk>,
    /// Whether it was made stale instead of taken out.
    soft: bool,
    /// Whether all instances hear of it.
    fleet: Fleet,
}

/// Whether a purge reaches all instances that share a Redis.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Fleet {
    /// No Redis is set: there are no others.
    None,
    /// They take it within a second or two, and those that are away when they are back.
    Reached,
    /// Redis does not answer: ask each of them, or again.
    NotReached,
}

/// Responses, and the bytes of their bodies.
#[derive(Serialize, ToSchema)]
struct Purged {
    objects: u64,
    bytes: u64,
}

/// The same on disk.
#[derive(Serialize, ToSchema)]
struct PurgedOnDisk {
    objects: u64,
    bytes: u64,
    /// Whether that is all: else the rest is counted no more, and not found any more either.
    complete: bool,
}

/// Why nothing was purged, or not for good.
#[derive(Debug, thiserror::Error)]
enum NotPurged {
    /// 401 or 429
    #[error(transparent)]
    Unauthorized(#[from] Unauthorized),
    /// 400, 408 or 413
    #[error(transparent)]
    Unread(#[from] Unread),
    /// 400
    #[error("the body is not what is allowed ({0}): send one of url, prefix, tags or all")]
    BadBody(String),
    /// 400
    #[error("`{key}` is not an absolute http or https URL with a host: {url:.200}")]
    BadUrl {
        /// `url` or `prefix`.
        key: &'static str,
        /// What it was.
        url: String,
    },
    /// 400
    #[error("`tags` must be 1 to 64 tags of 1 to 256 visible characters without spaces and commas")]
    BadTag,
    /// 503
    #[error(transparent)]
    NotDurable(#[from] NotDurable),
    /// 503
    #[error("there is no store yet: the process starts")]
    NoStore,
}

/// Takes responses out of the store, or makes them stale, on this instance and all that share its Redis. Once it is answered, a
/// restart brings nothing back.
#[utoipa::path(post, path = PATH, tag = "steering", security(("token" = [])), request_body = PurgeRequest, responses(
    (status = 200, description = "What was found, and is there no more", body = PurgeResult),
    (status = 400, description = "The body is not what is allowed", body = Problem, content_type = Problem::MEDIA_TYPE),
    (status = 401, description = "No token, or a wrong one", body = Problem, content_type = Problem::MEDIA_TYPE,
        headers(("WWW-Authenticate" = String, description = "`Bearer` (RFC 6750)"))),
    (status = 429, description = "Too many attempts without the right token lately", body = Problem, content_type = Problem::MEDIA_TYPE,
        headers(("Retry-After" = u64, description = "Seconds"))),
    (status = 503, description = "Memory is purged, and the disk does not take it: a restart may undo it", body = Problem,
        content_type = Problem::MEDIA_TYPE),
    (status = "default", description = "Any other error", body = Problem, content_type = Problem::MEDIA_TYPE),
))]
pub(super) async fn purge(
    request: HttpRequest,
    body: web::Payload,
    token: web::Data<AdminToken>,
    published: web::Data<Published>,
    actors: web::Data<Actors>,
) -> HttpResponse {
    match try_purge(&request, body, &token, &published, &actors).await {
        Ok(response) => response,
        Err(NotPurged::Unauthorized(why)) => why.response(&request),
        Err(why) => {
            let problem = Problem::new(why.status(), why.to_string()).at(request.uri());
            let mut builder = problem.builder();
            if matches!(why, NotPurged::Unread(_)) {
                // The rest of the body is not worth reading.
                builder.force_close();
            }
            builder.body(problem.body())
        }
    }
}

async fn try_purge(
    request: &HttpRequest,
    body: web::Payload,
    token: &AdminToken,
    published: &Published,
    actors: &Actors,
) -> Result<HttpResponse, NotPurged> {
    authorize(request, token).await?;
    let store = published.store.get().ok_or(NotPurged::NoStore)?;
    let body = read(body).await?;
    let (meant, soft) = meant(store, &body)?;
    let now = SystemTime::now();
    let mut found = Found::default();
    for what in &meant {
        found = found.and(store.purge(what, soft, now).await?);
    }
    info!(who = %who(request), ?meant, soft, objects = found.memory.0, "admin: store purged");
    let fleet = if published.redis.load().link == RedisLink::Disabled {
        Fleet::None
    } else if actors.share_purge(meant, soft).await {
        Fleet::Reached
    } else {
        Fleet::NotReached
    };
    let (objects, bytes) = found.memory;
    Ok(json_response(
        StatusCode::OK,
        &PurgeResult {
            memory: Purged { objects, bytes },
            disk: found.disk.map(|(objects, bytes, complete)| PurgedOnDisk {
                objects,
                bytes,
                complete,
            }),
            soft,
            fleet,
        },
    ))
}

/// What a body means, and whether it is soft.
fn meant(store: &Arc<Store>, body: &[u8]) -> Result<(Vec<What>, bool), NotPurged> {
    // serde would take a list of values for a struct as well.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(NotPurged::BadBody("a list instead of an object".into()));
    }
    let asked: PurgeRequest =
        serde_json::from_slice(body).map_err(|error| NotPurged::BadBody(error.to_string()))?;
    let key = |name, url: String| {
        Key::of_url(&store.group, &url).ok_or(NotPurged::BadUrl { key: name, url })
    };
    let meant = match asked {
        PurgeRequest {
            url: Some(url),
            prefix: None,
            tags: None,
            all: false,
            ..
        } => {
            vec![What::Url(key("url", url)?)]
        }
        PurgeRequest {
            url: None,
            prefix: Some(prefix),
            tags: None,
            all: false,
            ..
        } => {
            vec![What::Prefix(key("prefix", prefix)?.url())]
        }
        PurgeRequest {
            url: None,
            prefix: None,
            tags: Some(tags),
            all: false,
            ..
        } => {
            let is_tag = |tag: &String| {
                (1..=LONGEST).contains(&tag.len())
                    && tag
                        .bytes()
                        .all(|byte| byte.is_ascii_graphic() && byte != b',')
            };
            if !(1..=TAGS).contains(&tags.len()) || !tags.iter().all(is_tag) {
                return Err(NotPurged::BadTag);
            }
            tags.iter()
                .map(|tag| What::Tag(tag.as_bytes().into()))
                .collect()
        }
        PurgeRequest {
            url: None,
            prefix: None,
            tags: None,
            all: true,
            ..
        } => vec![What::All],
        _ => return Err(NotPurged::BadBody("none of them, or more than one".into())),
    };
    Ok((meant, asked.soft))
}

impl NotPurged {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Unread(Unread::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unread(Unread::TooSlow) => StatusCode::REQUEST_TIMEOUT,
            Self::Unread(Unread::Broken(_))
            | Self::BadBody(_)
            | Self::BadUrl { .. }
            | Self::BadTag => StatusCode::BAD_REQUEST,
            Self::NotDurable(_) | Self::NoStore => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}
