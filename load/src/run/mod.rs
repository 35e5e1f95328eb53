//! A run: every contestant before the same network, origin and clients, in turn and repeatedly.
//!
//! [`case`] says what is to be run, [`mod@promises`] what is for the promises of the replaced service, [`stage`] builds the network and starts the processes of one run,
//! [`watch`] looks at them while they run, this module walks
//! through all of them and keeps the records.

pub mod case;
pub mod progress;
pub mod promises;
mod records;
pub mod stage;
pub mod watch;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use self::{
    case::{Choice, Trial},
    records::Records,
};
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
    let stamp = rfc3339(unix_seconds()).replace(':', "");
    let path = lab.out.join(format!("run-{stamp}.jsonl"));
    let steps = steps(trials, choice, |_| choice.peers.clone());
    perform(lab, choice, &steps, path, "fileproxy-high").await
}

/// Runs what the replaced service's promises are held to. A call that was ended before goes on where it was: what is done is
/// kept in a file for each commit.
///
/// # Errors
///
/// As [`run`].
pub async fn promises(lab: &Lab, choice: &Choice) -> Result<()> {
    let trials = promises::trials(lab, choice)?;
    let short = if choice.short { "-short" } else { "" };
    let name = format!("promises-{}{short}.jsonl", lab.machine().commit);
    let (second, first) = trials.into_iter().partition(promises::is_second);
    let mut steps = steps(first, choice, promises::peers);
    steps.extend(self::steps(second, choice, promises::peers));
    perform(lab, choice, &steps, lab.out.join(name), "fileproxy-store").await
}

/// One run to do.
struct Step {
    trial: Trial,
    peer: String,
    /// From 0.
    round: u32,
}

/// All runs in their order. Each round begins with another contestant, so that none always follows the same one.
fn steps(trials: Vec<Trial>, choice: &Choice, peers: impl Fn(&Trial) -> Vec<String>) -> Vec<Step> {
    let mut steps = Vec::new();
    for round in 0..choice.repeat {
        for trial in &trials {
            let peers = peers(trial);
            for n in 0..peers.len() {
                steps.push(Step {
                    trial: trial.clone(),
                    peer: peers[(n + round as usize) % peers.len()].clone(),
                    round,
                });
            }
        }
    }
    steps
}

/// Does the runs that are not in the file of records yet; prints a table of all at the end, with the ratios of one contestant.
async fn perform(
    lab: &Lab,
    choice: &Choice,
    steps: &[Step],
    path: PathBuf,
    of: &str,
) -> Result<()> {
    if !sys::is_root() {
        bail!(Failure::NotRoot("load run"));
    }
    let swept = sweep();
    if swept > 0 {
        eprintln!("removed {swept} namespaces of a run that was killed");
    }
    let mut records = Records::open(path)?;
    let done = |step: &Step| records.has(&step.trial.case, &step.peer, step.round + 1);
    let left: Vec<_> = steps.iter().filter(|step| !done(step)).collect();
    let folder = lab.out.join(format!("run-{}", std::process::id()));
    let mut peers = BTreeMap::new();
    for step in &left {
        if !peers.contains_key(&step.peer) {
            let prepared = prepare(lab, choice, &step.peer, &folder)?;
            peers.insert(step.peer.clone(), prepared);
        }
    }
    let expected: Duration = left
        .iter()
        .map(|step| step.trial.expected(&peers[&step.peer].0))
        .sum();
    eprintln!(
        "{} runs{}, at most {:.0} min; records go to {}",
        steps.len(),
        match steps.len() - left.len() {
            0 => String::new(),
            done => format!(", {done} of them done before"),
        },
        (expected.as_secs_f64() / 60.0).ceil(),
        records.path().display()
    );
    let session = (records.session().cloned()).unwrap_or_else(|| lab.session());
    let result = all(&left, steps.len(), &peers, choice, &session, &mut records).await;
    _ = std::fs::remove_dir_all(folder);
    result?;
    let mut document = Document::default();
    document.extend(tables::cases(records.all(), of, false));
    println!("{}", document.markdown());
    eprintln!(
        "records: {}\nreport:  load report {} --of {of} --out DIR",
        records.path().display(),
        records.path().display()
    );
    judge(records.all(), choice.short)
}

/// A contestant, where it runs, and its version.
type Prepared = (Peer, Place, String);

fn prepare(lab: &Lab, choice: &Choice, name: &str, folder: &Path) -> Result<Prepared> {
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
        dir: folder.join(name),
        out: lab.out.clone(),
        fileproxy,
        unlimited: true,
        loopback: false,
    };
    peer.set_up(&place)?;
    let version = peer.version(&place)?;
    Ok((peer, place, version))
}

async fn all(
    left: &[&Step],
    total: usize,
    peers: &BTreeMap<String, Prepared>,
    choice: &Choice,
    session: &Session,
    records: &mut Records,
) -> Result<()> {
    let before = total - left.len();
    for (n, step) in left.iter().enumerate() {
        let (peer, place, version) = &peers[&step.peer];
        let trial = &step.trial;
        let label = format!(
            "{}/{total} {} | {} round {}",
            before + n + 1,
            trial.case.title(),
            peer.name,
            step.round + 1
        );
        let begin = Instant::now();
        let record = stage::perform(
            trial, peer, place, version, choice, step.round, session, &label,
        )
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
        records.add(record)?;
    }
    Ok(())
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
