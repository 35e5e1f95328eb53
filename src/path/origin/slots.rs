//! How many exchanges may run at the origin at once, over the whole process, and which request goes next.
//!
//! A changed limit applies at once: a larger one admits waiting requests, a smaller one does not stop running exchanges. Requests
//! are admitted by their turn: their arrival, or later for large responses, so that small ones go first and a large one goes before
//! whatever arrives after its turn. The order and the slots that can be taken from others are decided in `slot_queue`.

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

/// Bounds of the patience after which an exchange counts as one that only waits for the origin; between them it is eight times the
/// recent best response time.
const PATIENCE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// The origin counts as silent after this many times the recent best response time.
const LATE: u32 = 8;
/// The origin is alive if it gave a quick answer within this time, and mute if it gave no answer at all.
const ALIVE: Duration = Duration::from_secs(2);

/// The exchange slots of the whole process: how many exchanges may be under way at the origin at once.
#[derive(Debug)]
pub struct Slots {
    /// A std mutex: held for a few instructions, never across an await.
    queue: Mutex<Queue<oneshot::Sender<Slot>>>,
    /// The limits in force, copied from `queue`. Written under its lock.
    at_once: AtomicUsize,
    in_all: AtomicUsize,
    /// Number of waiting requests. Changed under the lock of `queue`.
    waiting: AtomicUsize,
    epoch: Instant,
    /// When the origin last answered quickly, in nanoseconds since the epoch; zero: never.
    quick: AtomicU64,
    /// When the origin last answered at all.
    heard: AtomicU64,
    hasher: RandomState,
    counters: Arc<OriginCounters>,
}

/// An exchange slot: the right to one exchange with the origin, from its request to the end of its body. While the exchange waits
/// for its client, the slot may go to another one, and this one continues without. Dropped, it goes to the next request.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    holder: Arc<Holder>,
    /// Its number in the queue; none after it gave up its connection.
    id: Option<u64>,
    ask: SlotRequest,
    taken: Instant,
}

/// No slot became free before the deadline.
#[derive(Debug, thiserror::Error)]
#[error("all {limit} origin connections were in use until the deadline")]
pub struct NoSlot {
    /// The limit in force.
    pub limit: usize,
}

impl Slots {
    /// With `at_once` slots, at most `in_all` exchanges that use the origin, and `waiting` more that only wait.
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

    /// The limit on exchanges at once.
    pub fn limit(&self) -> usize {
        self.at_once.load(Relaxed)
    }

    /// Changes the limits; running exchanges continue. Cheap if nothing changed.
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

    /// Changes how many exchanges may continue without a slot.
    pub fn set_waiting(&self, waiting: usize) {
        self.queue().limits.waiting = waiting;
    }

    /// To be called regularly, for changes by time alone. `best`: the recent best response time.
    pub fn look(self: &Arc<Self>, best: Duration) {
        let [least, most] = PATIENCE;
        self.queue().limits.patience = best.saturating_mul(LATE).clamp(least, most);
        self.let_in();
    }

    /// Whether a request waits.
    pub fn is_waited_for(&self) -> bool {
        self.waiting.load(SeqCst) > 0
    }

    /// A request for a slot that is not known to be large. `path`: the target without its query.
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

    /// A slot, if slots are free for any request and none waits.
    pub fn take_free(self: &Arc<Self>, ask: &SlotRequest) -> Option<Slot> {
        let mut queue = self.queue();
        queue.has_plenty().then(|| self.occupy(&mut queue, *ask))
    }

    /// A slot without waiting, if possible by taking it from an exchange that only waits.
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

    /// Waits for a slot until `deadline`. The earliest `turn` goes first: the time of arrival, or later for requests that have
    /// time.
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
        // A slot may have become free meanwhile.
        self.let_in();
        match tokio::time::timeout_at(deadline.into(), slot).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(self.timed_out()),
        }
    }

    /// Counts a request that waited until its deadline.
    pub fn timed_out(&self) -> NoSlot {
        self.counters.slot_timeouts.increment();
        NoSlot {
            limit: self.at_once.load(Relaxed),
        }
    }

    /// Takes a slot that no request needs now, and only if some stay free for new ones.
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

    /// Publishes the counts, under the lock: the limit on sockets depends on them.
    fn count(&self, queue: &Queue<oneshot::Sender<Slot>>) {
        let origin = &self.counters;
        origin.in_use.set(queue.in_use() as u64);
        origin.beyond.set(queue.beyond() as u64);
    }

    /// Tells the queue whether the origin is alive or mute.
    fn tell(&self, queue: &mut Queue<oneshot::Sender<Slot>>, now: Instant) {
        let lately = |when: &AtomicU64| {
            let nanos = when.load(Relaxed);
            let at = self.epoch + Duration::from_nanos(nanos);
            nanos > 0 && now.saturating_duration_since(at) < ALIVE
        };
        queue.hear(lately(&self.quick), !lately(&self.heard));
    }

    /// Admits waiting requests while there is capacity.
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
            // A request that has just been dropped returns its slot, and the next one is tried.
            if let Err(mut slot) = next.send(slot) {
                slot.leave();
            }
        }
    }
}

impl Slot {
    /// The response head has arrived; its time shows how the origin does.
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

    /// Bytes move, or are requested.
    pub fn moves(&mut self) {
        if let Some(was_for_client) = self.holder.moves() {
            self.goes_on(was_for_client);
        }
    }

    /// The exchange waits for the origin.
    pub fn waits_for_origin(&mut self) {
        if let Some(before) = self.holder.wait(false) {
            self.goes_on(matches!(before, Waits::Client(_)));
        }
    }

    /// The exchange waits for its client: its slot may be taken.
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

    /// As [`Slot::waits_for_client`], for an exchange that may also lose its connection: the waker of `cx` is woken then.
    pub fn parks(&mut self, cx: &Context<'_>) {
        self.holder.wake_by(cx.waker());
        self.waits_for_client();
    }

    /// Sets what the exchange does when its connection is needed while it waits for its client.
    pub fn yields(&self, yields: Yields) {
        self.holder.set_yields(yields);
    }

    /// Whether another request needs its connection.
    pub fn is_asked(&self) -> bool {
        self.holder.is_asked()
    }

    /// Declines to give up the connection, because the rest cannot be requested later after all. From now on it counts as one that
    /// would end instead, and another exchange is asked. Returns false if it did already.
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

    /// The exchange has given up its connection. It requests a slot again when it continues.
    pub fn give_up(&mut self) {
        self.holder.forget_asked();
        if self.leave() {
            self.holder.set_state(SlotState::GivenUp);
            self.slots.let_in();
        }
    }

    /// Takes a slot again if it had lost its own and one is free.
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

    /// Removes it from the queue, without admitting another request. Returns whether it was there.
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

/// Counts a request while it waits, and removes it from the queue when its client leaves.
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
