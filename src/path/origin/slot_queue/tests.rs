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
struct House {
    queue: Queue<&'static str>,
    epoch: Instant,
    now: Instant,
    inside: Vec<(u64, Arc<Holder>)>,
}

impl House {
    fn new(limits: Limits) -> Self {
        let epoch = Instant::now();
        House {
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
    let mut house = House::new(LIMITS);
    for _ in 0..7 {
        assert!(house.comes(large(1)));
    }
    assert!(!house.comes(large(1)));
    assert!(house.comes(small(1, 2)));
    assert!(!house.comes(small(2, 3)));
}

#[test]
fn a_single_slot_is_for_all() {
    let mut house = House::new(Limits {
        at_once: 1,
        ..LIMITS
    });
    assert!(house.comes(large(1)));
    assert!(!house.comes(small(1, 2)));
    house.leaves(0);
    assert!(house.comes(small(1, 2)));
}

#[test]
fn whose_network_has_least_goes_first() {
    let mut house = House::new(LIMITS);
    for n in 0..5 {
        assert!(house.comes(small(1, n)));
    }
    for n in 5..8 {
        assert!(house.comes(small(2, n)));
    }
    house.waits("one", small(1, 10));
    house.waits("two", small(2, 11));
    house.waits("three", small(3, 12));
    house.waits("three again", small(3, 13));
    for _ in 0..3 {
        house.leaves(0);
    }
    // With two, three and no exchanges under way.
    assert_eq!(house.next(), ["three", "three again", "one"]);
    house.leaves(0);
    assert_eq!(house.next(), ["two"]);
}

#[test]
fn a_large_one_waits_behind_small_ones_while_only_the_reserve_is_free() {
    let mut house = House::new(LIMITS);
    for _ in 0..7 {
        assert!(house.comes(large(1)));
    }
    house.waits("large", large(2));
    house.waits("small", small(1, 2));
    assert_eq!(house.next(), ["small"]);
    house.leaves(0);
    assert_eq!(house.next(), ["large"]);
}

#[test]
fn who_waits_for_its_client_gives_its_slot_and_goes_on_without() {
    let mut house = House::new(LIMITS);
    for n in 0..8 {
        assert!(house.comes(small(1, n)));
    }
    assert!(!house.comes(small(2, 9)));
    let (id, holder) = house.inside[0].clone();
    holder.wait(true);
    house.queue.look_again();
    assert!(house.comes(small(2, 9)));
    assert_eq!(holder.state(), SlotState::Beyond);
    assert_eq!((house.queue.in_use(), house.queue.beyond()), (8, 1));
    // It moves again: without a slot while none is free.
    let ask = small(1, 0);
    assert_eq!(house.queue.resume(Some(id), ask, &holder, house.now), id);
    assert_eq!(holder.state(), SlotState::Beyond);
    house.leaves(1);
    house.queue.resume(Some(id), ask, &holder, house.now);
    assert_eq!(holder.state(), SlotState::Held);
    assert_eq!((house.queue.in_use(), house.queue.beyond()), (8, 0));
}

#[test]
fn a_network_gains_no_more_by_that_than_is_left_for_others() {
    let mut house = House::new(Limits {
        waiting: 10,
        ..LIMITS
    });
    let mut came = 0;
    while house.comes(small(1, came)) {
        house.inside.iter().for_each(|(_, holder)| {
            holder.wait(true);
        });
        house.queue.look_again();
        came += 1;
        assert!(came < 100);
    }
    assert_eq!((house.queue.in_use(), house.queue.beyond()), (8, 5));
    for n in 0..5 {
        house.queue.look_again();
        assert!(house.comes(small(2, 200 + n)), "{n}");
    }
}

#[test]
fn where_nothing_is_left_a_connection_is_asked_for_of_who_has_most() {
    let mut house = House::new(Limits {
        waiting: 1,
        ..LIMITS
    });
    for n in 0..9 {
        assert!(house.comes(small(1, n)));
        let (_, holder) = house.inside.last().unwrap();
        holder.wait(true);
        house.queue.look_again();
    }
    assert!(!house.comes(small(1, 9)));
    assert!(house.queue.take_asked().is_none(), "none can be asked");
    // It ends no exchange of its own network.
    house.inside[3].1.set_yields(Yields::ByEnding);
    house.queue.look_again();
    assert!(!house.comes(small(1, 9)));
    assert!(house.queue.take_asked().is_none());
    house.queue.look_again();
    assert!(!house.comes(small(2, 9)));
    assert!(Arc::ptr_eq(
        &house.queue.take_asked().unwrap(),
        &house.inside[3].1
    ));
    house.inside[5].1.set_yields(Yields::ByRange);
    house.queue.look_again();
    assert!(!house.comes(small(1, 9)));
    assert!(Arc::ptr_eq(
        &house.queue.take_asked().unwrap(),
        &house.inside[5].1
    ));
}

#[test]
fn long_polls_give_their_slots_once_the_origin_answers_others() {
    let mut house = House::new(LIMITS);
    let poll = |n| SlotRequest {
        target: [n, 7],
        ..small(1, 0)
    };
    for n in 0..8 {
        assert!(house.comes(poll(n)));
    }
    house.queue.hear(false, false);
    house.pass(2);
    assert!(!house.comes(poll(9)), "it is like the silent ones");
    house.queue.look_again();
    assert!(house.comes(small(2, 1)), "this may show it");
    house.queue.look_again();
    assert!(!house.comes(small(2, 2)), "one is enough");
    house.queue.hear(true, false);
    house.queue.look_again();
    assert!(house.comes(small(2, 2)));
    house.queue.look_again();
    assert!(house.comes(poll(9)));
    // And so on, each time the origin answers.
    house.queue.hear(false, false);
    house.queue.look_again();
    assert!(house.comes(small(2, 3)));
}

#[test]
fn an_origin_that_is_overloaded_is_given_no_more_than_the_reserve() {
    let mut house = House::new(LIMITS);
    for n in 0..8 {
        assert!(house.comes(small(n as u8, n)));
    }
    // The origin answers, but slowly.
    house.queue.hear(false, false);
    for n in 10..30 {
        house.pass(2);
        house.queue.look_again();
        house.comes(small(n as u8, n));
    }
    assert_eq!(house.queue.beyond(), 1);
}

#[test]
fn where_nobody_is_answered_as_many_go_on_as_may_be_in_all() {
    let mut house = House::new(LIMITS);
    let poll = |n| SlotRequest {
        target: [n, 7],
        ..small(1, 0)
    };
    house.queue.hear(false, true);
    for n in 0..40 {
        house.queue.look_again();
        house.comes(poll(n));
        house.pass(2);
    }
    // Except for the reserve.
    assert_eq!((house.queue.in_use(), house.queue.beyond()), (7, 12));
}

#[test]
fn bodies_that_hold_the_reserve_give_it_back() {
    let mut house = House::new(LIMITS);
    for n in 0..8 {
        assert!(house.comes(small(1, n)));
    }
    for (_, holder) in &house.inside {
        holder.answered(true);
        holder.moves();
    }
    assert!(house.comes(small(1, 10)));
    house.queue.look_again();
    assert!(!house.comes(small(1, 11)), "the other seven are theirs");
    house.waits("starved", large(1));
    assert!(house.next().is_empty());
    house.pass(5);
    assert_eq!(house.next(), ["starved"]);
}

#[test]
fn nothing_goes_without_a_slot_where_that_is_switched_off() {
    let mut house = House::new(Limits {
        waiting: 0,
        ..LIMITS
    });
    for n in 0..8 {
        assert!(house.comes(small(1, n)));
    }
    house.inside[0].1.wait(true);
    house.inside[1].1.answered(true);
    house.inside[1].1.moves();
    house.queue.hear(true, false);
    house.waits("other", small(2, 9));
    house.pass(60);
    assert!(house.next().is_empty());
}

#[test]
fn nothing_is_left_of_who_left() {
    let mut house = House::new(LIMITS);
    house.queue.hear(true, false);
    for n in 0..30 {
        house.queue.look_again();
        house.comes(small(n as u8 % 3, n));
        house.pass(2);
    }
    assert!(house.queue.beyond() > 0);
    let spot = {
        let (came, ask) = (house.now, small(4, 1));
        house.queue.wait(
            came,
            Waiter {
                call: "left",
                came,
                ask,
            },
        )
    };
    house.queue.forget(spot);
    while !house.inside.is_empty() {
        house.leaves(0);
    }
    let queue = &house.queue;
    assert_eq!((queue.in_use(), queue.beyond()), (0, 0));
    assert!(queue.is_idle() && queue.accounts.is_empty() && queue.slow.is_empty());
    assert_eq!((queue.lasting, queue.probes), (0, 0));
}
