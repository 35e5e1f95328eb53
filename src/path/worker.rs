//! What one worker thread needs for its requests.

use std::{
    cell::{RefCell, RefMut},
    rc::Rc,
    sync::Arc,
};

use super::{
    client::Client,
    origin::{Origin, shared::Shared},
    policy::{InForce, Policy},
    rendered::table::RenderedResponses,
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
    /// What can be given again to requests by the same bytes, by the policy that it was first given by.
    rendered: RefCell<(Arc<Policy>, RenderedResponses)>,
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
        let in_force = policy.load_full();
        let shared = Arc::clone(&in_force.origin);
        let origin = Origin::start(&shared);
        Worker {
            policy,
            origin: RefCell::new((shared, origin)),
            reporter,
            published,
            store,
            rendered: RefCell::new((in_force, RenderedResponses::default())),
            tracer,
        }
    }

    /// Whether the store may answer this client's requests.
    pub(super) fn stores(&self, client: &Client) -> bool {
        self.published.level_for(client.bucket).load().store && !client.trusted
    }

    /// The responses that can be given again, and the policy in force. Another policy than before begins without any.
    pub(super) fn rendered(&self) -> RefMut<'_, (Arc<Policy>, RenderedResponses)> {
        let policy = self.policy.load();
        let mut rendered = self.rendered.borrow_mut();
        if !Arc::ptr_eq(&rendered.0, &policy) {
            *rendered = (Arc::clone(&policy), RenderedResponses::default());
        }
        rendered
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
