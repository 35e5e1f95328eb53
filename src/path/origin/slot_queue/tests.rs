//! Tests of the queue's rules.

use super::*;
use crate::path::origin::holder::Yields;

/// Eight slots; one of them is the reserve.
const LIMITS: Limits = Limits {
    at_once: 8,
    in_all: 20,
    waiting: 100,
    patience: Duration::from_secs(1),
};

/// A queue with its own clock.
struct TestQueue {
    queue: Queue<&'static str>,
    epoch: Instant,
    now: Instant,
    inside: Vec<(u64, Arc<Holder>)>,
}

impl TestQueue {
    fn new(limits: Limits) -> Self {
        let epoch = Instant::now();
        TestQueue {
            queue: Queue::new(limits),
            epoch,
            now: epoch,
            inside: Vec::new(),
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn let_in(&mut self, ask: SlotRequest) {
        let holder = Arc::new(Holder::new(self.epoch, self.now));
        let id = self.queue.enter(ask, Arc::clone(&holder), self.now);
        self.inside.push((id, holder));
    }

    /// Whether a request gets a slot at once.
    fn comes(&mut self, mut ask: SlotRequest) -> bool {
        let admitted = self.queue.admits(&mut ask, self.now);
        if admitted {
            self.let_in(ask);
        }
        admitted
    }

    fn waits(&mut self, call: &'static str, ask: SlotRequest) {
        let came = self.now;
        self.queue.wait(came, Waiter { call, came, ask });
    }

    /// Admits waiting requests while possible; returns them in order.
    fn next(&mut self) -> Vec<&'static str> {
        self.queue.look_again();
        let mut order = Vec::new();
        while let Some(next) = self.queue.next(self.now) {
            self.let_in(next.ask);
            order.push(next.call);
        }
        order
    }

    fn leaves(&mut self, n: usize) {
        let (id, _) = self.inside.remove(n);
        self.queue.leave(id);
    }
}

fn from(host: u8) -> Network {
    Network::of([192, 0, 2, host].into())
}

/// A request for a small file with its own target.
fn small(host: u8, target: u64) -> SlotRequest {
    SlotRequest {
        network: from(host),
        target: [1000 + target, 0],
        is_large: false,
    }
}

fn large(host: u8) -> SlotRequest {
    SlotRequest {
        is_large: true,
        ..small(host, 1)
    }
}

#[test]
fn large_ones_leave_the_reserve_and_one_network_may_have_all_the_rest() {
    let mut test = TestQueue::new(LIMITS);
    for _ in 0..7 {
        assert!(test.comes(large(1)));
    }
    assert!(!test.comes(large(1)));
    assert!(test.comes(small(1, 2)));
    assert!(!test.comes(small(2, 3)));
}

#[test]
fn a_single_slot_is_for_all() {
    let mut test = TestQueue::new(Limits {
        at_once: 1,
        ..LIMITS
    });
    assert!(test.comes(large(1)));
    assert!(!test.comes(small(1, 2)));
    test.leaves(0);
    assert!(test.comes(small(1, 2)));
}

#[test]
fn whose_network_has_least_goes_first() {
    let mut test = TestQueue::new(LIMITS);
    for n in 0..5 {
        assert!(test.comes(small(1, n)));
    }
    for n in 5..8 {
        assert!(test.comes(small(2, n)));
    }
    test.waits("one", small(1, 10));
    test.waits("two", small(2, 11));
    test.waits("three", small(3, 12));
    test.waits("three again", small(3, 13));
    for _ in 0..3 {
        test.leaves(0);
    }
    // With two, three and no exchanges under way.
    assert_eq!(test.next(), ["three", "three again", "one"]);
    test.leaves(0);
    assert_eq!(test.next(), ["two"]);
}

#[test]
fn a_large_one_waits_behind_small_ones_while_only_the_reserve_is_free() {
    let mut test = TestQueue::new(LIMITS);
    for _ in 0..7 {
        assert!(test.comes(large(1)));
    }
    test.waits("large", large(2));
    test.waits("small", small(1, 2));
    assert_eq!(test.next(), ["small"]);
    test.leaves(0);
    assert_eq!(test.next(), ["large"]);
}

#[test]
fn who_waits_for_its_client_gives_its_slot_and_goes_on_without() {
    let mut test = TestQueue::new(LIMITS);
    for n in 0..8 {
        assert!(test.comes(small(1, n)));
    }
    assert!(!test.comes(small(2, 9)));
    let (id, holder) = test.inside[0].clone();
    holder.wait(true);
    test.queue.look_again();
    assert!(test.comes(small(2, 9)));
    assert_eq!(holder.state(), SlotState::Beyond);
    assert_eq!((test.queue.in_use(), test.queue.beyond()), (8, 1));
    // It moves again: without a slot while none is free.
    let ask = small(1, 0);
    assert_eq!(test.queue.resume(Some(id), ask, &holder, test.now), id);
    assert_eq!(holder.state(), SlotState::Beyond);
    test.leaves(1);
    test.queue.resume(Some(id), ask, &holder, test.now);
    assert_eq!(holder.state(), SlotState::Held);
    assert_eq!((test.queue.in_use(), test.queue.beyond()), (8, 0));
}

#[test]
fn a_network_gains_no_more_by_that_than_is_left_for_others() {
    let mut test = TestQueue::new(Limits {
        waiting: 10,
        ..LIMITS
    });
    let mut came = 0;
    while test.comes(small(1, came)) {
        test.inside.iter().for_each(|(_, holder)| {
            holder.wait(true);
        });
        test.queue.look_again();
        came += 1;
        assert!(came < 100);
    }
    assert_eq!((test.queue.in_use(), test.queue.beyond()), (8, 5));
    for n in 0..5 {
        test.queue.look_again();
        assert!(test.comes(small(2, 200 + n)), "{n}");
    }
}

#[test]
fn where_nothing_is_left_a_connection_is_asked_for_of_who_has_most() {
    let mut test = TestQueue::new(Limits {
        waiting: 1,
        ..LIMITS
    });
    for n in 0..9 {
        assert!(test.comes(small(1, n)));
        let (_, holder) = test.inside.last().unwrap();
        holder.wait(true);
        test.queue.look_again();
    }
    assert!(!test.comes(small(1, 9)));
    assert!(test.queue.take_asked().is_none(), "none can be asked");
    // It ends no exchange of its own network.
    test.inside[3].1.set_yields(Yields::ByEnding);
    test.queue.look_again();
    assert!(!test.comes(small(1, 9)));
    assert!(test.queue.take_asked().is_none());
    test.queue.look_again();
    assert!(!test.comes(small(2, 9)));
    assert!(Arc::ptr_eq(
        &test.queue.take_asked().unwrap(),
        &test.inside[3].1
    ));
    test.inside[5].1.set_yields(Yields::ByRange);
    test.queue.look_again();
    assert!(!test.comes(small(1, 9)));
    assert!(Arc::ptr_eq(
        &test.queue.take_asked().unwrap(),
        &test.inside[5].1
    ));
}

#[test]
fn long_polls_give_their_slots_once_the_origin_answers_others() {
    let mut test = TestQueue::new(LIMITS);
    let poll = |n| SlotRequest {
        target: [n, 7],
        ..small(1, 0)
    };
    for n in 0..8 {
        assert!(test.comes(poll(n)));
    }
    test.queue.hear(false, false);
    test.pass(2);
    assert!(!test.comes(poll(9)), "it is like the silent ones");
    test.queue.look_again();
    assert!(test.comes(small(2, 1)), "this may show it");
    test.queue.look_again();
    assert!(!test.comes(small(2, 2)), "one is enough");
    test.queue.hear(true, false);
    test.queue.look_again();
    assert!(test.comes(small(2, 2)));
    test.queue.look_again();
    assert!(test.comes(poll(9)));
    // And so on, each time the origin answers.
    test.queue.hear(false, false);
    test.queue.look_again();
    assert!(test.comes(small(2, 3)));
}

#[test]
fn an_origin_that_is_overloaded_is_given_no_more_than_the_reserve() {
    let mut test = TestQueue::new(LIMITS);
    for n in 0..8 {
        assert!(test.comes(small(n as u8, n)));
    }
    // The origin answers, but slowly.
    test.queue.hear(false, false);
    for n in 10..30 {
        test.pass(2);
        test.queue.look_again();
        test.comes(small(n as u8, n));
    }
    assert_eq!(test.queue.beyond(), 1);
}

#[test]
fn where_nobody_is_answered_as_many_go_on_as_may_be_in_all() {
    let mut test = TestQueue::new(LIMITS);
    let poll = |n| SlotRequest {
        target: [n, 7],
        ..small(1, 0)
    };
    test.queue.hear(false, true);
    for n in 0..40 {
        test.queue.look_again();
        test.comes(poll(n));
        test.pass(2);
    }
    // Except for the reserve.
    assert_eq!((test.queue.in_use(), test.queue.beyond()), (7, 12));
}

#[test]
fn bodies_that_hold_the_reserve_give_it_back() {
    let mut test = TestQueue::new(LIMITS);
    for n in 0..8 {
        assert!(test.comes(small(1, n)));
    }
    for (_, holder) in &test.inside {
        holder.answered(true);
        holder.moves();
    }
    assert!(test.comes(small(1, 10)));
    test.queue.look_again();
    assert!(!test.comes(small(1, 11)), "the other seven are theirs");
    test.waits("starved", large(1));
    assert!(test.next().is_empty());
    test.pass(5);
    assert_eq!(test.next(), ["starved"]);
}

#[test]
fn nothing_goes_without_a_slot_where_that_is_switched_off() {
    let mut test = TestQueue::new(Limits {
        waiting: 0,
        ..LIMITS
    });
    for n in 0..8 {
        assert!(test.comes(small(1, n)));
    }
    test.inside[0].1.wait(true);
    test.inside[1].1.answered(true);
    test.inside[1].1.moves();
    test.queue.hear(true, false);
    test.waits("other", small(2, 9));
    test.pass(60);
    assert!(test.next().is_empty());
}

#[test]
fn nothing_is_left_of_who_left() {
    let mut test = TestQueue::new(LIMITS);
    test.queue.hear(true, false);
    for n in 0..30 {
        test.queue.look_again();
        test.comes(small(n as u8 % 3, n));
        test.pass(2);
    }
    assert!(test.queue.beyond() > 0);
    let spot = {
        let (came, ask) = (test.now, small(4, 1));
        test.queue.wait(
            came,
            Waiter {
                call: "left",
                came,
                ask,
            },
        )
    };
    test.queue.forget(spot);
    while !test.inside.is_empty() {
        test.leaves(0);
    }
    let queue = &test.queue;
    assert_eq!((queue.in_use(), queue.beyond()), (0, 0));
    assert!(queue.is_idle() && queue.accounts.is_empty() && queue.slow.is_empty());
    assert_eq!((queue.lasting, queue.probes), (0, 0));
}
