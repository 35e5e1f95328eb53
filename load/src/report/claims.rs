//! What the service that fileproxy replaces promised, level low to level high, beside what was measured.

use super::{
    document::Block,
    group::{CPU_REQUEST, GOODPUT, Group, MEMORY, Measure, P50, P95, P99, REQUESTS, groups},
    tables::{at_limit, at_line},
};
use crate::record::Record;

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
        measure: MEMORY,
        promised: [-10.0, -10.0, -10.0],
    },
    Claim {
        name: "throughput",
        measure: GOODPUT,
        promised: [25.0, 45.0, 55.0],
    },
];

const HIGH: &str = "fileproxy-high";
const BASES: [&str; 2] = ["fileproxy-low", "aiohttp-original"];

/// A table for the bad link at the client, one for the origin, and one with a line for each client, from the mixes.
#[must_use]
pub fn blocks(runs: &[Record]) -> Vec<Block> {
    let groups = groups(runs);
    let mut blocks = vec![
        Block::Heading(2, "Promised and measured".to_owned()),
        Block::Text(
            "The service that fileproxy replaces promised these changes from its level low to its level high. Measured \
             is the mix: level low to level high, and the aiohttp proxy with original settings to level high; the change \
             within each round, its median, and the least and the most. CPU is that of the proxy for one completed \
             request."
                .to_owned(),
        ),
    ];
    for (title, place, per_client) in [
        ("The bad link between client and proxy", "client", false),
        ("The bad link between proxy and origin", "origin", false),
        (
            "The bad link between client and proxy, a line for each client",
            "client",
            true,
        ),
    ] {
        let of = |scenario: &str| {
            groups.iter().find(|g| {
                let c = g.case;
                !c.short
                    && c.scenario == scenario
                    && c.place == place
                    && c.per_client == per_client
                    && c.workload == "mix"
            })
        };
        if SCENARIOS.iter().all(|s| of(s).is_none()) {
            blocks.push(Block::Text(format!("{title}: not run.")));
            continue;
        }
        blocks.push(Block::Heading(3, title.to_owned()));
        let mut rows = Vec::new();
        for claim in &CLAIMS {
            for (scenario, promised) in SCENARIOS.iter().zip(claim.promised) {
                let group = of(scenario);
                let mut row = vec![
                    claim.name.to_owned(),
                    (*scenario).to_owned(),
                    format!("{promised:+.0} %"),
                ];
                row.extend(BASES.map(|base| {
                    group
                        .and_then(|g| measured(g, base, claim.measure, promised))
                        .unwrap_or_else(|| "not run".to_owned())
                }));
                rows.push(row);
            }
        }
        let head = [
            "measure",
            "scenario",
            "promised",
            "low to high",
            "aiohttp original to high",
        ];
        blocks.push(Block::Table(head.map(str::to_owned).to_vec(), rows));
        let full: Vec<String> = SCENARIOS.iter().filter_map(|s| full(of(s)?)).collect();
        blocks.push(if full.is_empty() {
            Block::Text(
                "In no scenario was the link itself the limit (goodput above 90 % of its rate)."
                    .to_owned(),
            )
        } else {
            Block::List(full)
        });
    }
    blocks
}

/// The change in percent and whether it is what was promised.
fn measured(group: &Group<'_>, base: &str, measure: Measure, promised: f64) -> Option<String> {
    let ratio = group.ratio(HIGH, base, measure)?;
    let percent = |r: f64| (r - 1.0) * 100.0;
    let change = percent(ratio.median);
    let reached = if promised > 0.0 {
        change >= promised
    } else {
        change <= promised
    };
    let spread = if ratio.count > 1 {
        format!(
            " ({:+.1} to {:+.1})",
            percent(ratio.low),
            percent(ratio.high)
        )
    } else {
        String::new()
    };
    Some(format!(
        "{change:+.1} %{spread}, {}",
        if reached { "reached" } else { "not reached" }
    ))
}

/// Says where the link is the limit for those compared.
fn full(group: &Group<'_>) -> Option<String> {
    let compared = |peers: Vec<&str>| -> Vec<String> {
        peers
            .into_iter()
            .filter(|p| *p == HIGH || BASES.contains(p))
            .map(str::to_owned)
            .collect()
    };
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
