//! State of one worker thread for its requests.

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

/// State of one worker thread, shared by all its connections.
pub struct Worker {
    /// The settings in force; a reload replaces them.
    policy: InForce,
    /// The origin with this worker's connections, and the shared state it was made from.
    origin: RefCell<(Arc<Shared>, Rc<Origin>)>,
    /// Sends samples to the actors.
    pub(super) reporter: Reporter,
    /// The levels in force and the client counters.
    pub(super) published: Arc<Published>,
    /// Stored responses of the origin.
    pub(super) store: Arc<Store>,
    /// Rendered responses, and the policy they were made under.
    rendered: RefCell<(Arc<Policy>, RenderedResponses)>,
    /// Creates spans, if a collector is configured.
    pub(super) tracer: Option<Tracer>,
}

impl Worker {
    /// Creates the worker on this thread.
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

    /// The rendered responses and the policy in force. A reload clears them.
    pub(super) fn rendered(&self) -> RefMut<'_, (Arc<Policy>, RenderedResponses)> {
        let policy = self.policy.load();
        let mut rendered = self.rendered.borrow_mut();
        if !Arc::ptr_eq(&rendered.0, &policy) {
            *rendered = (Arc::clone(&policy), RenderedResponses::default());
        }
        rendered
    }

    /// The policy and origin in force now. If a reload changed the origin, running requests keep the one they began with.
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
