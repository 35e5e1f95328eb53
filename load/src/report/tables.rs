//! The measurements as tables.

use super::{
    document::Block,
    group::{
        BUSY, CPU, CPU_GB, CPU_REQUEST, FETCHED, FIRST_P50, FIRST_P95, FIRST_P99, GOODPUT, Group,
        MEMORY, MEMORY_OWN, Measure, P50, P95, P99, REBUFFERING, REQUESTS, STARTUP, groups,
    },
    plot,
};
use crate::{
    client::tally::{SizeClass, Summary},
    compare::comparison::Comparison,
    record::Record,
    spread::Spread,
    units::ByteSize,
};

/// Goodput above this share of the rate means that the link is the limit.
pub const FULL: f64 = 0.9;
/// A line that is busy for more than this, in percent, has no room left.
const LINE_FULL: f64 = 95.0;

/// Machine, commit, dates, commands and versions.
#[must_use]
pub fn preface(runs: &[Record], comparisons: &[Comparison]) -> Vec<Block> {
    let facts = runs
        .iter()
        .map(|r| (&r.session, &r.time, &r.peer, &r.version))
        .chain(
            comparisons
                .iter()
                .map(|c| (&c.session, &c.time, &c.peer, &c.version)),
        );
    let (mut machines, mut commands, mut versions) = (Vec::new(), Vec::new(), Vec::new());
    let (mut first, mut last) = (None, None);
    let add = |list: &mut Vec<String>, text: String| {
        if !list.contains(&text) {
            list.push(text);
        }
    };
    for (session, time, peer, version) in facts {
        let machine = &session.machine;
        add(
            &mut machines,
            format!(
                "commit {}, {} CPUs of {}, {} MiB, kernel {}",
                if machine.commit.is_empty() {
                    "unknown"
                } else {
                    &machine.commit
                },
                machine.cpus,
                machine.processor,
                machine.memory_mib,
                machine.kernel
            ),
        );
        add(&mut commands, format!("`{}`", session.command));
        add(&mut versions, format!("{peer}: {version}"));
        first = first.min(Some(time)).or(Some(time));
        last = last.max(Some(time));
    }
    let (Some(first), Some(last)) = (first, last) else {
        return vec![Block::Text("No records.".to_owned())];
    };
    let mut blocks = vec![
        Block::Text(format!(
            "Measured {first} to {last}. Clients, contestant, origin and link share the same CPUs. Contestants take \
             turns; a number is the median over the rounds, with the least and the most in parentheses. A ratio is \
             taken within each round, then the median of the ratios."
        )),
        Block::List(machines),
        Block::Text("Commands:".to_owned()),
        Block::List(commands),
        Block::Text("Contestants:".to_owned()),
        Block::List(versions),
    ];
    let late = runs.iter().filter(|r| r.late_percent > 1.0).count();
    if late > 0 {
        blocks.push(Block::Text(format!(
            "In {late} of {} runs the machine was too busy for the link: more than 1 % of the packets were handed over \
             over a millisecond late.",
            runs.len()
        )));
    }
    if runs.iter().any(|r| r.case.short) {
        blocks.push(Block::Text(
            "Some runs are of the short form: they show that it works, not how fast.".to_owned(),
        ));
    }
    blocks
}

/// The tables of all cases; with plots, or without.
#[must_use]
pub fn cases(runs: &[Record], of: &str, plots: bool) -> Vec<Block> {
    let mut blocks = Vec::new();
    for group in groups(runs) {
        let c = group.case;
        blocks.push(Block::Heading(2, capital(&c.title())));
        blocks.push(Block::Text(format!(
            "{} clients, round trip {:.0} ms, {} {}, loss {} %, {} rounds.",
            c.clients,
            c.round_trip_ms,
            crate::units::BitRate::from_bits(c.rate_bits),
            if c.per_client {
                "for each client"
            } else {
                "for all together"
            },
            c.loss_percent,
            group.records.iter().map(|r| r.round).max().unwrap_or(0),
        )));
        blocks.push(seen(&group));
        blocks.push(outcome(&group));
        blocks.push(cost(&group));
        blocks.extend(sizes(&group));
        blocks.extend(reasons(&group));
        blocks.extend(congestion(&group));
        blocks.push(Block::Text(limit(&group)));
        blocks.extend(ratios(&group, of));
        if plots {
            blocks.extend(plot::of(&group));
        }
    }
    blocks
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

fn row(group: &Group<'_>, peer: &str, measures: &[Measure]) -> Vec<String> {
    let cells = measures.iter().map(|m| {
        group
            .spread(peer, *m)
            .map_or_else(|| "-".to_owned(), |s| s.text(m.digits))
    });
    std::iter::once(peer.to_owned()).chain(cells).collect()
}

fn table(group: &Group<'_>, measures: &[Measure]) -> Block {
    let head = std::iter::once("proxy")
        .chain(measures.iter().map(|m| m.name))
        .map(str::to_owned)
        .collect();
    Block::Table(
        head,
        group
            .peers()
            .into_iter()
            .map(|peer| row(group, peer, measures))
            .collect(),
    )
}

/// What clients saw.
fn seen(group: &Group<'_>) -> Block {
    match group.case.workload.as_str() {
        "viewers" => table(
            group,
            &[
                REBUFFERING,
                STARTUP,
                GOODPUT,
                P50,
                P95,
                P99,
                FIRST_P50,
                FIRST_P95,
                FIRST_P99,
            ],
        ),
        "download" | "broken" => table(group, &[GOODPUT, P50, FIRST_P50]),
        _ => table(
            group,
            &[
                REQUESTS, GOODPUT, P50, P95, P99, FIRST_P50, FIRST_P95, FIRST_P99,
            ],
        ),
    }
}

/// What became of the requests, all rounds together.
fn outcome(group: &Group<'_>) -> Block {
    let head = [
        "requests, all rounds",
        "completed",
        "failed",
        "truncated",
        "wrong",
        "unfinished",
    ];
    let rows = group.peers().into_iter().map(|peer| {
        let sum = |read: fn(&Summary) -> u64| {
            group
                .of(peer)
                .map(|r| read(&r.clients))
                .sum::<u64>()
                .to_string()
        };
        vec![
            peer.to_owned(),
            sum(|c| c.completed),
            sum(|c| c.failed),
            sum(|c| c.truncated),
            sum(|c| c.wrong),
            sum(|c| c.unfinished),
        ]
    });
    Block::Table(head.map(str::to_owned).to_vec(), rows.collect())
}

/// What it cost.
fn cost(group: &Group<'_>) -> Block {
    let mut measures = vec![CPU, CPU_REQUEST, CPU_GB, MEMORY, FETCHED, BUSY];
    if group.records.iter().any(|r| r.proxy.memory_store_bytes > 0) {
        measures.insert(4, MEMORY_OWN);
    }
    table(group, &measures)
}

/// What files of each size took, beside the least that their line allows: one round trip, and the bytes at its rate. Only where
/// each client has a line of its own, and so as many columns as contestants.
fn sizes(group: &Group<'_>) -> Option<Block> {
    let of = |peer: &str, up_to: u64, read: fn(&SizeClass) -> f64| {
        Spread::of(group.of(peer).filter_map(|r| {
            let class = r.clients.by_size.iter().find(|c| c.up_to == up_to)?;
            Some(read(class))
        }))
    };
    let mut classes: Vec<_> = (group.records.iter())
        .flat_map(|r| r.clients.by_size.iter().map(|c| c.up_to))
        .collect();
    classes.sort_unstable();
    classes.dedup();
    let case = group.case;
    if !case.per_client || classes.is_empty() {
        return None;
    }
    let peers = group.peers();
    let rows = classes.iter().filter_map(|up_to| {
        let bytes = peers
            .iter()
            .find_map(|peer| of(peer, *up_to, |c| c.mean_bytes))?;
        let floor = case.round_trip_ms + bytes.median * 8e3 / case.rate_bits;
        let mut row = vec![
            ByteSize::from_bytes(*up_to).to_string(),
            format!("{floor:.0}"),
        ];
        row.extend(peers.iter().map(|peer| {
            of(peer, *up_to, |c| c.p50_ms).map_or("-".to_owned(), |p50| {
                format!("{:.0} ({:.1}x)", p50.median, p50.median / floor)
            })
        }));
        Some(row)
    });
    let rows = rows.collect();
    let head = ["files up to", "least ms"].into_iter().map(str::to_owned);
    let head = head.chain(peers.iter().map(|peer| format!("{peer}, p50 ms")));
    Some(Block::Table(head.collect(), rows))
}

/// Why requests were not completed.
fn reasons(group: &Group<'_>) -> Option<Block> {
    let lines: Vec<String> = group
        .peers()
        .into_iter()
        .filter_map(|peer| {
            let mut all = std::collections::BTreeMap::<&str, u64>::new();
            for (why, count) in group.of(peer).flat_map(|r| &r.clients.reasons) {
                *all.entry(why).or_default() += count;
            }
            let text: Vec<_> = all
                .iter()
                .map(|(why, count)| format!("{count} {why}"))
                .collect();
            (!text.is_empty()).then(|| format!("{peer}: {}", text.join(", ")))
        })
        .collect();
    (!lines.is_empty()).then_some(Block::List(lines))
}

/// Contestants that chose another congestion control than the routes'.
fn congestion(group: &Group<'_>) -> Option<Block> {
    let lines: Vec<String> = group
        .peers()
        .into_iter()
        .filter_map(|peer| {
            let mut others: Vec<_> = group
                .of(peer)
                .flat_map(|r| r.congestion_seen.proxy.keys())
                .filter(|name| **name != group.case.congestion)
                .cloned()
                .collect();
            others.dedup();
            others.sort();
            others.dedup();
            let own = &group.case.congestion;
            (!others.is_empty()).then(|| {
                format!(
                    "{peer} chose {} for sockets of its own; the routes say {own}",
                    others.join(", ")
                )
            })
        })
        .collect();
    (!lines.is_empty()).then_some(Block::List(lines))
}

/// Contestants for which the link is the limit: their goodput is more than 90 % of its rate.
#[must_use]
pub fn at_limit<'a>(group: &Group<'a>) -> Vec<&'a str> {
    let capacity = group.case.capacity_bits() / 1e6;
    group
        .peers()
        .into_iter()
        .filter(|peer| {
            group
                .spread(peer, GOODPUT)
                .is_some_and(|s| s.median > FULL * capacity)
        })
        .collect()
}

/// Contestants with less goodput that still kept the line busy: the rest went into headers and repeated packets.
#[must_use]
pub fn at_line<'a>(group: &Group<'a>) -> Vec<&'a str> {
    let full = at_limit(group);
    group
        .peers()
        .into_iter()
        .filter(|peer| {
            !full.contains(peer)
                && group
                    .spread(peer, BUSY)
                    .is_some_and(|s| s.median > LINE_FULL)
        })
        .collect()
}

fn limit(group: &Group<'_>) -> String {
    let capacity = crate::units::BitRate::from_bits(group.case.capacity_bits());
    let (full, busy) = (at_limit(group), at_line(group));
    let mut text = if full.is_empty() {
        format!("No contestant got a goodput above 90 % of the link's {capacity}.")
    } else if full.len() == group.peers().len() {
        format!(
            "The link itself is the limit: every contestant got above 90 % of its {capacity}, and nobody can do better."
        )
    } else {
        format!(
            "The link itself is the limit for {}: above 90 % of its {capacity}.",
            full.join(", ")
        )
    };
    if !busy.is_empty() {
        text.push_str(&format!(
            " The line was full, with less goodput, for {}: over {LINE_FULL:.0} % busy, headers and repeated packets \
             included.",
            busy.join(", ")
        ));
    }
    text
}

/// One contestant against each other one.
fn ratios(group: &Group<'_>, of: &str) -> Vec<Block> {
    let peers = group.peers();
    if !peers.contains(&of) || peers.len() < 2 {
        return Vec::new();
    }
    let measures: &[Measure] = match group.case.workload.as_str() {
        "viewers" => &[REBUFFERING, STARTUP, GOODPUT, CPU, MEMORY, FETCHED],
        "download" | "broken" => &[GOODPUT, P50, FIRST_P50, CPU_GB, MEMORY],
        _ => &[
            REQUESTS,
            GOODPUT,
            P50,
            P95,
            P99,
            FIRST_P50,
            CPU_REQUEST,
            MEMORY,
            FETCHED,
        ],
    };
    let head = std::iter::once(format!("{of} to")).chain(measures.iter().map(|m| {
        m.name
            .trim_end_matches(" ms")
            .trim_end_matches(" MiB")
            .trim_end_matches(" Mbit/s")
            .trim_end_matches(" %")
            .to_owned()
    }));
    let rows = peers.iter().filter(|p| **p != of).map(|peer| {
        let cells = measures.iter().map(|m| {
            group
                .ratio(of, peer, *m)
                .map_or_else(|| "-".to_owned(), |s| s.text(2))
        });
        std::iter::once((*peer).to_owned()).chain(cells).collect()
    });
    vec![Block::Table(head.collect(), rows.collect())]
}
