//! What one worker thread needs for its requests.

use std::{cell::RefCell, rc::Rc, sync::Arc};

use super::{
    origin::{Origin, shared::Shared},
    policy::{InForce, Policy},
    trace::Tracer,
};
use crate::{actors::Reporter, store::Store, traffic::published::Published};

/// What one worker thread needs for its requests: made once, shared by all of its connections.
pub struct Worker {
    /// The policy in force; a reload replaces it.
    policy: InForce,
    /// The origin, with this worker's connections to it, and what it was made of.
    origin: RefCell<(Arc<Shared>, Rc<Origin>)>,
    /// Takes the samples.
    pub(super) reporter: Reporter,
    /// What the actors decided, and the counters.
    pub(super) published: Arc<Published>,
    /// Stored responses of the origin.
    pub(super) store: Arc<Store>,
    /// Makes spans, where a collector is set.
    pub(super) tracer: Option<Tracer>,
}

impl Worker {
    /// The worker on this thread.
    pub fn new(
        policy: InForce,
        reporter: Reporter,
        published: Arc<Published>,
        store: Arc<Store>,
        tracer: Option<Tracer>,
    ) -> Self {
        let shared = Arc::clone(&policy.load().origin);
        let origin = Origin::start(&shared);
        Worker {
            policy,
            origin: RefCell::new((shared, origin)),
            reporter,
            published,
            store,
            tracer,
        }
    }

    /// The policy and the origin in force now. Where a reload changed the origin's side, requests under way keep the origin
    /// that they began with.
    pub(super) fn in_force(&self) -> (Arc<Policy>, Rc<Origin>) {
        let policy = self.policy.load_full();
        let mut origin = self.origin.borrow_mut();
        if !Arc::ptr_eq(&origin.0, &policy.origin) {
            let shared = Arc::clone(&policy.origin);
            *origin = (Arc::clone(&shared), Origin::start(&shared));
        }
        (policy, Rc::clone(&origin.1))
    }
}
