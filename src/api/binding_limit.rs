//! What /stats and /health say of a maximum of the settings that holds requests back.

use serde::Serialize;
use utoipa::ToSchema;

use super::numbers::rounded;
use crate::traffic::{origin::OriginState, origins::Origins};

/// A maximum of the settings that has held requests back for over 10 s, where it is not the origin.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BindingLimit {
    /// Its key in the settings.
    key: String,
    /// What it is set to.
    value: f64,
    /// The most that would have been needed since it binds.
    needed: f64,
    /// Since when.
    #[schema(format = DateTime)]
    since: String,
}

impl BindingLimit {
    /// The first that binds, of all origins.
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
