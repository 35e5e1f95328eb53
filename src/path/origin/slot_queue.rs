//! Who has a slot, who goes on without one, and who waits. Time is an argument.
//!
//! - Those who wait are let in by how much their network has under way, the least first, and then by their turns.
//! - Large answers, and those that lately took long, leave an eighth of the slots to others.
//! - Whoever waits gets the slot of an exchange that waits for its own client, or for an origin that is silent for
//!   longer than `patience`. That exchange goes on without a slot, as far as `waiting` allows; a network may have at most
//!   as much of that as is left over, so half of it where it is alone.
//! - Beyond that, an exchange that waits for its client and can go on by Range is asked for its connection.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use super::holder::{Holder, Place, Waits, Yields};
use crate::path::network::Network;

/// The share of the slots that large and slow exchanges never take: one in so many.
const RESERVE: usize = 8;
/// Whoever waited so long gets the slot of what has had one longest.
const STARVED: Duration = Duration::from_secs(5);
/// Where nothing could be done for those who wait, how soon it is looked again.
const LOOK: Duration = Duration::from_millis(20);

/// What an exchange is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Who asks.
    pub network: Network,
    /// What for: a hash of the target's path.
    pub target: u64,
    /// Whether it will bring more than most.
    pub is_large: bool,
}

/// What is in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Slots.
    pub(super) at_once: usize,
    /// Exchanges with and without a slot, those left out that wait for their clients.
    pub(super) in_all: usize,
    /// Exchanges without a slot.
    pub(super) waiting: usize,
    /// How long the origin may be silent.
    pub(super) patience: Duration,
}

impl Limits {
    /// How many slots large and slow exchanges may have.
    fn at_most_large(&self) -> usize {
        let reserve = (self.at_once / RESERVE).max(1);
        self.at_once.saturating_sub(reserve).max(1)
    }
}

/// When somebody's turn is: the time, and who came first.
pub(super) type Turn = (Instant, u64);

/// Whether somebody who waits may have any slot, or none of the reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Small,
    Large,
}

/// Where somebody waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spot {
    network: Network,
    kind: Kind,
    turn: Turn,
}

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Waiter<T> {
    /// How to reach it.
    pub(super) call: T,
    /// When it came.
    pub(super) came: Instant,
    /// What it asks for.
    pub(super) ask: Ask,
}

#[derive(Debug)]
struct Entry {
    holder: Arc<Holder>,
    ask: Ask,
    taken: Instant,
    /// Without a slot, though it does not wait for its client.
    lasts: bool,
}

/// What one network has.
#[derive(Debug)]
struct Account<T> {
    in_use: usize,
    beyond: usize,
    /// By [`Kind`].
    waiting: [BTreeMap<Turn, Waiter<T>>; 2],
}

/// All of it.
#[derive(Debug)]
pub(super) struct Queue<T> {
    pub(super) limits: Limits,
    slots: HashMap<u64, Entry>,
    beyond: HashMap<u64, Entry>,
    /// Of those beyond, the ones that do not wait for their clients.
    lasting: usize,
    /// Targets whose answers are not there, though they were waited for longer than patience: how many of each.
    slow: HashMap<u64, usize>,
    accounts: HashMap<Network, Account<T>>,
    /// The first of each network that waits, by [`Kind`].
    order: [BTreeSet<(usize, Turn, Network)>; 2],
    came: u64,
    /// Nothing can be done for those who wait until then.
    barren: Option<Instant>,
}

impl<T> Default for Account<T> {
    fn default() -> Self {
        Account {
            in_use: 0,
            beyond: 0,
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
            slow: HashMap::new(),
            accounts: HashMap::new(),
            order: [BTreeSet::new(), BTreeSet::new()],
            came: 0,
            barren: None,
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

    /// Whether nobody waits.
    pub(super) fn is_idle(&self) -> bool {
        self.order.iter().all(BTreeSet::is_empty)
    }

    /// Whether a slot is free for anything, with nobody waiting for it.
    pub(super) fn has_plenty(&self) -> bool {
        self.slots.len() < self.limits.at_most_large() && self.is_idle()
    }

    /// Slots that nobody needs.
    pub(super) fn spare(&self) -> usize {
        if self.is_idle() {
            self.limits.at_once.saturating_sub(self.slots.len())
        } else {
            0
        }
    }

    /// Whether there is a slot for this one now, before all who wait for one of its kind.
    pub(super) fn admits(&mut self, ask: &Ask, now: Instant, alive: bool) -> bool {
        let kind = self.kind(ask);
        loop {
            if !self.order[kind as usize].is_empty() || kind == Kind::Large && !self.is_idle() {
                return false;
            }
            let room = self.slots.len() < self.limits.at_once;
            if room && (kind == Kind::Small || self.has_room_for_large(now)) {
                return true;
            }
            let small = !room && kind == Kind::Small;
            if !self.relieve(ask.network, small, false, now, alive) {
                return false;
            }
        }
    }

    /// It has a slot from now on.
    pub(super) fn enter(&mut self, ask: Ask, holder: Arc<Holder>, now: Instant) -> u64 {
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
                lasts: false,
            },
        );
        id
    }

    /// It waits.
    pub(super) fn wait(&mut self, turn: Instant, waiter: Waiter<T>) -> Spot {
        self.came += 1;
        let spot = Spot {
            network: waiter.ask.network,
            kind: self.kind(&waiter.ask),
            turn: (turn, self.came),
        };
        self.change(spot.network, |account| {
            account.waiting[spot.kind as usize].insert(spot.turn, waiter);
        });
        spot
    }

    /// It waits no more.
    pub(super) fn forget(&mut self, spot: Spot) {
        self.change(spot.network, |account| {
            account.waiting[spot.kind as usize].remove(&spot.turn);
        });
    }

    /// Whose turn it is; none if there is no slot for anybody. `alive`: the origin has lately answered somebody soon.
    pub(super) fn next(&mut self, now: Instant, alive: bool) -> Option<Waiter<T>> {
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
                return next;
            }
            let account = self.accounts.get(&network)?;
            let came = account.waiting[kind as usize].get(&turn)?.came;
            let starved = now.saturating_duration_since(came) >= STARVED;
            let small = !room && kind == Kind::Small;
            if !self.relieve(network, small, starved, now, alive) {
                return None;
            }
        }
    }

    /// It ended. Whether it had a slot, and since when.
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

    /// It waits for its client: if somebody needs its slot, it goes on without. Whether it does.
    pub(super) fn park(&mut self, id: u64) -> bool {
        self.barren = None;
        let full = self.slots.len() >= self.limits.at_once;
        let network = self.slots.get(&id).map(|entry| entry.ask.network);
        let goes = full && network.is_some_and(|network| self.may_go_beyond(network, false, false));
        if goes {
            self.go_beyond(id, false);
        }
        goes
    }

    /// It goes on: with a slot if there is one, else without. `id` is none for one that had given up its connection.
    pub(super) fn resume(
        &mut self,
        id: Option<u64>,
        ask: Ask,
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
                let entry = Entry {
                    lasts: false,
                    ..entry
                };
                self.slots.insert(id, entry);
                id
            }
            None => {
                let id = self.enter(ask, Arc::clone(holder), now);
                if !room {
                    self.go_beyond(id, false);
                    return id;
                }
                id
            }
        };
        holder.set_place(Place::Slot);
        id
    }

    /// Whether somebody must leave the reserve to others.
    fn kind(&self, ask: &Ask) -> Kind {
        let slow = self.slow.contains_key(&ask.target);
        if ask.is_large || slow || self.has_its_share(ask.network) {
            Kind::Large
        } else {
            Kind::Small
        }
    }

    /// Whether a network has as much beyond the slots as it may.
    fn has_its_share(&self, network: Network) -> bool {
        let account = self.accounts.get(&network);
        let beyond = account.map_or(0, |account| account.beyond);
        let free = self.limits.waiting.saturating_sub(self.beyond.len());
        beyond > 0 && beyond >= free
    }

    fn may_go_beyond(&self, network: Network, lasts: bool, alive: bool) -> bool {
        let in_all = self.limits.in_all.saturating_sub(self.limits.at_once);
        self.beyond.len() < self.limits.waiting
            && !self.has_its_share(network)
            && (!lasts || alive || self.lasting < in_all)
    }

    fn is_large(&self, entry: &Entry, now: Instant) -> bool {
        entry.holder.is_large() || now.saturating_duration_since(entry.taken) > self.limits.patience
    }

    fn has_room_for_large(&self, now: Instant) -> bool {
        let most = self.limits.at_most_large();
        self.slots.len() < most
            || self.slots.len() < self.limits.at_once && {
                let large = self.slots.values();
                large.filter(|entry| self.is_large(entry, now)).count() < most
            }
    }

    /// Makes a slot free for somebody in `network`, if one has it that does not need it now. `small`: the reserve is
    /// theirs. `starved`: somebody waited for very long.
    fn relieve(
        &mut self,
        network: Network,
        small: bool,
        starved: bool,
        now: Instant,
        alive: bool,
    ) -> bool {
        if self.barren.is_some_and(|until| now < until) {
            return false;
        }
        let (mut parked, mut silent, mut large, mut oldest) = (None, None, None, None);
        let (mut count, mut any_parked) = (0, false);
        for (&id, entry) in &self.slots {
            match entry.holder.waits(now) {
                Waits::Client(waited) => {
                    any_parked = true;
                    if self.may_go_beyond(entry.ask.network, false, false) {
                        parked = parked.max(Some((waited, id)));
                    }
                }
                Waits::Origin(waited) if waited > self.limits.patience => {
                    if self.may_go_beyond(entry.ask.network, true, alive) {
                        silent = silent.max(Some((waited, id)));
                    }
                }
                _ => {}
            }
            let held = now.saturating_duration_since(entry.taken);
            let may = self.may_go_beyond(entry.ask.network, true, false);
            if self.is_large(entry, now) {
                count += 1;
                large = large.max(may.then_some((held, id)));
            }
            oldest = oldest.max(may.then_some((held, id)));
        }
        let large = large.filter(|_| small && count > self.limits.at_most_large());
        let oldest = oldest.filter(|_| starved);
        if let Some((_, id)) = parked {
            self.go_beyond(id, false);
        } else if let Some((_, id)) = silent.or(large).or(oldest) {
            self.go_beyond(id, true);
        } else {
            if any_parked {
                self.ask_one(network, now);
            }
            self.barren = Some(now + LOOK);
            return false;
        }
        true
    }

    /// Asks for the connection of one that waits for its client: the longest of those that can go on by Range. If there
    /// is none, and it is not for their own network: the longest of those whose network has the most without a slot.
    fn ask_one(&self, for_network: Network, now: Instant) {
        let longest = |yields: Yields, of: &dyn Fn(Network) -> bool| {
            let all = self.slots.values().chain(self.beyond.values());
            all.filter(|entry| {
                entry.holder.yields() == yields && !entry.holder.is_asked() && of(entry.ask.network)
            })
            .filter_map(|entry| match entry.holder.waits(now) {
                Waits::Client(waited) => Some((waited, &entry.holder)),
                _ => None,
            })
            .max_by_key(|(waited, _)| *waited)
        };
        let crowded = || {
            let most = self.accounts.iter().max_by_key(|(_, a)| a.beyond);
            let most = most.filter(|(network, account)| {
                **network != for_network && account.beyond > 0 && self.has_its_share(**network)
            });
            most.and_then(|(network, _)| longest(Yields::ByEnding, &|of| of == *network))
        };
        if let Some((_, holder)) = longest(Yields::ByRange, &|_| true).or_else(crowded) {
            holder.ask();
        }
    }

    fn go_beyond(&mut self, id: u64, lasts: bool) {
        let Some(mut entry) = self.slots.remove(&id) else {
            return;
        };
        entry.lasts = lasts;
        entry.holder.set_place(Place::Beyond);
        if lasts {
            self.lasting += 1;
            *self.slow.entry(entry.ask.target).or_default() += 1;
        }
        self.change(entry.ask.network, |account| account.beyond += 1);
        self.beyond.insert(id, entry);
    }

    /// It was taken out of those beyond.
    fn forget_beyond(&mut self, entry: &Entry) {
        self.change(entry.ask.network, |account| account.beyond -= 1);
        if entry.lasts {
            self.lasting -= 1;
            if let Some(count) = self.slow.get_mut(&entry.ask.target) {
                *count -= 1;
                if *count == 0 {
                    self.slow.remove(&entry.ask.target);
                }
            }
        }
    }

    /// Changes a network's account, and with it where it stands among those that wait.
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
