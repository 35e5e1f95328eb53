//! The simulated network between the demo's origin and the proxy: delay, bandwidth, and faults.
//!
//! Pure: a request's fate follows from the network, a seed and the request's number.

use std::{ops::Range, time::Duration};

use fileproxy_testbed::{
    fault::{How, Outage},
    random::{Random, value},
};

/// The network before the built-in origin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Network {
    /// The same building: about 5 ms, no limit, nothing goes wrong.
    #[default]
    Good,
    /// Another continent: 150 to 220 ms, 10 Mbit/s a connection, 1.5 % of the answers go wrong.
    Poor,
    /// A crowded mobile network: 400 to 700 ms, 1 Mbit/s a connection, 2 % of the answers go wrong, and for 15
    /// seconds of every two minutes most requests are answered 503.
    VeryPoor,
    /// Good, poor and very poor in turn, a minute each.
    Changing,
}

/// How long [`Network::Changing`] stays in one state.
const TURN: Duration = Duration::from_secs(60);

/// When [`Network::VeryPoor`] is out of order: within the first minute, and with a calm behind it that is long enough for the
/// limit to rise again.
const OUTAGE: Outage = Outage {
    every: Duration::from_secs(120),
    begin: Duration::from_secs(20),
    lasting: Duration::from_secs(15),
};

/// Properties of a network at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Conditions {
    /// Time from the request to the response head.
    pub delay: Range<Duration>,
    /// Bandwidth of one connection; none: unlimited.
    pub connection_rate: Option<BitRate>,
    /// Bandwidth of all connections together.
    pub total_rate: Option<BitRate>,
    /// Share of requests with a fault, 0 to 1.
    pub faults: f64,
    /// Whether there is an outage: most requests are answered 503.
    pub outage: bool,
}

/// Bits per second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BitRate(u64);

impl BitRate {
    /// `n` times 1,000,000 bits per second.
    pub const fn mbit(n: u64) -> Self {
        BitRate(n * 1_000_000)
    }

    /// Transmission time of `bytes`.
    pub fn time(self, bytes: u64) -> Duration {
        Duration::from_nanos(bytes.saturating_mul(8_000_000_000) / self.0.max(1))
    }

    /// Bytes that are transmitted in `time`.
    pub fn bytes_in(self, time: Duration) -> u64 {
        (self.0 as f64 / 8.0 * time.as_secs_f64()) as u64
    }
}

/// A fault of one response.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// 503 instead of the answer.
    Unavailable,
    /// The body breaks in this way after this share of it, 0 to 1.
    Broken(f64, How),
}

/// The fate of one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fate {
    /// Time until its response head.
    pub delay: Duration,
    /// Its fault, if any.
    pub fault: Option<Fault>,
}

impl Network {
    /// The properties `age` after the start.
    pub fn conditions(self, age: Duration) -> Conditions {
        let ms = Duration::from_millis;
        match self {
            Network::Good => Conditions {
                delay: ms(4)..ms(7),
                connection_rate: None,
                total_rate: None,
                faults: 0.0,
                outage: false,
            },
            Network::Poor => Conditions {
                delay: ms(150)..ms(220),
                connection_rate: Some(BitRate::mbit(10)),
                total_rate: Some(BitRate::mbit(40)),
                faults: 0.015,
                outage: false,
            },
            Network::VeryPoor => Conditions {
                delay: ms(400)..ms(700),
                connection_rate: Some(BitRate::mbit(1)),
                total_rate: Some(BitRate::mbit(4)),
                faults: 0.02,
                outage: OUTAGE.is_at(age),
            },
            Network::Changing => {
                let turns = [Network::Good, Network::Poor, Network::VeryPoor];
                let turn = age.as_secs() / TURN.as_secs() % turns.len() as u64;
                turns[turn as usize].conditions(age)
            }
        }
    }

    /// A description for the viewer: at most two lines.
    pub fn story(self) -> String {
        let [start, lasting, every] =
            [OUTAGE.begin, OUTAGE.lasting, OUTAGE.every].map(|span| span.as_secs());
        let end = start + lasting;
        match self {
            Network::Good => "about 5 ms away; nothing goes wrong".to_owned(),
            Network::Poor => {
                "150 to 220 ms away, 10 Mbit/s a connection; 1.5 % of the answers go wrong:\n\
                 a 503, or a body that is cut off"
                    .to_owned()
            }
            Network::VeryPoor => format!(
                "400 to 700 ms away, 1 Mbit/s a connection; 2 % of the answers go wrong.\n\
                 From second {start} to {end} of each {every} it is out of order: 9 of 10 answers are 503, for any proxy"
            ),
            Network::Changing => format!(
                "a minute like good, one like poor, one like very-poor, and again.\n\
                 In the third minute it is out of order for {} s: 9 of 10 answers are 503, for any proxy",
                lasting
            ),
        }
    }

    /// The network's name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Network::Good => "good",
            Network::Poor => "poor",
            Network::VeryPoor => "very-poor",
            Network::Changing => "changing",
        }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Conditions {
    /// The fate of request number `number` under `seed`; deterministic.
    pub fn fate(&self, seed: u64, number: u64) -> Fate {
        let mut random = Random::new(value(seed, number));
        let spread = self.delay.end.saturating_sub(self.delay.start);
        let delay = self.delay.start + spread.mul_f64(random.unit());
        let fault = (random.unit() < self.faults).then(|| {
            let share = random.unit();
            match random.next() % 3 {
                0 => Fault::Unavailable,
                1 => Fault::Broken(share, How::Close),
                _ => Fault::Broken(share, How::Reset),
            }
        });
        let fault = if self.outage && random.unit() < 0.9 {
            Some(Fault::Unavailable)
        } else {
            fault
        };
        Fate { delay, fault }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fate_is_the_same_for_the_same_seed_and_number() {
        let conditions = Network::VeryPoor.conditions(Duration::ZERO);
        assert_eq!(conditions.fate(7, 3), conditions.fate(7, 3));
        assert_ne!(conditions.fate(7, 3), conditions.fate(8, 3));
    }

    #[test]
    fn faults_come_as_often_as_the_network_says() {
        for (network, at, share) in [
            (Network::Good, 0, 0.0),
            (Network::Poor, 0, 0.015),
            (Network::VeryPoor, 0, 0.02),
            (Network::VeryPoor, 20, 0.9),
            (Network::VeryPoor, 40, 0.02),
            (Network::VeryPoor, 145, 0.9),
        ] {
            let conditions = network.conditions(Duration::from_secs(at));
            let faults = (0..20_000)
                .filter(|n| conditions.fate(1, *n).fault.is_some())
                .count();
            let seen = faults as f64 / 20_000.0;
            assert!((seen - share).abs() < 0.01, "{network} at {at} s: {seen}");
        }
    }

    #[test]
    fn delays_stay_within_the_range_and_vary() {
        let conditions = Network::Poor.conditions(Duration::ZERO);
        let delays: Vec<_> = (0..1000).map(|n| conditions.fate(1, n).delay).collect();
        assert!(delays.iter().all(|d| conditions.delay.contains(d)));
        assert!(delays.iter().any(|d| d.as_millis() < 160));
        assert!(delays.iter().any(|d| d.as_millis() > 210));
    }

    #[test]
    fn a_changing_network_takes_turns() {
        let at = |s| Network::Changing.conditions(Duration::from_secs(s));
        assert_eq!(at(59), Network::Good.conditions(Duration::ZERO));
        assert_eq!(at(61), Network::Poor.conditions(Duration::ZERO));
        assert_eq!(at(121), Network::VeryPoor.conditions(Duration::ZERO));
        assert_eq!(at(181), Network::Good.conditions(Duration::ZERO));
    }

    #[test]
    fn a_megabit_takes_a_second_at_one_megabit_per_second() {
        assert_eq!(BitRate::mbit(1).time(125_000), Duration::from_secs(1));
        assert_eq!(BitRate::mbit(8).bytes_in(Duration::from_secs(1)), 1_000_000);
    }
}
