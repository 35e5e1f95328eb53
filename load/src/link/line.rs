//! One direction of one wire: decides what happens to each packet. Pure; time is nanoseconds since the start.

use fileproxy_testbed::random::{STEP, mix, unit};

use super::{loss::Dice, shape::Shape};

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Arrives at this time.
    Arrives(u64),
    /// Lost before the bottleneck: it takes no room there, as with netem.
    Lost,
    /// The queue was full.
    Dropped,
}

/// One direction of one wire.
#[derive(Debug)]
pub struct Line {
    delay: f64,
    jitter: f64,
    wander: f64,
    nanos_per_byte: f64,
    queue: f64,
    dice: Dice,
    seed: u64,
    /// When the bottleneck has sent all that it accepted.
    free_at: f64,
    last_arrival: u64,
}

fn nanos(shape: crate::units::Span) -> f64 {
    shape.get().as_secs_f64() * 1e9
}

impl Line {
    /// An idle wire of this shape.
    #[must_use]
    pub fn new(shape: &Shape, seed: u64) -> Self {
        let jitter = nanos(shape.jitter);
        Self {
            delay: nanos(shape.delay),
            jitter,
            // Slow enough that the delay falls by at most a quarter of the time that passes: packets keep their order
            // without being pushed together.
            wander: (8.0 * jitter).max(1e8),
            nanos_per_byte: 8e9 / shape.rate.bits(),
            queue: nanos(shape.queue),
            dice: Dice::new(shape.loss, mix(seed)),
            seed,
            free_at: 0.0,
            last_arrival: 0,
        }
    }

    /// A packet of so many bytes comes to the line at `now`.
    pub fn offer(&mut self, now: u64, bytes: usize) -> Fate {
        if self.dice.lose() {
            return Fate::Lost;
        }
        let now = now as f64;
        let start = self.free_at.max(now);
        if start - now > self.queue {
            return Fate::Dropped;
        }
        self.free_at = (bytes as f64).mul_add(self.nanos_per_byte, start);
        let arrival = self.free_at + self.delay + self.jitter * self.offset(self.free_at);
        self.last_arrival = self.last_arrival.max(arrival as u64);
        Fate::Arrives(self.last_arrival)
    }

    /// Where the delay stands in its range at this time, -1 to 1: straight lines between random points.
    fn offset(&self, at: f64) -> f64 {
        if self.jitter == 0.0 {
            return 0.0;
        }
        let step = (at / self.wander).floor();
        let point = |n: u64| 2.0f64.mul_add(unit(mix(self.seed ^ n.wrapping_mul(STEP))), -1.0);
        let (from, to) = (point(step as u64), point(step as u64 + 1));
        (to - from).mul_add(at / self.wander - step, from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::loss::Loss;

    const MS: u64 = 1_000_000;

    fn shape(delay: &str, jitter: &str, rate: &str, queue: &str) -> Shape {
        Shape {
            delay: delay.parse().unwrap(),
            jitter: jitter.parse().unwrap(),
            rate: rate.parse().unwrap(),
            queue: queue.parse().unwrap(),
            loss: Loss::default(),
        }
    }

    #[test]
    fn a_packet_takes_its_own_length_and_the_delay() {
        let mut line = Line::new(&shape("75 ms", "0 ms", "1 Mbit/s", "100 ms"), 1);
        assert_eq!(line.offer(0, 1500), Fate::Arrives(87 * MS));
        assert_eq!(line.offer(0, 1500), Fate::Arrives(99 * MS));
    }

    #[test]
    fn the_queue_holds_its_milliseconds_and_drops_the_rest() {
        let mut line = Line::new(&shape("0 ms", "0 ms", "1 Mbit/s", "100 ms"), 1);
        let fates: Vec<_> = (0..20).map(|_| line.offer(0, 1500)).collect();
        // 12 ms each: those that wait 0, 12, ... 96 ms are taken.
        assert_eq!(fates.iter().filter(|f| **f != Fate::Dropped).count(), 9);
        assert!(matches!(line.offer(12 * MS, 1500), Fate::Arrives(_)));
    }

    #[test]
    fn jitter_wanders_over_its_range_and_keeps_the_order() {
        let mut line = Line::new(&shape("75 ms", "25 ms", "1 Gbit/s", "100 ms"), 5);
        let mut last = 0;
        let mut delays = Vec::new();
        for n in 0..200_000_u64 {
            let now = n * MS / 10;
            let Fate::Arrives(at) = line.offer(now, 100) else {
                panic!("dropped")
            };
            assert!(at >= last);
            last = at;
            delays.push((at - now) as f64 / 1e6);
        }
        let mean = delays.iter().sum::<f64>() / delays.len() as f64;
        let (low, high) = delays
            .iter()
            .fold((f64::MAX, 0.0_f64), |(l, h), d| (l.min(*d), h.max(*d)));
        assert!((mean - 75.0).abs() < 3.0, "{mean}");
        assert!(
            (50.0..60.0).contains(&low) && (90.0..=100.1).contains(&high),
            "{low} {high}"
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_wire() {
        let mut lossy = shape("5 ms", "2 ms", "10 Mbit/s", "20 ms");
        lossy.loss.percent = 5.0;
        let walk = |seed| {
            let mut line = Line::new(&lossy, seed);
            (0..1000)
                .map(|n| line.offer(n * MS, 1000))
                .collect::<Vec<_>>()
        };
        assert_eq!(walk(1), walk(1));
        assert_ne!(walk(1), walk(2));
    }
}
