//! How many exchanges may be under way at the origin, over the whole process.
//!
//! A retune changes the limit at once: more permits are added, fewer are taken back as they come free, and what is
//! under way is never cut. Waiters go first in, first out.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Instant,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use crate::traffic::counters::Counters;

/// A limit that can change while permits are out.
#[derive(Debug)]
struct Limit {
    semaphore: Arc<Semaphore>,
    /// The limit in force. Written under `change`.
    limit: AtomicUsize,
    /// Permits that must not come back. Written under `change`.
    debt: AtomicUsize,
    /// A std Mutex: held for a few instructions, and only when the limit changes or a permit comes back into debt.
    change: Mutex<()>,
}

impl Limit {
    fn new(limit: usize) -> Self {
        Limit {
            semaphore: Arc::new(Semaphore::new(limit)),
            limit: limit.into(),
            debt: 0.into(),
            change: Mutex::new(()),
        }
    }

    fn set(&self, limit: usize) {
        if self.limit.load(SeqCst) == limit {
            return;
        }
        let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.limit.swap(limit, SeqCst);
        let debt = self.debt.load(SeqCst);
        if limit > before {
            let forgiven = debt.min(limit - before);
            self.debt.store(debt - forgiven, SeqCst);
            self.semaphore.add_permits(limit - before - forgiven);
        } else {
            let taken = self.semaphore.forget_permits(before - limit);
            self.debt.store(debt + before - limit - taken, SeqCst);
        }
    }

    fn give_back(&self, permit: OwnedSemaphorePermit) {
        if self.debt.load(SeqCst) > 0 {
            let _change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
            let debt = self.debt.load(SeqCst);
            if debt > 0 {
                self.debt.store(debt - 1, SeqCst);
                permit.forget();
            }
        }
    }
}

/// The process's slots: in all, and to the origin's host.
#[derive(Debug)]
pub struct Slots {
    all: Limit,
    host: Limit,
    counters: Arc<Counters>,
}

/// Leave for one exchange. Dropped, it comes back to whoever waits longest.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
    permits: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

/// No slot came free before the deadline.
#[derive(Debug, thiserror::Error)]
#[error("all {limit} origin connections were in use until the deadline")]
pub struct NoSlot {
    /// The limit in force.
    pub limit: usize,
}

impl Slots {
    /// Slots for `all` exchanges, `host` of them to one host.
    pub fn new(all: usize, host: usize, counters: Arc<Counters>) -> Self {
        Slots {
            all: Limit::new(all),
            host: Limit::new(host),
            counters,
        }
    }

    /// Changes the limits. What is under way goes on. Cheap where they are what they were.
    pub fn set(&self, all: usize, host: usize) {
        self.all.set(all);
        self.host.set(host);
    }

    /// Takes a slot, waiting in line until `deadline`.
    ///
    /// # Errors
    ///
    /// [`NoSlot`] at the deadline.
    pub async fn take(self: &Arc<Self>, deadline: Instant) -> Result<Slot, NoSlot> {
        // Host first: whoever waits for a busy host must not hold one of the slots that other hosts could use.
        let host = self.permit(&self.host, deadline).await?;
        let all = match self.permit(&self.all, deadline).await {
            Ok(all) => all,
            Err(none) => {
                self.host.give_back(host);
                return Err(none);
            }
        };
        self.counters.origin.in_use.up();
        Ok(Slot {
            slots: Arc::clone(self),
            permits: Some((host, all)),
        })
    }

    /// Takes a slot that nobody needs just now: only where some stay free, for whoever comes.
    pub fn try_take(self: &Arc<Self>) -> Option<Slot> {
        let spare =
            |limit: &Limit| limit.semaphore.available_permits() > limit.limit.load(SeqCst) / 4;
        if !(spare(&self.host) && spare(&self.all)) {
            return None;
        }
        let host = Arc::clone(&self.host.semaphore).try_acquire_owned().ok()?;
        let all = Arc::clone(&self.all.semaphore).try_acquire_owned().ok()?;
        self.counters.origin.in_use.up();
        Some(Slot {
            slots: Arc::clone(self),
            permits: Some((host, all)),
        })
    }

    async fn permit(
        &self,
        limit: &Limit,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, NoSlot> {
        match Arc::clone(&limit.semaphore).try_acquire_owned() {
            Ok(permit) => return Ok(permit),
            Err(TryAcquireError::NoPermits | TryAcquireError::Closed) => {}
        }
        let _waiting = Waiting::new(&self.counters);
        match tokio::time::timeout_at(
            deadline.into(),
            Arc::clone(&limit.semaphore).acquire_owned(),
        )
        .await
        {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => {
                self.counters.origin.slot_timeouts.increment();
                Err(NoSlot {
                    limit: limit.limit.load(SeqCst),
                })
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some((host, all)) = self.permits.take() {
            self.slots.counters.origin.in_use.down();
            self.slots.all.give_back(all);
            self.slots.host.give_back(host);
        }
    }
}

/// Counts a waiter while it waits, also when its client leaves.
struct Waiting<'a>(&'a Counters);

impl<'a> Waiting<'a> {
    fn new(counters: &'a Counters) -> Self {
        counters.origin.waiting.up();
        Waiting(counters)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.origin.waiting.down();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn slots(n: usize) -> Arc<Slots> {
        Arc::new(Slots::new(n, n, Arc::default()))
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(20)
    }

    #[actix_rt::test]
    async fn a_full_house_turns_away_at_the_deadline() {
        let slots = slots(1);
        let held = slots.take(soon()).await.unwrap();
        assert!(slots.take(soon()).await.is_err());
        drop(held);
        assert!(slots.take(soon()).await.is_ok());
    }

    #[actix_rt::test]
    async fn a_lower_limit_takes_back_what_comes_free_and_cuts_nothing() {
        let slots = slots(3);
        let held = [
            slots.take(soon()).await.unwrap(),
            slots.take(soon()).await.unwrap(),
        ];
        slots.set(1, 1);
        drop(held);
        let one = slots.take(soon()).await.unwrap();
        assert!(slots.take(soon()).await.is_err());
        slots.set(2, 2);
        assert!(slots.take(soon()).await.is_ok());
        drop(one);
    }

    #[actix_rt::test]
    async fn a_limit_lowered_and_raised_again_owes_nothing() {
        let slots = slots(3);
        let held = [
            slots.take(soon()).await.unwrap(),
            slots.take(soon()).await.unwrap(),
            slots.take(soon()).await.unwrap(),
        ];
        slots.set(1, 1);
        slots.set(3, 3);
        drop(held);
        let again = [
            slots.take(soon()).await,
            slots.take(soon()).await,
            slots.take(soon()).await,
        ];
        assert!(again.iter().all(Result::is_ok));
        assert!(slots.take(soon()).await.is_err());
    }

    #[actix_rt::test]
    async fn who_waits_longest_goes_first() {
        let slots = slots(1);
        let held = slots.take(soon()).await.unwrap();
        let order = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let waiters: Vec<_> = (0..5)
            .map(|n| {
                let (slots, order) = (Arc::clone(&slots), order.clone());
                actix_rt::spawn(async move {
                    let _slot = slots
                        .take(Instant::now() + Duration::from_secs(5))
                        .await
                        .unwrap();
                    order.borrow_mut().push(n);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        drop(held);
        for waiter in waiters {
            waiter.await.unwrap();
        }
        assert_eq!(*order.borrow(), [0, 1, 2, 3, 4]);
    }
}
