//! The comparison as Markdown.

use std::fmt::Write as _;

use super::{Comparison, DIRECT};
use crate::{spread::Spread, units::ByteSize};

/// Medians with the spread, and the ratio to nginx and of level high to level low, round by round.
#[must_use]
pub fn markdown(records: &[Comparison]) -> String {
    let mut text = String::new();
    let Some(any) = records.first() else { return text };
    let m = &any.machine;
    _ = writeln!(
        text,
        "Loopback comparison, {}, commit {}, {} x {}, kernel {}. {} connections, {:.0} s each, {} rounds, interleaved; \
         median (least to most). CPU is the proxy's alone; load generator and origin run on the same CPUs.\n",
        any.time,
        m.commit,
        m.cpus,
        m.processor,
        m.kernel,
        any.connections,
        any.seconds,
        records.iter().map(|r| r.round).max().unwrap_or(1),
    );
    let mut peers: Vec<&str> = Vec::new();
    let mut sizes: Vec<u64> = Vec::new();
    for record in records {
        if !peers.contains(&record.peer.as_str()) {
            peers.push(&record.peer);
        }
        if !sizes.contains(&record.size) {
            sizes.push(record.size);
        }
    }
    for peer in &peers {
        if let Some(record) = records.iter().find(|r| r.peer == *peer) {
            _ = writeln!(text, "- {peer}: {}", record.version);
        }
    }
    for size in sizes {
        let of = |peer: &str| -> Vec<&Comparison> {
            records.iter().filter(|r| r.size == size && r.peer == peer).collect()
        };
        _ = writeln!(text, "\n### {}\n", ByteSize::from_bytes(size));
        text.push_str("| proxy | requests/s | to nginx | MB/s | CPU us/request | CPU s/GB | p50 ms | p99 ms | errors |\n");
        text.push_str("|---|---|---|---|---|---|---|---|---|\n");
        for peer in &peers {
            let rows = of(peer);
            let spread = |value: fn(&Comparison) -> f64, digits| {
                Spread::of(rows.iter().map(|r| value(r))).map_or_else(|| "-".to_owned(), |s| s.text(digits))
            };
            let cpu = |value: fn(&Comparison) -> f64, digits| {
                if *peer == DIRECT { "-".to_owned() } else { spread(value, digits) }
            };
            let errors: u64 = rows.iter().map(|r| r.errors).sum();
            _ = writeln!(
                text,
                "| {peer} | {} | {} | {} | {} | {} | {} | {} | {errors} |",
                spread(|r| r.requests_per_second, usize::from(size > 10_000_000)),
                ratio(&of(peer), &of("nginx")),
                spread(|r| r.mb_per_second, 1),
                cpu(|r| r.cpu_us_per_request, 1),
                cpu(|r| r.cpu_seconds_per_gb, 2),
                spread(|r| r.p50_ms, 2),
                spread(|r| r.p99_ms, 2),
            );
        }
        let (low, high) = (of("fileproxy-low"), of("fileproxy-high"));
        if !low.is_empty() && !high.is_empty() {
            _ = writeln!(text, "\nfileproxy high to low, requests/s: {}", ratio(&high, &low));
        }
    }
    text
}

/// The ratio of throughput, each round by itself: requests/s, or bytes where hardly a request fits the time.
fn ratio(of: &[&Comparison], to: &[&Comparison]) -> String {
    let pairs = of.iter().filter_map(|a| {
        let b = to.iter().find(|b| b.round == a.round)?;
        let few = a.requests.min(b.requests) < 1000;
        Some(if few { a.mb_per_second / b.mb_per_second } else { a.requests_per_second / b.requests_per_second })
    });
    Spread::of(pairs).map_or_else(|| "-".to_owned(), |s| s.text(3))
}
