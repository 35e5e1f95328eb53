//! `POST /admin/store/purge`: removes stored responses, or makes them stale.

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

/// The most tags of one purge.
const TAGS: usize = 64;

/// The body of a POST: one of `url`, `prefix`, `tags` and `all`.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct PurgeRequest {
    /// An absolute URL with the host that clients use: all its variants.
    url: Option<String>,
    /// Prefix of absolute URLs, with at least scheme and host.
    prefix: Option<String>,
    /// Tags from the origin's Surrogate-Key or Cache-Tag, compared byte for byte: responses with any of them.
    tags: Option<Vec<String>>,
    /// All responses.
    all: bool,
    /// Makes them stale instead: they are validated before use, and can still be used if the origin fails.
    soft: bool,
}

/// The result of a purge.
#[derive(Serialize, ToSchema)]
struct PurgeResult {
    /// In memory.
    memory: Purged,
    /// On disk; null without `store.directory`. Responses in both count in both.
    disk: Option<PurgedOnDisk>,
    /// Whether they were made stale instead of removed.
    soft: bool,
    /// Whether all instances receive it.
    fleet: Fleet,
}

/// Whether a purge reaches all instances that share a Redis.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Fleet {
    /// No Redis is configured: there are no others.
    None,
    /// They apply it within one or two seconds; disconnected ones when they are back.
    Reached,
    /// Redis does not answer: send the purge to each instance, or try again.
    NotReached,
}

/// Number of responses, and bytes of their bodies.
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
    /// Whether these are all: otherwise the rest is not counted, but is not found any more either.
    complete: bool,
}

/// Why nothing was purged, or not durably.
#[derive(Debug, thiserror::Error)]
enum NotPurged {
    /// 401 or 429: not authorized.
    #[error(transparent)]
    Unauthorized(#[from] Unauthorized),
    /// 400, 408 or 413: the body was not read.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// 400: the body is invalid.
    #[error("the body is not what is allowed ({0}): send one of url, prefix, tags or all")]
    BadBody(String),
    /// 400: the URL or prefix is invalid.
    #[error("`{key}` is not an absolute http or https URL with a host: {url:.200}")]
    BadUrl {
        /// `url` or `prefix`.
        key: &'static str,
        /// Its value.
        url: String,
    },
    /// 400: a tag is invalid.
    #[error("`tags` must be 1 to 64 tags of 1 to 256 visible characters without spaces and commas")]
    BadTag,
    /// 503: a restart may undo the purge.
    #[error(transparent)]
    NotDurable(#[from] NotDurable),
    /// 503: there is no store.
    #[error("there is no store yet: the process starts")]
    NoStore,
}

/// Removes stored responses, or makes them stale, on this instance and all that share its Redis. Once it is answered, it survives a
/// restart.
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
                // The rest of the body is not read.
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

/// Parses the body: what to purge, and whether softly.
fn meant(store: &Arc<Store>, body: &[u8]) -> Result<(Vec<What>, bool), NotPurged> {
    // serde would accept an array of values for the struct as well.
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
