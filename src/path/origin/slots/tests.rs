//! Slots with several tasks.

use std::{cell::RefCell, rc::Rc, time::Duration};

use super::*;

fn slots(n: usize) -> Arc<Slots> {
    Arc::new(Slots::new(n, n, 0, Arc::default()))
}

fn ask(slots: &Slots) -> SlotRequest {
    slots.ask(Network::NONE, "/")
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(20)
}

async fn take(slots: &Arc<Slots>) -> Result<Slot, NoSlot> {
    slots.take(&ask(slots), Instant::now(), soon()).await
}

#[actix_rt::test]
async fn a_full_house_turns_away_at_the_deadline() {
    let slots = slots(1);
    let held = take(&slots).await.unwrap();
    assert!(take(&slots).await.is_err());
    assert!(slots.queue().is_idle(), "who gave up waits no more");
    drop(held);
    assert!(take(&slots).await.is_ok());
}

#[actix_rt::test]
async fn only_exchanges_that_were_answered_are_counted() {
    let slots = slots(4);
    drop(slots.try_take());
    assert_eq!(slots.counters.exchanges.count(), 0);
    let slot = take(&slots).await.unwrap();
    slot.answered(false);
    drop(slot);
    assert_eq!(slots.counters.exchanges.count(), 1);
}

#[actix_rt::test]
async fn a_lower_limit_takes_back_what_comes_free_and_cuts_nothing() {
    let slots = slots(3);
    let held = [take(&slots).await.unwrap(), take(&slots).await.unwrap()];
    slots.set(1, 1);
    assert!(take(&slots).await.is_err());
    drop(held);
    let one = take(&slots).await.unwrap();
    assert!(take(&slots).await.is_err());
    slots.set(2, 2);
    assert!(take(&slots).await.is_ok());
    drop(one);
    assert_eq!(slots.queue().in_use(), 0);
}

#[actix_rt::test]
async fn a_higher_limit_lets_in_who_waits() {
    let slots = slots(1);
    let held = take(&slots).await.unwrap();
    let waiter = {
        let slots = Arc::clone(&slots);
        actix_rt::spawn(async move {
            let ask = ask(&slots);
            let deadline = Instant::now() + Duration::from_secs(60);
            slots.take(&ask, Instant::now(), deadline).await
        })
    };
    tokio::task::yield_now().await;
    slots.set(2, 2);
    assert!(waiter.await.unwrap().is_ok());
    drop(held);
}

/// Queues requests with these delays of their turn, in milliseconds; returns the order of admission.
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
                let _slot = slots.take(&ask(&slots), turn, deadline).await.unwrap();
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
    let (ask, now) = (ask(&slots), Instant::now());
    let deadline = now + Duration::from_secs(60);
    let mut left = Box::pin(slots.take(&ask, now, deadline));
    assert!(futures_util::poll!(&mut left).is_pending());
    let mut next = Box::pin(slots.take(&ask, now, deadline));
    assert!(futures_util::poll!(&mut next).is_pending());
    drop(held); // handed over, but not taken yet
    drop(left);
    assert!(matches!(
        futures_util::poll!(&mut next),
        std::task::Poll::Ready(Ok(_))
    ));
    drop(next);
    assert_eq!(slots.queue().in_use(), 0);
}
