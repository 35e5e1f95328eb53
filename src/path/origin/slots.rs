//! How many exchanges may be under way at the origin, over the whole process, and who goes next.
//!
//! A retune changes the limit at once: waiters are let in as it grows, and as it shrinks whatever is under way goes
//! on. Who waits is let in by its turn: the time it came, or a later one for what will take long, so that small ones go
//! first, and a large one goes before whatever came later than its turn. Who comes before whom, and what a slot is taken
//! from, is in `slot_queue`.

#[cfg(test)]
mod tests;

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    task::Context,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

pub use super::{holder::Yields, slot_queue::slot_request::SlotRequest};
use super::{
    holder::{Holder, SlotState, Waits},
    slot_queue::{Limits, Queue, Spot, Waiter},
};
use crate::{path::network::Network, traffic::counters::OriginCounters};

/// The origin may be silent for so long before an exchange counts as one that only waits, or for eight times as long as
/// answers took at their best of late.
const PATIENCE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// The origin counts as silent after so many times the recent best response time.
const LATE: u32 = 8;
/// The origin is alive if it answered somebody soon within so long, and mute if it answered nobody.
const ALIVE: Duration = Duration::from_secs(2);

/// The exchange slots of the whole process: how many exchanges may be under way at the origin at once.
#[derive(Debug)]
pub struct Slots {
    /// A std mutex: held for a few instructions, never across an await.
    queue: Mutex<Queue<oneshot::Sender<Slot>>>,
    /// The limits in force, as in `queue`. Written under it.
    at_once: AtomicUsize,
    in_all: AtomicUsize,
    /// How many wait. Changed under the lock of `queue`.
    waiting: AtomicUsize,
    epoch: Instant,
    /// When somebody was last answered soon, in nanoseconds since the epoch; zero: never.
    quick: AtomicU64,
    /// When somebody was last answered, soon or not.
    heard: AtomicU64,
    hasher: RandomState,
    counters: Arc<OriginCounters>,
}

/// An exchange slot: the right to one exchange with the origin, from its request until its body is here. While the exchange only
/// waits for its client, the slot may go to another one, and this one goes on without. Dropped, it goes to whoever is next.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    holder: Arc<Holder>,
    /// Its number in the queue; none while it has given up its connection.
    id: Option<u64>,
    ask: SlotRequest,
    taken: Instant,
}

/// No slot came free before the deadline.
#[derive(Debug, thiserror::Error)]
#[error("all {limit} origin connections were in use until the deadline")]
pub struct NoSlot {
    /// The limit in force.
    pub limit: usize,
}

impl Slots {
    /// So many slots, and so many exchanges in all that hold one or an origin's attention; `waiting` more go without.
    pub fn new(
        at_once: usize,
        in_all: usize,
        waiting: usize,
        counters: Arc<OriginCounters>,
    ) -> Self {
        Slots {
            queue: Mutex::new(Queue::new(Limits {
                at_once,
                in_all,
                waiting,
                patience: PATIENCE[0],
            })),
            at_once: at_once.into(),
            in_all: in_all.into(),
            waiting: AtomicUsize::new(0),
            epoch: Instant::now(),
            quick: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            hasher: RandomState::new(),
            counters,
        }
    }

    /// The limit in force on exchanges at once.
    pub fn limit(&self) -> usize {
        self.at_once.load(Relaxed)
    }

    /// Changes the limits. What is under way goes on. Cheap where they are what they were.
    pub fn set(self: &Arc<Self>, at_once: usize, in_all: usize) {
        if self.at_once.load(Relaxed) == at_once && self.in_all.load(Relaxed) == in_all {
            return;
        }
        {
            let mut queue = self.queue();
            (queue.limits.at_once, queue.limits.in_all) = (at_once, in_all);
            self.at_once.store(at_once, Relaxed);
            self.in_all.store(in_all, Relaxed);
        }
        self.let_in();
    }

    /// Changes how many may go without a slot.
    pub fn set_waiting(&self, waiting: usize) {
        self.queue().limits.waiting = waiting;
    }

    /// To be called now and then, for what changes by time alone. `best`: how long answers took at their best of late.
    pub fn look(self: &Arc<Self>, best: Duration) {
        let [least, most] = PATIENCE;
        self.queue().limits.patience = best.saturating_mul(LATE).clamp(least, most);
        self.let_in();
    }

    /// Whether anybody waits.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.load(SeqCst) > 0
    }

    /// What is asked for, where it is not known to be large. `path`: the target without its query.
    pub fn ask(&self, network: Network, path: &str) -> SlotRequest {
        let directory = match path.rfind('/') {
            Some(1..) => path.rsplit_once('/').map(|(directory, _)| directory),
            _ => None,
        };
        SlotRequest {
            network,
            target: [
                self.hasher.hash_one(path),
                directory.map_or(0, |directory| self.hasher.hash_one(directory)),
            ],
            is_large: false,
        }
    }

    /// A slot, if some are free for anything and nobody waits.
    pub fn take_free(self: &Arc<Self>, ask: &SlotRequest) -> Option<Slot> {
        let mut queue = self.queue();
        queue.has_plenty().then(|| self.occupy(&mut queue, *ask))
    }

    /// A slot, if there is one for this without waiting: also that of an exchange which only waits.
    pub fn take_now(self: &Arc<Self>, ask: &SlotRequest) -> Option<Slot> {
        let now = Instant::now();
        let mut queue = self.queue();
        self.tell(&mut queue, now);
        let mut ask = *ask;
        let admitted = queue.admits(&mut ask, now);
        let slot = admitted.then(|| self.occupy(&mut queue, ask));
        self.count(&queue);
        let asked = queue.take_asked();
        drop(queue);
        if let Some(asked) = asked {
            asked.ask();
        }
        slot
    }

    /// Takes a slot, waiting until `deadline`. Whose `turn` is earlier goes first: that is the time at which it came,
    /// or a later one for what has time.
    ///
    /// # Errors
    ///
    /// [`NoSlot`] at the deadline.
    pub async fn take(
        self: &Arc<Self>,
        ask: &SlotRequest,
        turn: Instant,
        deadline: Instant,
    ) -> Result<Slot, NoSlot> {
        if let Some(slot) = self.take_now(ask) {
            return Ok(slot);
        }
        let (call, slot) = oneshot::channel();
        let waiter = Waiter {
            call,
            came: Instant::now(),
            ask: *ask,
        };
        let spot = {
            let mut queue = self.queue();
            self.waiting.fetch_add(1, SeqCst);
            queue.wait(turn, waiter)
        };
        let _waiting = Waiting::new(self, spot);
        // One may have come free meanwhile.
        self.let_in();
        match tokio::time::timeout_at(deadline.into(), slot).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(self.timed_out()),
        }
    }

    /// Counts one that waited until its deadline.
    pub fn timed_out(&self) -> NoSlot {
        self.counters.slot_timeouts.increment();
        NoSlot {
            limit: self.at_once.load(Relaxed),
        }
    }

    /// Takes a slot that nobody needs just now: only where some stay free, for whoever comes.
    pub fn try_take(self: &Arc<Self>) -> Option<Slot> {
        let ask = SlotRequest {
            network: Network::NONE,
            target: [0, 0],
            is_large: true,
        };
        let mut queue = self.queue();
        (queue.spare() > queue.limits.at_once / 4).then(|| self.occupy(&mut queue, ask))
    }

    fn queue(&self) -> MutexGuard<'_, Queue<oneshot::Sender<Slot>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn occupy(
        self: &Arc<Self>,
        queue: &mut Queue<oneshot::Sender<Slot>>,
        ask: SlotRequest,
    ) -> Slot {
        let now = Instant::now();
        let holder = Arc::new(Holder::new(self.epoch, now));
        let id = queue.enter(ask, Arc::clone(&holder), now);
        self.count(queue);
        Slot {
            slots: Arc::clone(self),
            holder,
            id: Some(id),
            ask,
            taken: now,
        }
    }

    /// Publishes what there is, under the lock: sockets are opened by it, too.
    fn count(&self, queue: &Queue<oneshot::Sender<Slot>>) {
        let origin = &self.counters;
        origin.in_use.set(queue.in_use() as u64);
        origin.beyond.set(queue.beyond() as u64);
    }

    /// Tells the queue how the origin does.
    fn tell(&self, queue: &mut Queue<oneshot::Sender<Slot>>, now: Instant) {
        let lately = |when: &AtomicU64| {
            let nanos = when.load(Relaxed);
            let at = self.epoch + Duration::from_nanos(nanos);
            nanos > 0 && now.saturating_duration_since(at) < ALIVE
        };
        queue.hear(lately(&self.quick), !lately(&self.heard));
    }

    /// Lets in who waits, as far as there is room.
    fn let_in(self: &Arc<Self>) {
        loop {
            let now = Instant::now();
            let (next, slot) = {
                let mut queue = self.queue();
                self.tell(&mut queue, now);
                let next = queue.next(now);
                self.count(&queue);
                let Some(next) = next else {
                    let asked = queue.take_asked();
                    drop(queue);
                    if let Some(asked) = asked {
                        asked.ask();
                    }
                    return;
                };
                (next.call, self.occupy(&mut queue, next.ask))
            };
            // One that just left gives its slot back, and the next one is asked.
            if let Err(mut slot) = next.send(slot) {
                slot.leave();
            }
        }
    }
}

impl Slot {
    /// Notes that the response head is here: how long that took tells how the origin does.
    pub fn answered(&self, is_large: bool) {
        self.holder.answered(is_large);
        let now = Instant::now();
        let nanos = now.saturating_duration_since(self.slots.epoch).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        self.slots.heard.store(nanos, Relaxed);
        if now.saturating_duration_since(self.taken) < PATIENCE[0] {
            self.slots.quick.store(nanos, Relaxed);
        }
    }

    /// Notes that bytes move, or are asked for.
    pub fn moves(&mut self) {
        if let Some(was_for_client) = self.holder.moves() {
            self.goes_on(was_for_client);
        }
    }

    /// Notes that it waits for the origin.
    pub fn waits_for_origin(&mut self) {
        if let Some(before) = self.holder.wait(false) {
            self.goes_on(matches!(before, Waits::Client(_)));
        }
    }

    /// Notes that it waits for its client: whoever needs the slot may have it.
    pub fn waits_for_client(&mut self) {
        if self.id.is_none() || self.holder.wait(true).is_none() {
            return;
        }
        let origin = &self.slots.counters;
        origin.parked.up();
        if self.holder.state() == SlotState::Held && self.slots.is_waited_for() {
            self.slots.queue().look_again();
            self.slots.let_in();
        }
    }

    /// As [`Slot::waits_for_client`], for an exchange that may also be asked for its connection: the waker of `cx` is woken then.
    pub fn parks(&mut self, cx: &Context<'_>) {
        self.holder.wake_by(cx.waker());
        self.waits_for_client();
    }

    /// Sets what the exchange does when its connection is asked for while it waits for its client.
    pub fn yields(&self, yields: Yields) {
        self.holder.set_yields(yields);
    }

    /// Whether its connection is asked for.
    pub fn is_asked(&self) -> bool {
        self.holder.is_asked()
    }

    /// Refuses to give its connection up, because its rest could not be asked for later after all. From now on it counts as one
    /// that would end, and another exchange is asked. Returns false where it counts so already.
    pub fn declines(&mut self) -> bool {
        if self.holder.yields() != Yields::ByRange {
            return false;
        }
        self.holder.set_yields(Yields::ByEnding);
        self.holder.forget_asked();
        self.slots.queue().look_again();
        self.slots.let_in();
        true
    }

    /// Notes that the exchange has given up its connection. It asks for a slot again when it moves.
    pub fn give_up(&mut self) {
        self.holder.forget_asked();
        if self.leave() {
            self.holder.set_state(SlotState::GivenUp);
            self.slots.let_in();
        }
    }

    /// Gives it a slot again, if it had lost its own and one is free.
    fn goes_on(&mut self, was_for_client: bool) {
        if was_for_client && self.holder.state() != SlotState::GivenUp {
            self.slots.counters.parked.down();
            // Too late to ask it.
            self.holder.forget_asked();
        }
        if self.holder.state() != SlotState::Held {
            let mut queue = self.slots.queue();
            let id = queue.resume(self.id, self.ask, &self.holder, Instant::now());
            self.id = Some(id);
            self.slots.count(&queue);
        }
    }

    /// Takes it out of the queue, without letting anybody in. Returns whether it was there.
    fn leave(&mut self) -> bool {
        let Some(id) = self.id.take() else {
            return false;
        };
        let origin = &self.slots.counters;
        if matches!(self.holder.waits(self.taken), Waits::Client(_)) {
            origin.parked.down();
        }
        let mut queue = self.slots.queue();
        let taken = queue.leave(id);
        self.slots.count(&queue);
        drop(queue);
        if let Some(taken) = taken
            && self.holder.is_answered()
        {
            origin.exchanges.add(taken.elapsed());
        }
        true
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.leave() {
            self.slots.let_in();
        }
    }
}

/// Counts a waiter while it waits, and takes it out of the queue when its client leaves.
struct Waiting<'a> {
    slots: &'a Slots,
    spot: Spot,
}

impl<'a> Waiting<'a> {
    fn new(slots: &'a Slots, spot: Spot) -> Self {
        slots.counters.waiting.up();
        Waiting { slots, spot }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.slots.queue().forget(self.spot);
        self.slots.waiting.fetch_sub(1, SeqCst);
        self.slots.counters.waiting.down();
    }
}
