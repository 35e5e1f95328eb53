//! The origin from one worker's view: its connections there, and access to the shared state.

use std::{
    rc::{Rc, Weak},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use actix_http::uri::Authority;

use super::{
    connection::Connection,
    connector::Connector,
    exchange::Exchanging,
    memory::Memory,
    pace,
    parts_under_way::{Anchor, PartsUnderWay},
    pool::Pool,
    settings::Settings,
    shared::Shared,
    slots::Slot,
    warm::keep_warm,
};
use crate::{path::transfers, traffic::origin::OriginState};

/// How often a change of the exchange limit is checked while no request arrives.
const FOLLOW: Duration = Duration::from_millis(500);
/// The same while requests wait.
const FOLLOW_CLOSELY: Duration = Duration::from_millis(50);

/// The origin from one worker's view.
pub struct Origin {
    pub(super) shared: Shared,
    pub(super) client: awc::Client,
    pub(super) pool: Rc<Pool>,
    pub(super) connector: Rc<Connector>,
    pub(super) authority: Authority,
}

impl Origin {
    /// Creates it for the worker on this thread.
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
            // The URL was validated when it was parsed.
            authority: authority
                .parse()
                .unwrap_or_else(|_| Authority::from_static("origin")),
            connector,
            shared: shared.clone(),
        });
        actix_rt::spawn(follow_limit(Rc::downgrade(&origin)));
        origin
    }

    /// The usual response time, from the origin's statistics and the line's round trip.
    pub fn usual_ttfb(&self) -> Duration {
        let seen = self.state().concurrency.seen();
        let median = seen.map_or(Duration::ZERO, |(median, _)| median);
        median.max(self.round_trip())
    }

    /// The origin's settings.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// What is measured and decided of the origin.
    pub fn state(&self) -> &Arc<OriginState> {
        &self.shared.state
    }

    /// The settings for continuing bodies.
    pub fn transfers(&self) -> &transfers::Settings {
        &self.shared.transfers
    }

    /// This worker's idle connections.
    pub(super) fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// Takes a token for a request that continues a broken body; false if the budget is spent.
    pub fn spend(&self) -> bool {
        self.shared.transfer_state.resumes.spend(Instant::now())
    }

    /// Returns a token, or part of one, for a request that was useful.
    pub(super) fn refund(&self, part: f64) {
        self.shared.transfer_state.resumes.earn(part);
    }

    /// Adds a share of a token for second connections, earned by each request.
    pub(super) fn earn_stalls(&self) {
        let share = self.shared.transfers.stall_budget;
        self.shared.transfer_state.stalls.earn(share);
    }

    /// Takes a token for a second connection of a stalled body; false if the budget is spent.
    pub(super) fn spend_on_stall(&self) -> bool {
        self.shared.transfer_state.stalls.spend(Instant::now())
    }

    /// A slot that no request needs.
    pub(super) fn try_slot(&self) -> Option<Slot> {
        self.shared.slots.try_take()
    }

    /// The registry of parts under way.
    pub(super) fn parts_under_way(&self) -> &Arc<PartsUnderWay> {
        &self.shared.parts_under_way
    }

    /// Permits a body to keep a slot for the next part. At most a quarter of all slots, so that bodies in parts leave as many to
    /// others as at level low.
    pub(super) fn anchor(&self) -> Option<Anchor> {
        self.shared
            .parts_under_way
            .anchor(self.shared.slots.limit() / 4)
    }

    /// Memory for the parts of bodies.
    pub(super) fn memory(&self) -> &Arc<Memory> {
        &self.shared.transfer_state.memory
    }

    /// How many connections the last body in parts used in the end.
    pub(super) fn usual_width(&self) -> usize {
        self.shared.transfer_state.width.load(Relaxed)
    }

    /// Records the number of connections of a body in parts.
    pub(super) fn use_width(&self, width: usize) {
        self.shared.transfer_state.width.store(width, Relaxed);
    }

    /// The round-trip time to the origin, as last measured.
    pub(super) fn round_trip(&self) -> Duration {
        self.shared.transfer_state.line().1
    }

    /// How long a number of connections is tried before it is judged: a few round trips.
    pub(super) fn width_period(&self) -> Duration {
        (self.round_trip() * 4).clamp(Duration::from_millis(400), Duration::from_secs(4))
    }

    /// Measures the line to the origin.
    pub(super) fn look(&self, connection: &Connection) {
        self.shared.look(connection);
    }

    /// Whether the line is so poor that several connections carry more than one.
    pub(super) fn wants_several(&self) -> bool {
        self.shared.transfer_state.line().0 >= self.shared.transfers.parallel_from
    }

    /// Records the throughput of a body, in bytes per second.
    pub(super) fn gave(&self, pace: f64) {
        self.shared.transfer_state.pace.add(pace);
    }

    /// The throughput in bytes per second below which a body counts as stalled, if it came at `before` until now.
    pub(super) fn stall_floor(&self, before: Option<f64>) -> f64 {
        let settings = &self.shared.transfers;
        let floor = settings.stall_floor.as_u64() as f64;
        let lately = self.shared.transfer_state.pace.get();
        pace::stall_floor(floor, settings.stall_share, lately, before)
    }
}

/// Admits waiting requests after the limit has grown, even if no further request arrives.
async fn follow_limit(origin: Weak<Origin>) {
    loop {
        let closely = origin
            .upgrade()
            .is_some_and(|origin| origin.shared.slots.is_waited_for());
        tokio::time::sleep(if closely { FOLLOW_CLOSELY } else { FOLLOW }).await;
        let Some(origin) = origin.upgrade() else {
            return;
        };
        origin.shared.set_slots();
        let seen = origin.state().concurrency.seen();
        let best = seen.map_or(Duration::ZERO, |(_, best)| best);
        origin.shared.slots.look(best);
    }
}
