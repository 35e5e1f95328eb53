//! The link against itself: round trip, loss and throughput come out as asked. Needs root; says so and passes
//! without it.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use fileproxy_load::{
    link::{
        shape::{Link, Shape},
        trial::{Effort, Trial, measure},
    },
    sys,
};

fn shape(text: &str) -> Shape {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// One trial at a time: two would take the processor from each other.
static ALONE: Mutex<()> = Mutex::new(());

/// Measures, or says why not.
fn trial(link: &Link, effort: Effort) -> Option<Trial> {
    if !sys::is_root() {
        println!("SKIPPED: the link's own test needs root (network namespaces and TUN)");
        return None;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let trial = measure(link, "cubic", 42, effort).unwrap_or_else(|error| panic!("{error:#}"));
    println!("{trial:?}");
    Some(trial)
}

fn near(what: &str, found: f64, asked: f64, tolerance: f64) {
    assert!(
        (found - asked).abs() <= tolerance,
        "{what}: asked {asked}, found {found}, allowed +-{tolerance}"
    );
}

#[test]
fn round_trip_and_loss_come_out_as_asked() {
    let link = Link {
        mtu: 1500,
        up: shape("delay = '30 ms'\nrate = '100 Mbit/s'\nqueue = '100 ms'\nloss = { percent = 2 }"),
        down: shape(
            "delay = '45 ms'\nrate = '100 Mbit/s'\nqueue = '100 ms'\nloss = { percent = 5, burst = 3 }",
        ),
    };
    let effort = Effort {
        pings: 60,
        packets: 200_000,
        flow: Duration::ZERO,
    };
    let Some(trial) = trial(&link, effort) else {
        return;
    };
    near("round trip in ms", trial.round_trip_ms[0], 75.0, 1.0);
    near("least round trip in ms", trial.round_trip_ms[1], 75.0, 1.0);
    near("loss up in percent", trial.loss_up_percent, 2.0, 0.1);
    near("loss down in percent", trial.loss_down_percent, 5.0, 0.25);
}

#[test]
fn one_flow_fills_a_slow_link() {
    let link = Link {
        mtu: 1500,
        up: shape("delay = '20 ms'\nrate = '10 Mbit/s'\nqueue = '100 ms'"),
        down: shape("delay = '20 ms'\nrate = '10 Mbit/s'\nqueue = '100 ms'"),
    };
    let Some(trial) = trial(
        &link,
        Effort {
            pings: 10,
            packets: 0,
            flow: Duration::from_secs(6),
        },
    ) else {
        return;
    };
    near("round trip in ms", trial.round_trip_ms[0], 40.0, 1.0);
    near("throughput in Mbit/s", trial.flow_bits / 1e6, 10.0, 0.5);
}

#[test]
fn one_flow_fills_a_gigabit_at_ten_milliseconds() {
    let link = Link {
        mtu: 9000,
        up: shape("delay = '5 ms'\nrate = '1 Gbit/s'\nqueue = '50 ms'"),
        down: shape("delay = '5 ms'\nrate = '1 Gbit/s'\nqueue = '50 ms'"),
    };
    let Some(trial) = trial(
        &link,
        Effort {
            pings: 50,
            packets: 0,
            flow: Duration::from_secs(6),
        },
    ) else {
        return;
    };
    near("round trip in ms", trial.round_trip_ms[0], 10.0, 1.0);
    near("throughput in Mbit/s", trial.flow_bits / 1e6, 1000.0, 50.0);
}
