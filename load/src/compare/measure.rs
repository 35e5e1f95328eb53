//! Measures: every contestant with every size, in turn and repeatedly, into records and a table.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
};

use anyhow::{Result, bail};

use super::{
    comparison::Comparison,
    contestant::{Contestant, start, verify},
    options::Options,
    origin::{self, NginxOrigin},
    slow, table, wrk,
};
use crate::{
    failure::Failure,
    host::Host,
    lab::{Lab, Session},
    moment::{rfc3339, unix_seconds},
    namespace::{Namespace, sweep},
    report::{document::Document, tables},
    sys,
    units::ByteSize,
    usage::cpu_of_children,
};

/// Runs the comparison and writes records and a table into the lab's out folder.
///
/// # Errors
///
/// A tool is missing, a contestant does not start, or a body is wrong.
pub async fn compare(lab: &Lab, options: &Options) -> Result<()> {
    let namespace = loopback()?;
    let host = namespace.as_ref().map_or(Host::Here, Host::In);
    let dir = lab.out.join(format!("compare-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let result = measure(lab, options, host, &dir).await;
    _ = fs::remove_dir_all(&dir);
    result
}

/// A namespace of its own with a loopback under cubic; none without root.
fn loopback() -> Result<Option<Namespace>> {
    if !sys::is_root() {
        eprintln!("not root: using this machine's own loopback and its congestion control");
        return Ok(None);
    }
    _ = sweep();
    let namespace = Namespace::create("loop")?;
    for net in ["127.0.0.0/8", "127.0.0.1"] {
        namespace.ip(&format!(
            "route replace local {net} dev lo table local proto kernel scope host src 127.0.0.1 congctl cubic"
        ))?;
    }
    Ok(Some(namespace))
}

async fn measure(
    lab: &Lab,
    options: &Options,
    host: Host<'_>,
    dir: &std::path::Path,
) -> Result<()> {
    let origin = NginxOrigin::start(host, lab, dir, options)?;
    let mut contestants = Vec::new();
    for name in &options.peers {
        contestants.push(start(lab, options, host, dir, &origin, name)?);
    }
    for contestant in &mut contestants {
        verify(host, contestant, &options.sizes)?;
    }
    if let Some(readers) = options.slow_readers {
        drop(contestants);
        return slow::readers(lab, options, host, dir, &origin, readers).await;
    }
    let stamp = rfc3339(unix_seconds()).replace(':', "");
    let path = lab.out.join(format!("compare-{stamp}.jsonl"));
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let session = lab.session();
    let mut records = Vec::new();
    let total = options.repeat as usize * options.sizes.len() * contestants.len();
    for round in 0..options.repeat {
        for size in &options.sizes {
            let first = round as usize % contestants.len();
            for n in 0..contestants.len() {
                let contestant = &mut contestants[(first + n) % options.peers.len()];
                let record = one(
                    options,
                    host,
                    dir,
                    &origin,
                    contestant,
                    *size,
                    round + 1,
                    &session,
                )
                .await?;
                writeln!(file, "{}", serde_json::to_string(&record)?)?;
                records.push(record);
                eprintln!(
                    "{}/{total} round {} {size} {}: {:.0} requests/s, {:.1} MB/s, proxy CPU {:.1} s",
                    records.len(),
                    round + 1,
                    contestant.name,
                    records[records.len() - 1].requests_per_second,
                    records[records.len() - 1].mb_per_second,
                    records[records.len() - 1].cpu_seconds,
                );
            }
        }
    }
    let mut document = Document::default();
    document.extend(tables::preface(&[], &records));
    document.extend(table::blocks(&records));
    let text = document.markdown();
    let page = path.with_extension("md");
    fs::write(&page, &text)?;
    println!("{text}");
    eprintln!("records: {}\ntable:   {}", path.display(), page.display());
    let errors: u64 = records.iter().map(|r| r.errors).sum();
    if options.short
        && (errors > 0
            || records
                .iter()
                .any(|r| r.requests == 0 && r.mb_per_second == 0.0))
    {
        bail!(Failure::Judged(format!(
            "the comparison does not work: {errors} errors; see the table above"
        )));
    }
    Ok(())
}

#[expect(
    clippy::too_many_arguments,
    reason = "one measurement, every part of it named"
)]
async fn one(
    options: &Options,
    host: Host<'_>,
    dir: &std::path::Path,
    origin: &NginxOrigin,
    contestant: &mut Contestant,
    size: ByteSize,
    round: u32,
    session: &Session,
) -> Result<Comparison> {
    let time = rfc3339(unix_seconds());
    let (before, origin_before) = (contestant.cpu(), origin.cpu());
    let url = format!("http://{}{}", contestant.address, origin::path(size));
    let generator_before = cpu_of_children();
    let found = wrk::run(host, dir, &url, options.connections, options.lasting).await?;
    let generator = cpu_of_children() - generator_before;
    let (usage, origin_after) = (contestant.usage(), origin.cpu());
    if let Some(process) = &mut contestant.process
        && let Some(status) = process.ended()
    {
        bail!(Failure::Judged(format!(
            "{} ended: {status}\n{}",
            contestant.name,
            process.last_words()
        )));
    }
    let cpu = usage.cpu_seconds - before;
    let (seconds, requests, bytes) = (
        found.micros as f64 / 1e6,
        found.requests as f64,
        found.bytes as f64,
    );
    Ok(Comparison {
        kind: "compare".to_owned(),
        time,
        session: session.clone(),
        peer: contestant.name.clone(),
        version: contestant.version.clone(),
        round,
        size: size.bytes(),
        connections: options.connections,
        seconds,
        requests: found.requests,
        requests_per_second: requests / seconds,
        mb_per_second: bytes / 1e6 / seconds,
        p50_ms: found.p50_us / 1e3,
        p95_ms: found.p95_us / 1e3,
        p99_ms: found.p99_us / 1e3,
        errors: found.errors + found.status_errors,
        cpu_us_per_request: cpu * 1e6 / requests,
        cpu_seconds_per_gb: cpu / (bytes / 1e9),
        cpu_seconds: cpu,
        origin_cpu_seconds: origin_after - origin_before,
        generator_cpu_seconds: generator,
        memory_bytes: usage.memory_bytes,
    })
}
