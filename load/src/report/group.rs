//! Records by case and contestant, and what can be read off them.

use crate::{
    record::{Case, Record},
    spread::Spread,
};

/// A number of a record, how it is called and written, and which way is good.
#[derive(Clone, Copy)]
pub struct Measure {
    /// Its name with the unit.
    pub name: &'static str,
    /// Digits behind the point.
    pub digits: usize,
    /// Reads it off a record; none where it says nothing.
    pub read: fn(&Record) -> Option<f64>,
}

/// None where nothing completed: a time of no request is not zero.
fn timed(record: &Record, value: f64) -> Option<f64> {
    (record.clients.completed > 0).then_some(value)
}

const MIB: f64 = 1024.0 * 1024.0;

/// Requests per second.
pub const REQUESTS: Measure = Measure {
    name: "requests/s",
    digits: 1,
    read: |r| Some(r.clients.requests_per_second),
};
/// Bits of body per second that reached clients, in 1,000,000.
pub const GOODPUT: Measure = Measure {
    name: "goodput Mbit/s",
    digits: 2,
    read: |r| Some(r.clients.goodput_bits / 1e6),
};
/// Median total time.
pub const P50: Measure = Measure {
    name: "p50 ms",
    digits: 0,
    read: |r| timed(r, r.clients.total_ms.p50),
};
/// 95th percentile of the total time.
pub const P95: Measure = Measure {
    name: "p95 ms",
    digits: 0,
    read: |r| timed(r, r.clients.total_ms.p95),
};
/// 99th percentile of the total time.
pub const P99: Measure = Measure {
    name: "p99 ms",
    digits: 0,
    read: |r| timed(r, r.clients.total_ms.p99),
};
/// Median time to first byte.
pub const FIRST_P50: Measure = Measure {
    name: "first byte p50 ms",
    digits: 0,
    read: |r| timed(r, r.clients.first_byte_ms.p50),
};
/// 95th percentile of the time to first byte.
pub const FIRST_P95: Measure = Measure {
    name: "first byte p95 ms",
    digits: 0,
    read: |r| timed(r, r.clients.first_byte_ms.p95),
};
/// 99th percentile of the time to first byte.
pub const FIRST_P99: Measure = Measure {
    name: "first byte p99 ms",
    digits: 0,
    read: |r| timed(r, r.clients.first_byte_ms.p99),
};
/// Time stalled.
pub const REBUFFERING: Measure = Measure {
    name: "stalled %",
    digits: 2,
    read: |r| r.clients.viewing.map(|v| v.rebuffering * 100.0),
};
/// Time until the picture moved.
pub const STARTUP: Measure = Measure {
    name: "start p50 ms",
    digits: 0,
    read: |r| r.clients.viewing.map(|v| v.startup_p50_ms),
};
/// CPU of the proxy in the counted time.
pub const CPU: Measure = Measure {
    name: "CPU s",
    digits: 2,
    read: |r| Some(r.proxy.cpu_seconds),
};
/// CPU of the proxy for one completed request.
pub const CPU_REQUEST: Measure = Measure {
    name: "CPU us/request",
    digits: 0,
    read: |r| timed(r, r.proxy.cpu_us_per_request),
};
/// CPU of the proxy for 1,000,000,000 delivered bytes.
pub const CPU_GB: Measure = Measure {
    name: "CPU s/GB",
    digits: 2,
    read: |r| (r.clients.bytes > 0).then_some(r.proxy.cpu_seconds_per_gb),
};
/// The most memory of the proxy.
pub const MEMORY: Measure = Measure {
    name: "peak memory MiB",
    digits: 1,
    read: |r| Some(r.proxy.memory_peak_bytes as f64 / MIB),
};
/// The same without what its store holds.
pub const MEMORY_OWN: Measure = Measure {
    name: "less its store",
    digits: 1,
    read: |r| {
        let own = r
            .proxy
            .memory_peak_bytes
            .saturating_sub(r.proxy.memory_store_bytes);
        Some(own as f64 / MIB)
    },
};
/// Bytes from the origin for each byte to a client.
pub const FETCHED: Measure = Measure {
    name: "origin bytes per byte",
    digits: 2,
    read: |r| (r.clients.bytes > 0).then_some(r.origin_bytes_per_delivered),
};

/// How full the bad link was.
pub const BUSY: Measure = Measure {
    name: "line busy %",
    digits: 0,
    read: |r| r.line_busy_percent,
};

/// All records of one case.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// The case.
    pub case: &'a Case,
    /// Its records.
    pub records: Vec<&'a Record>,
}

/// Records by case, in the order in which cases first appear.
#[must_use]
pub fn groups(records: &[Record]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for record in records {
        match groups.iter_mut().find(|g| *g.case == record.case) {
            Some(group) => group.records.push(record),
            None => groups.push(Group {
                case: &record.case,
                records: vec![record],
            }),
        }
    }
    groups
}

impl<'a> Group<'a> {
    /// The contestants, by name, fileproxy's levels in their order.
    #[must_use]
    pub fn peers(&self) -> Vec<&'a str> {
        let mut peers: Vec<&str> = Vec::new();
        for record in &self.records {
            if !peers.contains(&record.peer.as_str()) {
                peers.push(&record.peer);
            }
        }
        let rank = |peer: &&str| {
            let order = [
                "fileproxy-low",
                "fileproxy-medium",
                "fileproxy-high",
                "fileproxy-store",
                "fileproxy-warm",
                "nginx",
                "nginx-cache",
                "haproxy",
            ];
            (
                order.iter().position(|o| o == peer).unwrap_or(order.len()),
                (*peer).to_owned(),
            )
        };
        peers.sort_by_key(rank);
        peers
    }

    /// The records of one contestant.
    pub fn of<'s>(&'s self, peer: &'s str) -> impl Iterator<Item = &'a Record> + 's {
        self.records.iter().copied().filter(move |r| r.peer == peer)
    }

    /// A measure of one contestant over all rounds.
    #[must_use]
    pub fn spread(&self, peer: &str, measure: Measure) -> Option<Spread> {
        Spread::of(self.of(peer).filter_map(measure.read))
    }

    /// The ratio of a measure of two contestants, each round by itself.
    #[must_use]
    pub fn ratio(&self, peer: &str, to: &str, measure: Measure) -> Option<Spread> {
        Spread::of(self.of(peer).filter_map(|a| {
            let b = self
                .of(to)
                .find(|b| b.round == a.round && b.session == a.session)?;
            let (a, b) = ((measure.read)(a)?, (measure.read)(b)?);
            (b != 0.0).then_some(a / b)
        }))
    }
}
