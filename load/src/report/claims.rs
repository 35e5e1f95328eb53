//! The headline: what the service that fileproxy replaces promised, beside what was measured.

use super::{
    document::Block,
    group::{CPU_REQUEST, GOODPUT, Group, MEMORY_OWN, Measure, P50, P95, P99, REQUESTS, groups},
    tables::{at_limit, at_line},
};
use crate::record::{self, Record};

/// A promise: a measure and its change in percent in the three scenarios.
struct Claim {
    name: &'static str,
    measure: Measure,
    promised: [f64; 3],
}

const SCENARIOS: [&str; 3] = ["normal", "poor", "very_poor"];

const CLAIMS: [Claim; 7] = [
    Claim {
        name: "requests/s",
        measure: REQUESTS,
        promised: [20.0, 50.0, 60.0],
    },
    Claim {
        name: "p50",
        measure: P50,
        promised: [-15.0, -30.0, -35.0],
    },
    Claim {
        name: "p95",
        measure: P95,
        promised: [-18.0, -35.0, -38.0],
    },
    Claim {
        name: "p99",
        measure: P99,
        promised: [-20.0, -37.0, -40.0],
    },
    Claim {
        name: "CPU per request",
        measure: CPU_REQUEST,
        promised: [-17.0, -15.0, -12.0],
    },
    Claim {
        name: "peak memory",
        measure: MEMORY_OWN,
        promised: [-10.0, -10.0, -10.0],
    },
    Claim {
        name: "throughput",
        measure: GOODPUT,
        promised: [25.0, 45.0, 55.0],
    },
];

/// This proxy at level high, as it comes; and with its store filled before.
const HIGH: &str = "fileproxy-store";
const WARM: &str = "fileproxy-warm";
/// What it is compared with.
const REPLACED: &str = "aiohttp-original";
const LOW: &str = "fileproxy-low";

/// A contestant and the one that it is compared with, and how the column is called.
type Column = (&'static str, &'static str, &'static str);

const COLUMNS: [Column; 3] = [
    (HIGH, REPLACED, "aiohttp to high"),
    (HIGH, LOW, "low to high"),
    (WARM, REPLACED, "aiohttp to high, store filled"),
];

/// The headline table, and as a second one what one line for all clients together leaves to win.
#[must_use]
pub fn blocks(runs: &[Record]) -> Vec<Block> {
    let groups: Vec<_> = groups(runs)
        .into_iter()
        .filter(|g| g.case.workload == record::PROMISES)
        .collect();
    if groups.is_empty() {
        return Vec::new();
    }
    let mut blocks = vec![
        Block::Heading(2, "Promised and measured".to_owned()),
        Block::Text(
            "The service that fileproxy replaces promised these changes from its level low to its level high. Measured is this proxy \
             at level high, as it comes, against an aiohttp proxy with the original settings and against its own level low: the change \
             within each round, its median, and the least and the most. CPU is that of the proxy for one completed request; memory \
             is the most of it, less what its store holds."
                .to_owned(),
        ),
    ];
    for (title, place, per_client) in [
        ("A bad line for each client", "client", true),
        ("A bad line to the origin", "origin", false),
        ("One bad line for all clients together", "client", false),
    ] {
        let of = |scenario: &str| {
            groups.iter().find(|g| {
                let c = g.case;
                c.scenario == scenario && c.place == place && c.per_client == per_client
            })
        };
        if SCENARIOS.iter().all(|s| of(s).is_none()) {
            blocks.push(Block::Text(format!("{title}: not run.")));
            continue;
        }
        blocks.push(Block::Heading(3, title.to_owned()));
        let columns: Vec<_> = (COLUMNS.iter())
            .filter(|(peer, ..)| place == "origin" || *peer != WARM)
            .collect();
        let mut reached = vec![0; columns.len()];
        let mut rows = Vec::new();
        for claim in &CLAIMS {
            for (scenario, promised) in SCENARIOS.iter().zip(claim.promised) {
                let mut row = vec![
                    claim.name.to_owned(),
                    (*scenario).to_owned(),
                    format!("{promised:+.0} %"),
                ];
                for ((peer, base, _), reached) in columns.iter().zip(&mut reached) {
                    let change =
                        of(scenario).and_then(|g| Change::of(g, peer, base, claim.measure));
                    *reached += u32::from(change.as_ref().is_some_and(|c| c.reaches(promised)));
                    row.push(change.map_or("not run".to_owned(), |c| c.text(promised)));
                }
                rows.push(row);
            }
        }
        let all = CLAIMS.len() * SCENARIOS.len();
        let mut sum = vec!["reached".to_owned(), String::new(), String::new()];
        sum.extend(reached.iter().map(|n| format!("**{n} of {all}**")));
        rows.push(sum);
        let head = ["measure", "scenario", "promised"].into_iter();
        let head = head.chain(columns.iter().map(|(.., name)| *name));
        blocks.push(Block::Table(head.map(str::to_owned).collect(), rows));
        let notes = |note: fn(&Group<'_>) -> Option<String>| SCENARIOS.map(|s| note(of(s)?));
        let notes = notes(full).into_iter().chain(notes(failed));
        let notes: Vec<String> = notes.flatten().collect();
        if !notes.is_empty() {
            blocks.push(Block::List(notes));
        }
    }
    blocks
}

/// How a measure changes from one contestant to another, in percent, within each round.
struct Change {
    median: f64,
    least: f64,
    most: f64,
    rounds: usize,
}

impl Change {
    fn of(group: &Group<'_>, peer: &str, base: &str, measure: Measure) -> Option<Self> {
        let ratio = group.ratio(peer, base, measure)?;
        let percent = |r: f64| (r - 1.0) * 100.0;
        Some(Self {
            median: percent(ratio.median),
            least: percent(ratio.low),
            most: percent(ratio.high),
            rounds: ratio.count,
        })
    }

    fn reaches(&self, promised: f64) -> bool {
        if promised > 0.0 {
            self.median >= promised
        } else {
            self.median <= promised
        }
    }

    fn text(&self, promised: f64) -> String {
        let spread = if self.rounds > 1 {
            format!(" ({:+.0} to {:+.0})", self.least, self.most)
        } else {
            String::new()
        };
        let missed = if self.reaches(promised) {
            ""
        } else {
            ", not reached"
        };
        format!("{:+.0} %{spread}{missed}", self.median)
    }
}

/// Says where the link is the limit for those compared.
fn full(group: &Group<'_>) -> Option<String> {
    let compared =
        |peers: Vec<&str>| -> Vec<String> { peers.into_iter().map(str::to_owned).collect() };
    let (full, busy) = (compared(at_limit(group)), compared(at_line(group)));
    let mut parts = Vec::new();
    if !full.is_empty() {
        parts.push(format!(
            "goodput of {} is above 90 % of its rate",
            full.join(" and ")
        ));
    }
    if !busy.is_empty() {
        parts.push(format!(
            "{} kept the line busy for over 95 % of the time",
            busy.join(" and ")
        ));
    }
    (!parts.is_empty()).then(|| {
        format!(
            "{}: the link itself is the limit, and nobody can bring more through it: {}",
            group.case.scenario,
            parts.join("; ")
        )
    })
}

/// Says whose requests failed often enough to change the slowest percent: what failed has no time, as if it had never been asked.
fn failed(group: &Group<'_>) -> Option<String> {
    let of = |peer: &str| {
        let clients = || group.of(peer).map(|r| &r.clients);
        let missing: u64 = clients().map(|c| c.failed + c.truncated + c.wrong).sum();
        let share = missing as f64 / clients().map(|c| c.requests).sum::<u64>() as f64;
        (share >= 0.01).then(|| format!("{:.0} % of {peer}'s requests", share * 100.0))
    };
    let of: Vec<String> = group.peers().into_iter().filter_map(of).collect();
    (!of.is_empty()).then(|| {
        format!(
            "{}: {} failed, and none of them is in its times: counted as the slowest, they would be its p99, and from 5 % on its p95",
            group.case.scenario,
            of.join(" and ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report;

    fn newest() -> Vec<Record> {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/reports/2026-11-27/records.jsonl"
        );
        report::read(&[path]).unwrap().0
    }

    fn cells<'a>(blocks: &'a [Block], measure: &str, scenario: &str) -> &'a [String] {
        let tables = blocks.iter().filter_map(|block| match block {
            Block::Table(_, rows) => Some(rows),
            _ => None,
        });
        let rows = tables.take(1).flatten();
        let mut rows = rows.filter(|row| row[0] == measure && row[1] == scenario);
        &rows.next().unwrap()[2..]
    }

    #[test]
    fn a_change_is_that_of_the_same_round_and_says_where_it_falls_short() {
        let mut records = newest();
        records.retain(|r| r.case.scenario == "poor" && r.case.per_client && r.round == 1);
        for record in &mut records {
            let is_high = record.peer == HIGH;
            record.clients.requests_per_second = if is_high { 140.0 } else { 100.0 };
            record.proxy.memory_peak_bytes = if is_high { 300 } else { 200 };
            record.proxy.memory_store_bytes = if is_high { 150 } else { 0 };
        }
        let blocks = blocks(&records);
        let promised = ["+50 %", "+40 %, not reached", "+40 %, not reached"];
        assert_eq!(cells(&blocks, "requests/s", "poor"), promised);
        assert_eq!(
            cells(&blocks, "peak memory", "poor"),
            ["-10 %", "-25 %", "-25 %"]
        );
        assert_eq!(cells(&blocks, "p50", "normal")[1], "not run");
    }

    #[test]
    fn who_fails_requests_is_told_beside_its_times() {
        let mut records = newest();
        records.retain(|r| r.case.scenario == "poor" && r.case.place == "origin");
        let told = |records: &[Record]| {
            blocks(records).iter().any(|block| match block {
                Block::List(notes) => notes.iter().any(|note| note.contains(" failed, ")),
                _ => false,
            })
        };
        assert!(told(&records));
        for record in &mut records {
            record.clients.failed = record.clients.requests / 200;
        }
        assert!(!told(&records));
    }

    #[test]
    fn the_newest_report_is_what_its_records_say() {
        let page = include_str!("../../reports/2026-11-27/report.md");
        let made = report::report(&newest(), &[], HIGH).markdown();
        // The plots are not kept.
        let lines = |page: &str| -> Vec<String> {
            let kept = page
                .lines()
                .filter(|l| !l.is_empty() && !l.starts_with("!["));
            kept.map(str::to_owned).collect()
        };
        let is_same = lines(&made) == lines(page);
        assert!(
            is_same,
            "make it again: load/reports/2026-11-27/README.md says how"
        );
    }
}
