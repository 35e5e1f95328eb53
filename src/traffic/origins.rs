//! The origins of the process: at least one.

use std::sync::Arc;

use super::{origin::OriginState, origin_id::OriginId};

/// All origins, in the order of the settings.
#[derive(Debug)]
pub struct Origins {
    first: Arc<OriginState>,
    others: Vec<Arc<OriginState>>,
}

impl Origins {
    /// With `first` and the others.
    pub fn new(first: Arc<OriginState>, others: Vec<Arc<OriginState>>) -> Self {
        Origins { first, others }
    }

    /// The first one, for places that can show only one.
    pub fn first(&self) -> &Arc<OriginState> {
        &self.first
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<OriginState>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The one with this number.
    pub fn get(&self, id: OriginId) -> Option<&Arc<OriginState>> {
        self.iter().find(|origin| origin.id == id)
    }
}
