//! A request that changes something at the origin makes what is kept of it worthless (RFC 9111 §4.4).

use std::sync::Arc;

use actix_http::{
    Method, StatusCode,
    header::{self, HeaderMap},
};

use super::asker::key_of;
use crate::store::{Store, key::Key};

/// What a request by an unsafe method may change.
pub struct Invalidation {
    store: Arc<Store>,
    key: Key,
}

impl Invalidation {
    /// Of a request with these fields, as the origin sees them; none where its method is a safe one (RFC 9110 §9.2.1). One that is
    /// not known may change anything.
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

    /// The origin answered so: where that is no error, what is kept of the target goes, and of what Location and Content-Location
    /// name at the same host.
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
