//! The origin, as one worker sees it: its connections there, and what was seen of the line lately.

use std::{
    rc::{Rc, Weak},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use actix_http::uri::Authority;

use super::{
    connection::Connection,
    connector::Connector,
    crowd::{Anchor, Crowd},
    exchange::Exchanging,
    memory::Memory,
    pace,
    pool::Pool,
    settings::Settings,
    shared::Shared,
    slots::Slot,
    warm::keep_warm,
};
use crate::{path::transfers, traffic::origin::OriginState};

/// How often the limit on exchanges at once is looked at while no request comes.
const FOLLOW: Duration = Duration::from_millis(500);
/// And while somebody waits.
const FOLLOW_CLOSELY: Duration = Duration::from_millis(50);

/// The origin, as one worker sees it.
pub struct Origin {
    pub(super) shared: Shared,
    pub(super) client: awc::Client,
    pub(super) pool: Rc<Pool>,
    pub(super) connector: Rc<Connector>,
    pub(super) authority: Authority,
}

impl Origin {
    /// The origin for the worker on this thread.
    pub fn start(shared: &Shared) -> Rc<Self> {
        let client = awc::Client::builder()
            .disable_timeout()
            .disable_redirects()
            .no_default_headers()
            .wrap(Exchanging)
            .finish();
        let authority = shared.settings.url.authority();
        let connector = Connector::new(shared);
        actix_rt::spawn(keep_warm(Rc::downgrade(&connector)));
        let origin = Rc::new(Origin {
            client,
            pool: Rc::clone(connector.pool()),
            // The URL was checked when it was read.
            authority: authority
                .parse()
                .unwrap_or_else(|_| Authority::from_static("origin")),
            connector,
            shared: shared.clone(),
        });
        actix_rt::spawn(follow_limit(Rc::downgrade(&origin)));
        origin
    }

    /// As many slots as may be now. They are everybody's, in a canary or not.
    pub(super) fn set_slots(&self) {
        let state = &self.shared.state;
        let tuning = state.tuning.load();
        let most = tuning.connections_at_once();
        let limit = state.concurrency.limit(most);
        self.shared.slots.set(limit, tuning.connections);
    }

    /// How long an answer usually takes, by what is known of the origin and of the line to it.
    pub fn usual_ttfb(&self) -> Duration {
        let seen = self.state().concurrency.seen();
        let median = seen.map_or(Duration::ZERO, |(median, _)| median);
        median.max(self.round_trip())
    }

    /// The origin's settings.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// What is measured and decided of it.
    pub fn state(&self) -> &Arc<OriginState> {
        &self.shared.state
    }

    /// What continues broken bodies.
    pub fn transfers(&self) -> &transfers::Settings {
        &self.shared.transfers
    }

    /// This worker's connections.
    pub(super) fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// Whether the origin can bear one more request for the rest of a body that broke.
    pub fn spend(&self) -> bool {
        self.shared.transfer_state.resumes.spend(Instant::now())
    }

    /// A request for the rest was worth it, or this part of it.
    pub(super) fn refund(&self, part: f64) {
        self.shared.transfer_state.resumes.earn(part);
    }

    /// One more request: some of them may be followed by a second one for what stalls.
    pub(super) fn earn_stalls(&self) {
        let share = self.shared.transfers.stall_budget;
        self.shared.transfer_state.stalls.earn(share);
    }

    /// Whether the origin can bear a second connection for a body that stalls.
    pub(super) fn spend_on_stall(&self) -> bool {
        self.shared.transfer_state.stalls.spend(Instant::now())
    }

    /// A slot that nobody needs just now.
    pub(super) fn try_slot(&self) -> Option<Slot> {
        self.shared.slots.try_take()
    }

    /// The parts of bodies that are under way.
    pub(super) fn crowd(&self) -> &Arc<Crowd> {
        &self.shared.crowd
    }

    /// Leave to keep a slot for the part that is due: a quarter of them at most, so that bodies in parts leave others
    /// no less room than they would have at level low.
    pub(super) fn anchor(&self) -> Option<Anchor> {
        self.shared.crowd.anchor(self.shared.slots.limit() / 4)
    }

    /// Room for the parts of bodies.
    pub(super) fn memory(&self) -> &Arc<Memory> {
        &self.shared.transfer_state.memory
    }

    /// Over how many connections a body was worth fetching last.
    pub(super) fn usual_width(&self) -> usize {
        self.shared.transfer_state.width.load(Relaxed)
    }

    /// A body is fetched over so many connections.
    pub(super) fn use_width(&self, width: usize) {
        self.shared.transfer_state.width.store(width, Relaxed);
    }

    /// The round trip to the origin, as last seen.
    pub(super) fn round_trip(&self) -> Duration {
        self.shared.transfer_state.line().1
    }

    /// After how long a width shows what it is worth: a few round trips.
    pub(super) fn width_period(&self) -> Duration {
        (self.round_trip() * 4).clamp(Duration::from_millis(400), Duration::from_secs(4))
    }

    /// Looks at the line to the origin.
    pub(super) fn look(&self, connection: &Connection) {
        self.shared
            .transfer_state
            .look(connection, &self.shared.state.line);
    }

    /// Whether the line to the origin is one on which several connections carry more than one.
    pub(super) fn wants_several(&self) -> bool {
        self.shared.transfer_state.line().0 >= self.shared.transfers.parallel_from
    }

    /// A body came at this pace, in bytes per second.
    pub(super) fn gave(&self, pace: f64) {
        self.shared.transfer_state.pace.add(pace);
    }

    /// The pace in bytes per second under which a body stalls that came at `before` until now.
    pub(super) fn stall_floor(&self, before: Option<f64>) -> f64 {
        let settings = &self.shared.transfers;
        let floor = settings.stall_floor.as_u64() as f64;
        let lately = self.shared.transfer_state.pace.get();
        pace::stall_floor(floor, settings.stall_share, lately, before)
    }
}

/// Lets in who waits once the limit has grown, though no further request comes.
async fn follow_limit(origin: Weak<Origin>) {
    loop {
        let closely = origin
            .upgrade()
            .is_some_and(|origin| origin.shared.slots.is_waited_for());
        tokio::time::sleep(if closely { FOLLOW_CLOSELY } else { FOLLOW }).await;
        let Some(origin) = origin.upgrade() else {
            return;
        };
        origin.set_slots();
        let seen = origin.state().concurrency.seen();
        let best = seen.map_or(Duration::ZERO, |(_, best)| best);
        origin.shared.slots.look(best);
    }
}
