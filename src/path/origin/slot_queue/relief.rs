//! Whose slot a waiting request may take: the rules of the [queue](super) for exchanges that can continue without one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Queue,
    entry::{Entry, Why},
    slot_request::{Demand, Kind, SlotRequest},
};
use crate::path::{
    network::Network,
    origin::holder::{Holder, Waits, Yields},
};

/// How long a body may be silent; short, because its head shows that the origin has accepted the request.
const BODY_PATIENCE: Duration = Duration::from_millis(250);
/// How soon the queue looks again if no slot could be taken.
const LOOK: Duration = Duration::from_millis(20);

impl<T> Queue<T> {
    /// Whether the request may use the reserve.
    pub(super) fn kind(&self, ask: &SlotRequest, now: Instant) -> Kind {
        if ask.is_large || self.has_its_share(ask.network) || self.is_like_silent_ones(ask, now) {
            Kind::Large
        } else {
            Kind::Small
        }
    }

    /// How long the origin has been silent in an exchange, if that exceeds its patience.
    fn silence(&self, entry: &Entry, now: Instant) -> Option<Duration> {
        let patience = if entry.holder.is_answered() {
            BODY_PATIENCE
        } else {
            self.limits.patience
        };
        match entry.holder.waits(now) {
            Waits::Origin(waited) if waited > patience => Some(waited),
            _ => None,
        }
    }

    /// Whether the origin is silent in another exchange for the same target or directory.
    pub(super) fn is_like_silent_ones(&self, ask: &SlotRequest, now: Instant) -> bool {
        let named = |hash: &u64| *hash != 0;
        let alike = |entry: &Entry| {
            let both = entry.ask.target.iter().zip(&ask.target);
            both.into_iter().any(|(of, is)| of == is && named(is))
        };
        let mut targets = ask.target.iter().filter(|hash| named(hash));
        targets.any(|hash| self.slow.contains_key(hash))
            || self.slots.len() >= self.limits.at_most_large()
                && self
                    .slots
                    .values()
                    .any(|entry| alike(entry) && self.silence(entry, now).is_some())
    }

    /// Whether a network already has its share of exchanges without slots.
    pub(super) fn has_its_share(&self, network: Network) -> bool {
        let account = self.accounts.get(&network);
        let beyond = account.map_or(0, |account| account.beyond);
        let free = self.limits.waiting.saturating_sub(self.beyond.len());
        beyond > 0 && beyond >= free
    }

    /// Whether an exchange that waits for its client may lose its slot for this demand.
    fn may_park(&self, entry: &Entry, demand: Demand) -> bool {
        let gains = entry.ask.network == demand.network;
        self.beyond.len() < self.limits.waiting && !(gains && self.has_its_share(demand.network))
    }

    /// Whether an exchange in which the origin is silent may.
    fn may_be_silent(&self, entry: &Entry, demand: Demand) -> bool {
        if self.alive {
            return self.may_park(entry, demand);
        }
        if self.mute && self.may_move() {
            return true;
        }
        let reserve = self.limits.reserve();
        let gains = entry.ask.network == demand.network;
        let own = self.accounts.get(&demand.network).map_or(0, |a| a.probes);
        demand.kind == Kind::Small
            && self.beyond.len() < self.limits.waiting
            && self.probes < reserve
            && !(gains && own >= reserve.div_ceil(2))
    }

    /// Whether an exchange whose body is moving may.
    fn may_move(&self) -> bool {
        let most = self.limits.in_all.saturating_sub(self.limits.at_once);
        self.beyond.len() < self.limits.waiting && self.lasting < most
    }

    fn is_large(&self, entry: &Entry, now: Instant) -> bool {
        entry.holder.is_large() || now.saturating_duration_since(entry.taken) > self.limits.patience
    }

    pub(super) fn has_room_for_large(&self, now: Instant) -> bool {
        let most = self.limits.at_most_large();
        self.slots.len() < most
            || self.slots.len() < self.limits.at_once && {
                let large = self.slots.values();
                large.filter(|entry| self.is_large(entry, now)).count() < most
            }
    }

    /// Frees a slot for a demand, if an exchange can continue without its own.
    pub(super) fn relieve(&mut self, demand: Demand, now: Instant) -> bool {
        if self.barren.is_some_and(|until| now < until) {
            return false;
        }
        let (mut parked, mut silent, mut large, mut oldest) = (None, None, None, None);
        let (mut large_ones, mut any_parked) = (0, false);
        for (&id, entry) in &self.slots {
            if let Waits::Client(waited) = entry.holder.waits(now) {
                any_parked = true;
                if self.may_park(entry, demand) {
                    parked = parked.max(Some((waited, id)));
                }
            } else if let Some(waited) = self.silence(entry, now)
                && self.may_be_silent(entry, demand)
            {
                silent = silent.max(Some((waited, id)));
            }
            let is_large = self.is_large(entry, now);
            large_ones += usize::from(is_large);
            // Before the head, silence may mean that the origin is at its limit.
            if entry.holder.is_answered() {
                let held = Some((now.saturating_duration_since(entry.taken), id));
                oldest = oldest.max(held);
                large = large.max(held.filter(|_| is_large));
            }
        }
        let breached =
            demand.full && demand.kind == Kind::Small && large_ones > self.limits.at_most_large();
        let body = large
            .filter(|_| breached)
            .or(oldest.filter(|_| demand.starved))
            .filter(|_| self.may_move());
        if let Some((_, id)) = parked {
            self.go_beyond(id, Why::Parked);
        } else if let Some((_, id)) = silent {
            let proven = self.alive || self.mute && self.may_move();
            self.go_beyond(id, if proven { Why::Silent } else { Why::Probe });
        } else if let Some((_, id)) = body {
            self.go_beyond(id, Why::Moves);
        } else {
            if any_parked {
                self.ask_one(demand.network, now);
            }
            self.barren = Some(now + LOOK);
            return false;
        }
        true
    }

    /// Chooses an exchange that must give up its connection: among those that wait for their client, can continue by Range and
    /// belong to the network with the most exchanges without a slot, the one that waits longest. If no capacity is left for
    /// anybody, one of any other network. If there is none, and the network with the most has over a quarter of all and is not the
    /// one that asks, one of its exchanges ends.
    fn ask_one(&mut self, for_network: Network, now: Instant) {
        let most = self.accounts.iter().max_by_key(|(_, a)| a.beyond);
        let (busiest, size) = most.map_or((for_network, 0), |(network, a)| (*network, a.beyond));
        let longest = |yields: Yields, of: Option<Network>| {
            let all = self.slots.values().chain(self.beyond.values());
            all.filter(|entry| {
                entry.holder.yields() == yields
                    && !entry.holder.is_asked()
                    && of.is_none_or(|of| of == entry.ask.network)
            })
            .filter_map(|entry| match entry.holder.waits(now) {
                Waits::Client(waited) => Some((waited, &entry.holder)),
                _ => None,
            })
            .max_by_key(|(waited, _)| *waited)
        };
        let mut found = longest(Yields::ByRange, Some(busiest));
        if self.beyond.len() >= self.limits.waiting {
            found = found.or_else(|| longest(Yields::ByRange, None));
            if busiest != for_network && size > self.limits.waiting / 4 {
                found = found.or_else(|| longest(Yields::ByEnding, Some(busiest)));
            }
        }
        self.asked = found.map(|(_, holder)| Arc::clone(holder));
    }

    /// The exchange chosen to give up its connection. The caller asks it outside the lock, because that wakes a task.
    pub(in crate::path::origin) fn take_asked(&mut self) -> Option<Arc<Holder>> {
        self.asked.take()
    }
}
