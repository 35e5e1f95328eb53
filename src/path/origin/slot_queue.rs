//! Who has an exchange slot, who continues without one, and who waits. Time is an argument.
//!
//! - Waiting requests are admitted by how many exchanges their network has, the fewest first, then by their turn.
//! - Large and slow responses leave an eighth of the slots to others: the reserve.
//! - A waiting request takes the slot of an exchange that waits for its own client. That exchange continues without a slot, up to
//!   `waiting` of them; a network may gain from that only while it has no more of them than are left, so half of them if
//!   it is alone. At that limit, one that can continue by Range is asked to give up its connection.
//! - The same holds for an exchange in which the origin is silent for longer than `patience` (a long poll, an event
//!   stream), while it answers others quickly; an overloaded origin is silent in all of them. To find that out, as
//!   many as the reserve continue without a slot in favour of requests for other targets; and if the origin answers
//!   nobody, all may, up to `in_all`.
//! - Bodies that hold the reserve, or all slots while a request waits for 5 s, continue without one, up to `in_all`.

mod entry;
mod relief;
pub(super) mod slot_request;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    entry::{Entry, Why},
    slot_request::{Demand, Kind, SlotRequest},
};
use super::holder::{Holder, SlotState};
use crate::path::network::Network;

/// One in this many slots is the reserve, which large and slow exchanges never use.
const RESERVE: usize = 8;
/// A request that has waited so long takes the slot of the body that has held one longest.
const STARVED: Duration = Duration::from_secs(5);

/// Limits of the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Slots: exchanges at once.
    pub(super) at_once: usize,
    /// The most exchanges with a slot, plus those that continue without one while they last.
    pub(super) in_all: usize,
    /// The most exchanges that continue without a slot while they wait.
    pub(super) waiting: usize,
    /// How long the origin may be silent in an exchange.
    pub(super) patience: Duration,
}

impl Limits {
    /// The number of slots in the reserve.
    fn reserve(&self) -> usize {
        (self.at_once / RESERVE).max(1)
    }

    /// The number of slots that large and slow exchanges may use; all, if there are only a few.
    fn at_most_large(&self) -> usize {
        if self.at_once < RESERVE / 2 {
            self.at_once
        } else {
            self.at_once - self.reserve()
        }
    }
}

/// A place in the queue: the turn, and for equal turns the order of arrival.
pub(super) type Position = (Instant, u64);

/// Where a waiting request is in the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    network: Network,
    kind: Kind,
    turn: Position,
}

/// A request that waits for a slot.
#[derive(Debug)]
pub(super) struct Waiter<T> {
    /// How it is notified.
    pub(super) call: T,
    /// When it arrived.
    pub(super) came: Instant,
    /// What it requests.
    pub(super) ask: SlotRequest,
}

/// The exchanges and waiting requests of one client network.
#[derive(Debug)]
struct Account<T> {
    in_use: usize,
    beyond: usize,
    probes: usize,
    /// By [`Kind`].
    waiting: [BTreeMap<Position, Waiter<T>>; 2],
}

/// Exchanges under way, and requests that wait for a slot. `T` notifies a waiting request.
#[derive(Debug)]
pub(super) struct Queue<T> {
    pub(super) limits: Limits,
    slots: HashMap<u64, Entry>,
    beyond: HashMap<u64, Entry>,
    /// Of those without a slot: exchanges with a silent origin, and bodies that move.
    lasting: usize,
    /// Of those without a slot: probes, which test whether the origin answers others.
    probes: usize,
    /// Whether the origin has answered a request quickly of late.
    alive: bool,
    /// Whether the origin has answered no request of late.
    mute: bool,
    /// Targets and directories of exchanges in which the origin was silent, with their number.
    slow: HashMap<u64, usize>,
    accounts: HashMap<Network, Account<T>>,
    /// The first waiting request of each network, by [`Kind`].
    order: [BTreeSet<(usize, Position, Network)>; 2],
    came: u64,
    /// Until then no slot can be taken from an exchange: it was tried, and nothing has changed.
    barren: Option<Instant>,
    asked: Option<Arc<Holder>>,
}

impl<T> Default for Account<T> {
    fn default() -> Self {
        Account {
            in_use: 0,
            beyond: 0,
            probes: 0,
            waiting: [BTreeMap::new(), BTreeMap::new()],
        }
    }
}

impl<T> Queue<T> {
    pub(super) fn new(limits: Limits) -> Self {
        Queue {
            limits,
            slots: HashMap::new(),
            beyond: HashMap::new(),
            lasting: 0,
            probes: 0,
            alive: false,
            mute: false,
            slow: HashMap::new(),
            accounts: HashMap::new(),
            order: [BTreeSet::new(), BTreeSet::new()],
            came: 0,
            barren: None,
            asked: None,
        }
    }

    /// Sets how the origin does: whether it has answered a request quickly of late, or none at all.
    pub(super) fn hear(&mut self, alive: bool, mute: bool) {
        (self.alive, self.mute) = (alive, mute);
        if alive && self.probes > 0 {
            // The probes have shown that it answers others.
            self.lasting += std::mem::take(&mut self.probes);
            for entry in self.beyond.values_mut() {
                if entry.why == Why::Probe {
                    entry.why = Why::Silent;
                }
            }
            for account in self.accounts.values_mut() {
                account.probes = 0;
            }
        }
    }

    /// Slots in use.
    pub(super) fn in_use(&self) -> usize {
        self.slots.len()
    }

    /// Exchanges without a slot.
    pub(super) fn beyond(&self) -> usize {
        self.beyond.len()
    }

    /// Whether no request waits.
    pub(super) fn is_idle(&self) -> bool {
        self.order.iter().all(BTreeSet::is_empty)
    }

    /// Whether a slot is free for any request, and none waits.
    pub(super) fn has_plenty(&self) -> bool {
        self.slots.len() < self.limits.at_most_large() && self.is_idle()
    }

    /// Free slots that no request needs.
    pub(super) fn spare(&self) -> usize {
        if self.is_idle() {
            self.limits.at_once.saturating_sub(self.slots.len())
        } else {
            0
        }
    }

    /// Whether there is a slot for this request now, ahead of those that wait. Records in it whether it is large.
    pub(super) fn admits(&mut self, ask: &mut SlotRequest, now: Instant) -> bool {
        loop {
            let kind = self.kind(ask, now);
            ask.is_large = kind == Kind::Large;
            if !self.order[kind as usize].is_empty() || kind == Kind::Large && !self.is_idle() {
                return false;
            }
            let room = self.slots.len() < self.limits.at_once;
            if room && (kind == Kind::Small || self.has_room_for_large(now)) {
                return true;
            }
            let demand = Demand {
                network: ask.network,
                kind,
                starved: false,
                full: !room,
            };
            if !self.relieve(demand, now) {
                return false;
            }
        }
    }

    /// Gives an exchange a slot. Returns its number in the queue.
    pub(super) fn enter(&mut self, ask: SlotRequest, holder: Arc<Holder>, now: Instant) -> u64 {
        self.came += 1;
        let id = self.came;
        if ask.is_large {
            holder.set_large();
        }
        self.change(ask.network, |account| account.in_use += 1);
        self.slots.insert(
            id,
            Entry {
                holder,
                ask,
                taken: now,
                why: Why::Parked,
            },
        );
        id
    }

    /// Adds a waiting request with this turn.
    pub(super) fn wait(&mut self, turn: Instant, waiter: Waiter<T>) -> Spot {
        self.came += 1;
        let spot = Spot {
            network: waiter.ask.network,
            kind: self.kind(&waiter.ask, waiter.came),
            turn: (turn, self.came),
        };
        self.change(spot.network, |account| {
            account.waiting[spot.kind as usize].insert(spot.turn, waiter);
        });
        spot
    }

    /// Removes a waiting request.
    pub(super) fn forget(&mut self, spot: Spot) {
        self.change(spot.network, |account| {
            account.waiting[spot.kind as usize].remove(&spot.turn);
        });
    }

    /// Removes and returns the request that gets a slot next; none if there is no slot.
    pub(super) fn next(&mut self, now: Instant) -> Option<Waiter<T>> {
        loop {
            let first = [Kind::Small, Kind::Large].map(|kind| self.order[kind as usize].first());
            let (kind, &(_, turn, network)) = match first {
                [Some(small), Some(large)] if large < small && self.has_room_for_large(now) => {
                    (Kind::Large, large)
                }
                [Some(small), _] => (Kind::Small, small),
                [None, Some(large)] => (Kind::Large, large),
                [None, None] => return None,
            };
            let room = self.slots.len() < self.limits.at_once;
            if room && (kind == Kind::Small || self.has_room_for_large(now)) {
                let mut next = None;
                self.change(network, |account| {
                    next = account.waiting[kind as usize].remove(&turn);
                });
                return next.map(|mut next| {
                    // It counts as large at once.
                    next.ask.is_large = kind == Kind::Large;
                    next
                });
            }
            let account = self.accounts.get(&network)?;
            let first = account.waiting[kind as usize].get(&turn)?;
            let (came, ask) = (first.came, first.ask);
            if kind == Kind::Small && self.kind(&ask, now) == Kind::Large {
                // Its kind has become known since it arrived.
                self.change(network, |account| {
                    let moved = account.waiting[kind as usize].remove(&turn);
                    account.waiting[Kind::Large as usize].extend(moved.map(|moved| (turn, moved)));
                });
                continue;
            }
            let demand = Demand {
                network,
                kind,
                starved: now.saturating_duration_since(came) >= STARVED,
                full: !room,
            };
            if !self.relieve(demand, now) {
                return None;
            }
        }
    }

    /// Removes an exchange that ended. Returns since when it held a slot, if it did.
    pub(super) fn leave(&mut self, id: u64) -> Option<Instant> {
        self.barren = None;
        if let Some(entry) = self.slots.remove(&id) {
            self.change(entry.ask.network, |account| account.in_use -= 1);
            return Some(entry.taken);
        }
        if let Some(entry) = self.beyond.remove(&id) {
            self.forget_beyond(&entry);
            self.change(entry.ask.network, |account| account.in_use -= 1);
        }
        None
    }

    /// Lets the next call look for a slot again, because the state has changed.
    pub(super) fn look_again(&mut self) {
        self.barren = None;
    }

    /// Lets an exchange without a slot continue: with one if one is free, otherwise without. `id` is none if it had given up its
    /// connection. Returns its number.
    pub(super) fn resume(
        &mut self,
        id: Option<u64>,
        ask: SlotRequest,
        holder: &Arc<Holder>,
        now: Instant,
    ) -> u64 {
        let room = self.slots.len() < self.limits.at_once
            && (!ask.is_large && !holder.is_large() || self.has_room_for_large(now));
        let id = match id {
            Some(id) if !room => return id,
            Some(id) => {
                let Some(entry) = self.beyond.remove(&id) else {
                    return id;
                };
                self.forget_beyond(&entry);
                self.slots.insert(id, entry);
                id
            }
            None => {
                let id = self.enter(ask, Arc::clone(holder), now);
                if !room {
                    self.go_beyond(id, Why::Parked);
                    return id;
                }
                id
            }
        };
        holder.set_state(SlotState::Held);
        id
    }

    fn go_beyond(&mut self, id: u64, why: Why) {
        let Some(mut entry) = self.slots.remove(&id) else {
            return;
        };
        entry.why = why;
        entry.holder.set_state(SlotState::Beyond);
        let (lasts, probes) = why.counts();
        self.lasting += lasts;
        self.probes += probes;
        if why.is_silent() {
            for hash in entry.ask.target {
                *self.slow.entry(hash).or_default() += 1;
            }
        }
        self.change(entry.ask.network, |account| {
            account.beyond += 1;
            account.probes += probes;
        });
        self.beyond.insert(id, entry);
    }

    /// Updates the counts after an exchange was removed from `beyond`.
    fn forget_beyond(&mut self, entry: &Entry) {
        let (lasts, probes) = entry.why.counts();
        self.lasting -= lasts;
        self.probes -= probes;
        self.change(entry.ask.network, |account| {
            account.beyond -= 1;
            account.probes -= probes;
        });
        if entry.why.is_silent() {
            for hash in &entry.ask.target {
                if let Some(count) = self.slow.get_mut(hash) {
                    *count -= 1;
                    if *count == 0 {
                        self.slow.remove(hash);
                    }
                }
            }
        }
    }

    /// Changes a network's account and its position among the waiting networks.
    fn change(&mut self, network: Network, change: impl FnOnce(&mut Account<T>)) {
        let account = self.accounts.entry(network).or_default();
        let key = |account: &Account<T>, kind: usize| {
            let first = account.waiting[kind].first_key_value();
            first.map(|(turn, _)| (account.in_use, *turn, network))
        };
        for (kind, order) in self.order.iter_mut().enumerate() {
            if let Some(key) = key(account, kind) {
                order.remove(&key);
            }
        }
        change(account);
        for (kind, order) in self.order.iter_mut().enumerate() {
            order.extend(key(account, kind));
        }
        if account.in_use == 0 && account.waiting.iter().all(BTreeMap::is_empty) {
            self.accounts.remove(&network);
        }
    }
}
