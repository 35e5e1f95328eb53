//! `[cors]`: which web pages may read the proxy's responses from another site. Off by default.

use std::time::Duration;

use actix_cors::Cors;
use actix_http::header;
use serde::{Deserialize, Serialize};

use crate::reloadable::reloadable;

/// Cross-origin rules (Fetch standard §3.2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Whether the proxy answers cross-origin requests itself.
    pub enabled: bool,
    /// Pages that may read: `*`, or origins like `https://player.example`.
    pub origins: Vec<String>,
    /// How long a browser keeps the answer to a preflight.
    #[serde(with = "humantime_serde")]
    pub max_age: Duration,
}

reloadable!(Settings {
    enabled: AfterRestart,
    origins: AfterRestart,
    max_age: AfterRestart,
});

impl Settings {
    /// The middleware for these rules: whole files and ranges can be read, without credentials.
    pub fn middleware(&self) -> Cors {
        let seconds = usize::try_from(self.max_age.as_secs()).unwrap_or(usize::MAX);
        let mut cors = Cors::default()
            .allowed_methods(["GET", "HEAD", "OPTIONS"])
            .allow_any_header()
            .expose_headers([
                header::CONTENT_LENGTH,
                header::CONTENT_RANGE,
                header::ACCEPT_RANGES,
                header::ETAG,
            ])
            .max_age(seconds);
        if self.origins.iter().any(|origin| origin == "*") {
            cors = cors.allow_any_origin().send_wildcard();
        }
        for origin in self.origins.iter().filter(|origin| *origin != "*") {
            cors = cors.allowed_origin(origin);
        }
        // Requests that these rules do not allow are forwarded: the origin may have rules of its own.
        cors.block_on_origin_mismatch(false)
    }
}
