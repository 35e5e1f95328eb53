//! The comparison as tables.

use super::{comparison::Comparison, options::DIRECT};
use crate::{report::document::Block, spread::Spread, units::ByteSize};

/// A table for each size: medians with the spread, and the ratio to nginx and of level high to level low, round by
/// round.
#[must_use]
pub fn blocks(records: &[Comparison]) -> Vec<Block> {
    let Some(any) = records.first() else {
        return Vec::new();
    };
    let (mut peers, mut sizes) = (Vec::<&str>::new(), Vec::<u64>::new());
    for record in records {
        if !peers.contains(&record.peer.as_str()) {
            peers.push(&record.peer);
        }
        if !sizes.contains(&record.size) {
            sizes.push(record.size);
        }
    }
    let mut blocks = vec![
        Block::Heading(2, "On the loopback".to_owned()),
        Block::Text(format!(
            "No bad link. {} connections, {:.0} s each, {} rounds, interleaved. The main figure is the proxy's own CPU for each \
             request, also beside nginx's in the same round: it depends less on what else the machine does than requests/s. Origin \
             (nginx) and load generator (wrk) run on the same CPUs; theirs stand beside. \"direct\" is the origin without a proxy.",
            any.connections,
            any.seconds,
            records.iter().map(|r| r.round).max().unwrap_or(1),
        )),
    ];
    for size in sizes {
        let of = |peer: &str| -> Vec<&Comparison> {
            records
                .iter()
                .filter(|r| r.size == size && r.peer == peer)
                .collect()
        };
        let rows = peers.iter().map(|peer| {
            let rows = of(peer);
            let spread = |value: fn(&Comparison) -> f64, digits| {
                Spread::of(rows.iter().map(|r| value(r)))
                    .map_or_else(|| "-".to_owned(), |s| s.text(digits))
            };
            let cpu = |value: fn(&Comparison) -> f64, digits| {
                if *peer == DIRECT {
                    "-".to_owned()
                } else {
                    spread(value, digits)
                }
            };
            vec![
                (*peer).to_owned(),
                cpu(|r| r.cpu_us_per_request, 1),
                if *peer == DIRECT {
                    "-".to_owned()
                } else {
                    ratio(&rows, &of("nginx"), cpu_per_byte)
                },
                spread(|r| each(r, r.origin_cpu_seconds), 1),
                spread(|r| each(r, r.generator_cpu_seconds), 1),
                spread(|r| r.requests_per_second, usize::from(size > 10_000_000)),
                ratio(&rows, &of("nginx"), throughput),
                spread(|r| r.mb_per_second, 1),
                cpu(|r| r.cpu_seconds_per_gb, 2),
                spread(|r| r.p50_ms, 2),
                spread(|r| r.p99_ms, 2),
                rows.iter().map(|r| r.errors).sum::<u64>().to_string(),
            ]
        });
        let rows = rows.collect();
        let head = [
            "proxy",
            "CPU us/request",
            "CPU to nginx",
            "origin us/request",
            "generator us/request",
            "requests/s",
            "to nginx",
            "MB/s",
            "CPU s/GB",
            "p50 ms",
            "p99 ms",
            "errors",
        ];
        blocks.push(Block::Heading(3, ByteSize::from_bytes(size).to_string()));
        blocks.push(Block::Table(head.map(str::to_owned).to_vec(), rows));
        let (low, high) = (of("fileproxy-low"), of("fileproxy-high"));
        if !low.is_empty() && !high.is_empty() {
            blocks.push(Block::Text(format!(
                "fileproxy high to low: throughput {}, CPU per byte {}.",
                ratio(&high, &low, throughput),
                ratio(&high, &low, cpu_per_byte)
            )));
        }
    }
    blocks
}

/// Microseconds for each request.
fn each(of: &Comparison, cpu_seconds: f64) -> f64 {
    cpu_seconds * 1e6 / of.requests as f64
}

/// Requests/s, or bytes where hardly a request fits the time.
fn throughput(a: &Comparison, b: &Comparison) -> f64 {
    if a.requests.min(b.requests) < 1000 {
        a.mb_per_second / b.mb_per_second
    } else {
        a.requests_per_second / b.requests_per_second
    }
}

fn cpu_per_byte(a: &Comparison, b: &Comparison) -> f64 {
    a.cpu_seconds_per_gb / b.cpu_seconds_per_gb
}

/// A ratio in each round by itself, then the median.
fn ratio(
    of: &[&Comparison],
    to: &[&Comparison],
    value: fn(&Comparison, &Comparison) -> f64,
) -> String {
    let pairs = of.iter().filter_map(|a| {
        let b = to
            .iter()
            .find(|b| b.round == a.round && b.session == a.session)?;
        Some(value(a, b))
    });
    Spread::of(pairs).map_or_else(|| "-".to_owned(), |s| s.text(3))
}
