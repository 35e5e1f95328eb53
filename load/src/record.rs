//! One line of JSON for each run.

use serde::{Deserialize, Serialize};

use crate::{
    client::tally::Summary, congestion::Seen, lab::Session, link::emulator::Passed,
    origin::server::Counts,
};

/// The workload of a case that the replaced service's promises are held to.
pub const PROMISES: &str = "promises";

/// Everything known about one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Always "run".
    pub kind: String,
    /// When it began (RFC 3339).
    pub time: String,
    /// The call of the lab it belongs to; rounds are compared within it.
    pub session: Session,
    /// The case: what was the same for all contestants.
    pub case: Case,
    /// The contestant.
    pub peer: String,
    /// Its version line.
    pub version: String,
    /// Round, from 1.
    pub round: u32,
    /// Seeds network, contents and requests; the same for all contestants in a round.
    pub seed: u64,
    /// What the clients saw.
    pub clients: Summary,
    /// What the contestant used, in the counted time.
    pub proxy: ProxyCost,
    /// What the origin handed out in the counted time.
    pub origin: Counts,
    /// Bytes of body the origin handed out for each byte of body that came to a client.
    pub origin_bytes_per_delivered: f64,
    /// Sockets by congestion control, the most at one time.
    pub congestion_seen: Hosts<Seen>,
    /// What the emulator carried between client and proxy, over the whole run.
    pub client_link: Option<Passed>,
    /// What the emulator carried between proxy and origin.
    pub origin_link: Option<Passed>,
    /// What the busiest bad link carried toward the client in the counted time, in percent of its rate, packet headers
    /// and repeated packets included. None with a line for each client.
    pub line_busy_percent: Option<f64>,
    /// Packets the emulator handed over more than 1 ms late, in percent: above 1 the machine was too busy for the link.
    pub late_percent: f64,
}

/// What is the same for all contestants of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Case {
    /// The scenario.
    pub scenario: String,
    /// Where the bad link is: client, origin or both.
    #[serde(rename = "where")]
    pub place: String,
    /// Whether each client has a line of its own.
    pub per_client: bool,
    /// mix, download, viewers, faults, broken or promises.
    pub workload: String,
    /// Bytes of the file, for a download; else 0.
    pub size: u64,
    /// Concurrent clients.
    pub clients: usize,
    /// The congestion control of the routes.
    pub congestion: String,
    /// Mean round trip of the bad link in milliseconds.
    pub round_trip_ms: f64,
    /// Rate of the bad link toward the client in bits per second.
    pub rate_bits: f64,
    /// Loss toward the client in percent.
    pub loss_percent: f64,
    /// Workers of the contestant.
    pub workers: usize,
    /// Whether it was the short form, whose numbers mean nothing.
    pub short: bool,
}

/// What a contestant used in the counted time: all its processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProxyCost {
    /// CPU seconds.
    pub cpu_seconds: f64,
    /// CPU microseconds for one completed request.
    pub cpu_us_per_request: f64,
    /// CPU seconds for 1,000,000,000 delivered bytes.
    pub cpu_seconds_per_gb: f64,
    /// Memory before the clients came, in bytes (proportional set size).
    pub memory_idle_bytes: u64,
    /// The most memory seen, in bytes; looked at twice a second.
    pub memory_peak_bytes: u64,
    /// What fileproxy's store took of it at the end of the counted time, as its /stats says; 0 without one.
    #[serde(default)]
    pub memory_store_bytes: u64,
}

/// One thing for each host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hosts<T> {
    /// The client's host.
    pub client: T,
    /// The proxy's host.
    pub proxy: T,
    /// The origin's host.
    pub origin: T,
}

impl Case {
    /// The case in words: "poor, bad link at the origin, mix".
    #[must_use]
    pub fn title(&self) -> String {
        let place = match self.place.as_str() {
            "client" => "bad link at the client",
            "origin" => "bad link at the origin",
            _ => "bad links at both sides",
        };
        let lines = if self.per_client {
            ", a line for each client"
        } else {
            ""
        };
        let size = if self.size > 0 {
            format!(" of {}", crate::units::ByteSize::from_bytes(self.size))
        } else {
            String::new()
        };
        let control = if self.congestion == "cubic" {
            String::new()
        } else {
            format!(", {}", self.congestion)
        };
        format!(
            "{}, {place}{lines}, {}{size}{control}",
            self.scenario, self.workload
        )
    }

    /// What the link can carry in all, in bits per second.
    #[must_use]
    pub fn capacity_bits(&self) -> f64 {
        if self.per_client && self.place == "client" {
            self.rate_bits * self.clients as f64
        } else {
            self.rate_bits
        }
    }
}
