//! A run: every contestant before the same network, origin and clients, in turn and repeatedly.
//!
//! [`case`] says what is to be run, [`stage`] builds the network and starts the processes of one run,
//! [`watch`] looks at them while they run, this module walks
//! through all of them and keeps the records.

pub mod case;
pub mod progress;
pub mod stage;
pub mod watch;

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use self::case::{Choice, Trial};
use crate::{
    failure::Failure,
    lab::{Lab, Session},
    moment::{rfc3339, unix_seconds},
    namespace::sweep,
    network::{ORIGIN_LISTEN, PROXY_LISTEN},
    peer::{Peer, Place},
    record::Record,
    report::{document::Document, tables},
    sys,
};

/// Runs everything chosen; prints a table at the end.
///
/// # Errors
///
/// No root, a missing program, a congestion control that does not hold, or a wrong body.
pub async fn run(lab: &Lab, choice: &Choice) -> Result<()> {
    let trials = case::trials(lab, choice)?;
    if !sys::is_root() {
        bail!(Failure::NotRoot("load run"));
    }
    let swept = sweep();
    if swept > 0 {
        eprintln!("removed {swept} namespaces of a run that was killed");
    }
    let mut peers = Vec::new();
    for name in &choice.peers {
        let peer = Peer::read(&lab.peers(), name)?;
        let fileproxy = if peer.is_fileproxy() {
            lab.fileproxy()?
        } else {
            PathBuf::new()
        };
        let place = Place {
            listen: PROXY_LISTEN,
            origin: ORIGIN_LISTEN,
            workers: choice.workers,
            dir: lab
                .out
                .join(format!("run-{}", std::process::id()))
                .join(name),
            out: lab.out.clone(),
            fileproxy,
            unlimited: true,
            loopback: false,
        };
        peer.set_up(&place)?;
        let version = peer.version(&place)?;
        peers.push((peer, place, version));
    }
    let stamp = rfc3339(unix_seconds()).replace(':', "");
    let path = lab.out.join(format!("run-{stamp}.jsonl"));
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    let total = trials.len() * peers.len() * choice.repeat as usize;
    let expected: Duration = trials.iter().map(Trial::expected).sum();
    eprintln!(
        "{total} runs, at most {:.0} min; records go to {}",
        (expected.as_secs_f64() * (peers.len() * choice.repeat as usize) as f64 / 60.0).ceil(),
        path.display()
    );
    let session = lab.session();
    let result = all(&trials, &peers, choice, &session, &mut file).await;
    _ = std::fs::remove_dir_all(lab.out.join(format!("run-{}", std::process::id())));
    let records = result?;
    let mut document = Document::default();
    document.extend(tables::cases(&records, "fileproxy-high", false));
    println!("{}", document.markdown());
    eprintln!(
        "records: {}\nreport:  load report {} --out DIR",
        path.display(),
        path.display()
    );
    judge(&records, choice.short)
}

async fn all(
    trials: &[Trial],
    peers: &[(Peer, Place, String)],
    choice: &Choice,
    session: &Session,
    file: &mut File,
) -> Result<Vec<Record>> {
    let total = trials.len() * peers.len() * choice.repeat as usize;
    let mut records = Vec::new();
    for round in 0..choice.repeat {
        for trial in trials {
            for n in 0..peers.len() {
                // Each round begins with another contestant, so that none always follows the same one.
                let (peer, place, version) = &peers[(n + round as usize) % peers.len()];
                let label = format!(
                    "{}/{total} {} | {} round {}",
                    records.len() + 1,
                    trial.case.title(),
                    peer.name,
                    round + 1
                );
                let begin = Instant::now();
                let record =
                    stage::perform(trial, peer, place, version, choice, round, session, &label)
                        .await?;
                let c = &record.clients;
                eprintln!(
                    "{label}: {:.1} requests/s, {:.2} Mbit/s, p50 {:.0} p95 {:.0} p99 {:.0} ms, completed {} failed {} \
                     truncated {} wrong {} unfinished {}{} ({:.0} s)",
                    c.requests_per_second,
                    c.goodput_bits / 1e6,
                    c.total_ms.p50,
                    c.total_ms.p95,
                    c.total_ms.p99,
                    c.completed,
                    c.failed,
                    c.truncated,
                    c.wrong,
                    c.unfinished,
                    c.viewing
                        .map(|v| format!(", stalled {:.1} %", v.rebuffering * 100.0))
                        .unwrap_or_default(),
                    begin.elapsed().as_secs_f64(),
                );
                writeln!(file, "{}", serde_json::to_string(&record)?)?;
                records.push(record);
            }
        }
    }
    Ok(records)
}

/// A wrong body is never right. The short form also wants that every run brought something, and that nothing broke
/// where no fault was asked for.
fn judge(records: &[Record], short: bool) -> Result<()> {
    let mut found = Vec::new();
    for record in records {
        let c = &record.clients;
        let what = format!("{} with {}", record.case.title(), record.peer);
        if c.wrong > 0 {
            found.push(format!("{} wrong bodies: {what}", c.wrong));
        }
        if short
            && c.completed == 0
            && !matches!(record.case.workload.as_str(), "download" | "broken")
        {
            found.push(format!("nothing completed: {what}: {:?}", c.reasons));
        }
        if short && c.bytes == 0 {
            found.push(format!("nothing came: {what}: {:?}", c.reasons));
        }
        if short && c.truncated > 0 && record.case.workload != "faults" {
            found.push(format!(
                "{} broken bodies without a fault: {what}: {:?}",
                c.truncated, c.reasons
            ));
        }
    }
    if found.is_empty() {
        Ok(())
    } else {
        bail!(Failure::Judged(found.join("\n")))
    }
}
