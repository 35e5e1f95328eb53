//! A maximum of the settings that holds requests back, as shown in /stats and /health.

use serde::Serialize;
use utoipa::ToSchema;

use super::numbers::rounded;
use crate::traffic::{origin::OriginState, origins::Origins};

/// A maximum of the settings that has held requests back for over 10 s, while the origin could take more.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BindingLimit {
    /// The settings key of the maximum.
    key: String,
    /// Its value.
    value: f64,
    /// The highest value that would have been needed since then.
    needed: f64,
    /// Since when it holds requests back.
    #[schema(format = DateTime)]
    since: String,
}

impl BindingLimit {
    /// The first one among all origins.
    pub(super) fn of_any(origins: &Origins) -> Option<Self> {
        origins.iter().find_map(|origin| Self::of(origin))
    }

    pub(super) fn of(origin: &OriginState) -> Option<Self> {
        let limit = origin.binding_limit.load();
        limit.as_deref().map(|limit| BindingLimit {
            key: limit.key.clone(),
            value: rounded(limit.value, 2),
            needed: rounded(limit.needed, 2),
            since: humantime::format_rfc3339_seconds(limit.since).to_string(),
        })
    }
}
