//! Invalidates stored responses when a request changes something at the origin (RFC 9111 §4.4).

use std::sync::Arc;

use actix_http::{
    Method, StatusCode,
    header::{self, HeaderMap},
};

use super::asker::key_of;
use crate::store::{Store, key::Key};

/// What a request with an unsafe method may invalidate.
pub struct Invalidation {
    store: Arc<Store>,
    key: Key,
}

impl Invalidation {
    /// For a request with these fields (as sent to the origin); none for safe methods (RFC 9110 §9.2.1). Unknown methods count as
    /// unsafe.
    pub fn of(
        store: &Arc<Store>,
        method: &Method,
        fields: &HeaderMap,
        target: &str,
    ) -> Option<Self> {
        let is_safe = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(method);
        (!is_safe).then_some(())?;
        let key = key_of(store, fields, target)?;
        let store = Arc::clone(store);
        Some(Invalidation { store, key })
    }

    /// The origin's response: unless it is an error, invalidates the target, and the URIs in Location and Content-Location on the
    /// same host.
    pub fn answered(&self, status: StatusCode, fields: &HeaderMap) {
        if !(status.is_success() || status.is_redirection()) {
            return;
        }
        self.store.shelf.invalidate(&self.key);
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            let named = fields.get(name).and_then(|value| value.to_str().ok());
            if let Some(other) = named.and_then(|named| self.key.beside(named)) {
                self.store.shelf.invalidate(&other);
            }
        }
    }
}
