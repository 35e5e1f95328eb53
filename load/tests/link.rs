//! The link against itself: round trip, loss and throughput come out as asked.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

#[path = "../../tests/it/support/need.rs"]
mod need;

use fileproxy_load::{
    link::{
        shape::{Link, Shape},
        trial::{Effort, Trial, measure},
    },
    sys,
};
use need::need;

fn shape(text: &str) -> Shape {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// One trial at a time: two would take the processor from each other.
static ALONE: Mutex<()> = Mutex::new(());

/// Measures, or says why not.
fn trial(link: &Link, effort: Effort) -> Option<Trial> {
    if !need("root", "namespaces and TUN devices", sys::is_root()) {
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

/// The round trip as the emulator itself made it: by its own clock, from a packet's coming to its being handed over. What a
/// busy machine takes before and behind that is not the link's, so from outside it is only never less, and not a multiple.
fn round_trip_is(trial: &Trial, asked: f64) {
    let held = (trial.passed.up.least_us + trial.passed.down.least_us) as f64 / 1e3;
    near("least round trip inside the link in ms", held, asked, 1.0);
    let [_, least, _] = trial.round_trip_ms;
    let range = asked..asked * 1.5;
    assert!(
        range.contains(&least),
        "from outside {least} ms, asked {asked} ms"
    );
}

/// What one flow carried. The emulator knows how many packets it could not hand over in time: what a flow loses by them is
/// the machine's doing. More than asked is never carried.
fn throughput_is(trial: &Trial, asked: f64) {
    let down = trial.passed.down;
    let late = down.late as f64 / down.delivered as f64;
    let found = trial.flow_bits / 1e6;
    let range = asked * (0.95 - late)..asked * 1.05;
    assert!(
        range.contains(&found),
        "asked {asked} Mbit/s, found {found}, {:.2} % of the packets late",
        late * 100.0
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
    round_trip_is(&trial, 75.0);
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
    round_trip_is(&trial, 40.0);
    throughput_is(&trial, 10.0);
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
    round_trip_is(&trial, 10.0);
    throughput_is(&trial, 1000.0);
}
