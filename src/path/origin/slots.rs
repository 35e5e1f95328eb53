//! How many exchanges may be under way at the origin, over the whole process, and who goes next.
//!
//! A retune changes the limit at once: waiters are let in as it grows, and as it shrinks whatever is under way goes
//! on. Who waits is let in by its turn: the time it came, or a later one for what will take long, so that small ones go
//! first, and a large one goes before whatever came later than its turn.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use tokio::sync::oneshot;

use crate::traffic::counters::Counters;

/// The process's slots.
#[derive(Debug)]
pub struct Slots {
    /// A std mutex: held for a few instructions, never across an await.
    queue: Mutex<Queue>,
    /// The limit in force, as in `queue`. Written under it.
    limit: AtomicUsize,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Queue {
    limit: usize,
    in_use: usize,
    waiting: BTreeMap<Turn, oneshot::Sender<Slot>>,
    came: u64,
}

/// When somebody's turn is: the time, and who came first.
type Turn = (Instant, u64);

/// Leave for one exchange. Dropped, it goes to whoever is next.
#[derive(Debug)]
pub struct Slot {
    slots: Option<Arc<Slots>>,
    taken: Instant,
    answered: bool,
}

/// No slot came free before the deadline.
#[derive(Debug, thiserror::Error)]
#[error("all {limit} origin connections were in use until the deadline")]
pub struct NoSlot {
    /// The limit in force.
    pub limit: usize,
}

impl Slots {
    /// So many slots.
    pub fn new(limit: usize, counters: Arc<Counters>) -> Self {
        Slots {
            queue: Mutex::new(Queue {
                limit,
                in_use: 0,
                waiting: BTreeMap::new(),
                came: 0,
            }),
            limit: limit.into(),
            counters,
        }
    }

    /// The limit in force.
    pub fn limit(&self) -> usize {
        self.limit.load(Relaxed)
    }

    /// Changes the limit. What is under way goes on. Cheap where it is what it was.
    pub fn set(self: &Arc<Self>, limit: usize) {
        if self.limit.load(Relaxed) == limit {
            return;
        }
        {
            let mut queue = self.queue();
            queue.limit = limit;
            self.limit.store(limit, Relaxed);
        }
        self.let_in();
    }

    /// A slot, if one is free and nobody waits for it.
    pub fn take_free(self: &Arc<Self>) -> Option<Slot> {
        let mut queue = self.queue();
        (queue.in_use < queue.limit && queue.waiting.is_empty()).then(|| self.occupy(&mut queue))
    }

    /// Takes a slot, waiting until `deadline`. Whose `turn` is earlier goes first: that is the time at which it came,
    /// or a later one for what has time.
    ///
    /// # Errors
    ///
    /// [`NoSlot`] at the deadline.
    pub async fn take(self: &Arc<Self>, turn: Instant, deadline: Instant) -> Result<Slot, NoSlot> {
        if let Some(slot) = self.take_free() {
            return Ok(slot);
        }
        let (turn, slot) = {
            let mut queue = self.queue();
            queue.came += 1;
            let turn = (turn, queue.came);
            let (sender, slot) = oneshot::channel();
            queue.waiting.insert(turn, sender);
            (turn, slot)
        };
        // One may have come free meanwhile.
        self.let_in();
        let _waiting = Waiting::new(self, turn);
        match tokio::time::timeout_at(deadline.into(), slot).await {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) | Err(_) => Err(self.timed_out()),
        }
    }

    /// Counts one that waited until its deadline.
    pub fn timed_out(&self) -> NoSlot {
        self.counters.origin.slot_timeouts.increment();
        NoSlot {
            limit: self.limit.load(Relaxed),
        }
    }

    /// Takes a slot that nobody needs just now: only where some stay free, for whoever comes.
    pub fn try_take(self: &Arc<Self>) -> Option<Slot> {
        let mut queue = self.queue();
        let free = queue.limit.saturating_sub(queue.in_use);
        (queue.waiting.is_empty() && free > queue.limit / 4).then(|| self.occupy(&mut queue))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn occupy(self: &Arc<Self>, queue: &mut Queue) -> Slot {
        queue.in_use += 1;
        self.counters.origin.in_use.up();
        Slot {
            slots: Some(Arc::clone(self)),
            taken: Instant::now(),
            answered: false,
        }
    }

    /// Lets in who waits, as far as there is room.
    fn let_in(self: &Arc<Self>) {
        loop {
            let (next, slot) = {
                let mut queue = self.queue();
                if queue.in_use >= queue.limit {
                    return;
                }
                let Some((_, next)) = queue.waiting.pop_first() else {
                    return;
                };
                (next, self.occupy(&mut queue))
            };
            // One that just left gives its slot back, and the next one is asked.
            if let Err(mut slot) = next.send(slot) {
                slot.leave();
            }
        }
    }
}

impl Slot {
    /// The origin answered: how long the exchange takes says something of it.
    pub fn answered(&mut self) {
        self.answered = true;
    }

    /// Gives the slot back, without letting anybody in.
    fn leave(&mut self) -> Option<Arc<Slots>> {
        let slots = self.slots.take()?;
        slots.queue().in_use -= 1;
        let counters = &slots.counters.origin;
        counters.in_use.down();
        if self.answered {
            counters.exchanges.add(self.taken.elapsed());
        }
        Some(slots)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = self.leave() {
            slots.let_in();
        }
    }
}

/// Counts a waiter while it waits, and takes it out of the queue when its client leaves.
struct Waiting<'a> {
    slots: &'a Slots,
    turn: Turn,
}

impl<'a> Waiting<'a> {
    fn new(slots: &'a Slots, turn: Turn) -> Self {
        slots.counters.origin.waiting.up();
        Waiting { slots, turn }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.slots.queue().waiting.remove(&self.turn);
        self.slots.counters.origin.waiting.down();
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc, time::Duration};

    use super::*;

    fn slots(n: usize) -> Arc<Slots> {
        Arc::new(Slots::new(n, Arc::default()))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    async fn take(slots: &Arc<Slots>) -> Result<Slot, NoSlot> {
        slots.take(Instant::now(), soon()).await
    }

    #[actix_rt::test]
    async fn a_full_house_turns_away_at_the_deadline() {
        let slots = slots(1);
        let held = take(&slots).await.unwrap();
        assert!(take(&slots).await.is_err());
        assert!(
            slots.queue().waiting.is_empty(),
            "who gave up waits no more"
        );
        drop(held);
        assert!(take(&slots).await.is_ok());
    }

    #[actix_rt::test]
    async fn only_exchanges_that_were_answered_are_counted() {
        let slots = slots(4);
        drop(slots.try_take());
        assert_eq!(slots.counters.origin.exchanges.count(), 0);
        let mut slot = take(&slots).await.unwrap();
        slot.answered();
        drop(slot);
        assert_eq!(slots.counters.origin.exchanges.count(), 1);
    }

    #[actix_rt::test]
    async fn a_lower_limit_takes_back_what_comes_free_and_cuts_nothing() {
        let slots = slots(3);
        let held = [take(&slots).await.unwrap(), take(&slots).await.unwrap()];
        slots.set(1);
        assert!(take(&slots).await.is_err());
        drop(held);
        let one = take(&slots).await.unwrap();
        assert!(take(&slots).await.is_err());
        slots.set(2);
        assert!(take(&slots).await.is_ok());
        drop(one);
        assert_eq!(slots.queue().in_use, 0);
    }

    #[actix_rt::test]
    async fn a_higher_limit_lets_in_who_waits() {
        let slots = slots(1);
        let held = take(&slots).await.unwrap();
        let waiter = {
            let slots = Arc::clone(&slots);
            actix_rt::spawn(async move {
                slots
                    .take(Instant::now(), Instant::now() + Duration::from_secs(60))
                    .await
            })
        };
        tokio::task::yield_now().await;
        slots.set(2);
        assert!(waiter.await.unwrap().is_ok());
        drop(held);
    }

    /// Lets waiters with these handicaps, in milliseconds, queue in this order; the order they are let in.
    async fn order(handicaps: &[u64]) -> Vec<usize> {
        let slots = slots(1);
        let held = take(&slots).await.unwrap();
        let order = Rc::new(RefCell::new(Vec::new()));
        let waiters: Vec<_> = handicaps
            .iter()
            .enumerate()
            .map(|(n, &handicap)| {
                let (slots, order) = (Arc::clone(&slots), Rc::clone(&order));
                actix_rt::spawn(async move {
                    let deadline = Instant::now() + Duration::from_secs(600);
                    let turn = Instant::now() + Duration::from_millis(handicap);
                    let _slot = slots.take(turn, deadline).await.unwrap();
                    order.borrow_mut().push(n);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        drop(held);
        for waiter in waiters {
            waiter.await.unwrap();
        }
        order.take()
    }

    #[actix_rt::test]
    async fn among_equals_who_waits_longest_goes_first() {
        assert_eq!(order(&[0, 0, 0, 0]).await, [0, 1, 2, 3]);
    }

    #[actix_rt::test]
    async fn a_handicap_lets_others_go_before() {
        assert_eq!(
            order(&[100_000, 0, 50_000, 0, 100_000]).await,
            [1, 3, 2, 0, 4]
        );
    }

    #[actix_rt::test]
    async fn a_slot_handed_to_one_who_left_meanwhile_goes_to_the_next() {
        let slots = slots(1);
        let held = take(&slots).await.unwrap();
        let mut left =
            Box::pin(slots.take(Instant::now(), Instant::now() + Duration::from_secs(60)));
        assert!(futures_util::poll!(&mut left).is_pending());
        let mut next =
            Box::pin(slots.take(Instant::now(), Instant::now() + Duration::from_secs(60)));
        assert!(futures_util::poll!(&mut next).is_pending());
        drop(held); // handed over, not yet taken
        drop(left);
        assert!(matches!(
            futures_util::poll!(&mut next),
            std::task::Poll::Ready(Ok(_))
        ));
        drop(next);
        assert_eq!(slots.queue().in_use, 0);
    }
}
