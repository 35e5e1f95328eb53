//! The loopback comparison: the same requests through every contestant, all on the same CPUs before one nginx origin.
//!
//! No link here: this asks what a proxy costs when the network is perfect.

mod origin;
mod slow;
pub mod table;
mod wrk;

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use self::origin::NginxOrigin;
use crate::{
    client::{
        connection::{Client, Delivered},
        verdict::{Expected, Verdict},
    },
    content::Content,
    failure::Failure,
    host::Host,
    lab::{Lab, Session},
    moment::{rfc3339, unix_seconds},
    namespace::{Namespace, sweep},
    peer::{Peer, Place},
    process::Running,
    report::{document::Document, tables},
    sys,
    units::ByteSize,
    usage::Usage,
};

/// The name under which the origin itself is measured, without a proxy.
pub const DIRECT: &str = "direct";

/// What to compare.
#[derive(Clone, Debug)]
pub struct Options {
    /// Contestants, in this order.
    pub peers: Vec<String>,
    /// Body sizes.
    pub sizes: Vec<ByteSize>,
    /// Connections at the same time.
    pub connections: u32,
    /// How long each measurement lasts.
    pub lasting: Duration,
    /// Rounds.
    pub repeat: u32,
    /// Workers of each proxy.
    pub workers: usize,
    /// So many slow readers of the largest size, instead of full speed.
    pub slow_readers: Option<usize>,
    /// Only that it works, and that bodies are right.
    pub short: bool,
}

/// One measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Comparison {
    /// Always "compare".
    pub kind: String,
    /// When it began (RFC 3339).
    pub time: String,
    /// The call of the lab it belongs to; rounds are compared within it.
    pub session: Session,
    /// The contestant.
    pub peer: String,
    /// Its version line.
    pub version: String,
    /// Round, from 1.
    pub round: u32,
    /// Body size in bytes.
    pub size: u64,
    /// Connections at the same time.
    pub connections: u32,
    /// Length in seconds.
    pub seconds: f64,
    /// Requests answered in full.
    pub requests: u64,
    /// Requests per second.
    pub requests_per_second: f64,
    /// Bytes received, heads included, per second, in 1,000,000.
    pub mb_per_second: f64,
    /// Median time of a request in milliseconds.
    pub p50_ms: f64,
    /// 95th percentile in milliseconds.
    pub p95_ms: f64,
    /// 99th percentile in milliseconds.
    pub p99_ms: f64,
    /// Requests that failed, with an error status or without an answer.
    pub errors: u64,
    /// CPU microseconds of the proxy for one request.
    pub cpu_us_per_request: f64,
    /// CPU seconds of the proxy for 1,000,000,000 bytes.
    pub cpu_seconds_per_gb: f64,
    /// CPU seconds of the proxy in the measurement.
    pub cpu_seconds: f64,
    /// CPU seconds of the origin.
    pub origin_cpu_seconds: f64,
    /// Memory of the proxy right after, in bytes.
    pub memory_bytes: u64,
}

/// A started contestant.
struct Contestant {
    name: String,
    version: String,
    address: SocketAddr,
    process: Option<Running>,
}

impl Contestant {
    fn usage(&self) -> Usage {
        self.process
            .as_ref()
            .map_or_else(Usage::default, |p| Usage::of_group(p.group()))
    }

    fn cpu(&self) -> f64 {
        self.process
            .as_ref()
            .map_or(0.0, |p| Usage::cpu_of_group(p.group()).cpu_seconds)
    }
}

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
    let origin = NginxOrigin::start(host, lab, dir, &options.sizes)?;
    let mut contestants = Vec::new();
    for (n, name) in options.peers.iter().enumerate() {
        contestants.push(start(lab, options, host, dir, &origin, name, n)?);
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

fn start(
    lab: &Lab,
    options: &Options,
    host: Host<'_>,
    dir: &std::path::Path,
    origin: &NginxOrigin,
    name: &str,
    number: usize,
) -> Result<Contestant> {
    if name == DIRECT {
        return Ok(Contestant {
            name: name.to_owned(),
            version: "the origin itself".to_owned(),
            address: origin.address,
            process: None,
        });
    }
    let peer = Peer::read(&lab.peers(), name)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 18_100 + u16::try_from(number)?));
    let place = Place {
        listen: address,
        origin: origin.address,
        workers: options.workers,
        dir: dir.join(name),
        out: lab.out.clone(),
        fileproxy: if peer.is_fileproxy() {
            lab.fileproxy()?
        } else {
            PathBuf::new()
        },
        unlimited: true,
    };
    let version = peer.version(&place)?;
    peer.set_up(&place)?;
    let (words, env) = peer.prepare(&place)?;
    let (program, rest) = words.split_first().context("no command")?;
    let mut command: Command = host.command(program);
    command.args(rest).envs(env).current_dir(&place.dir);
    let process = Running::start(command, &place.dir.join("log"))?;
    Ok(Contestant {
        name: name.to_owned(),
        version,
        address,
        process: Some(process),
    })
}

/// Waits until the contestant answers and checks one body of each size through it.
fn verify(host: Host<'_>, contestant: &mut Contestant, sizes: &[ByteSize]) -> Result<()> {
    let (address, sizes) = (contestant.address, sizes.to_vec());
    let verdict = host.inside(move || -> Result<std::result::Result<(), String>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(runtime.block_on(async {
            let mut client =
                Client::new(address, None, Duration::from_secs(10), Delivered::default());
            for size in sizes {
                let path = origin::path(size);
                let expected = Expected::File {
                    content: Content::of(0, &path),
                    length: size.bytes(),
                    from: 0,
                };
                let start = Instant::now();
                loop {
                    let outcome = client.get(&path, &expected).await;
                    match outcome.verdict {
                        Verdict::Completed => break,
                        // Not listening yet.
                        Verdict::Failed(_) if start.elapsed() < Duration::from_secs(15) => {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                        other => {
                            return Err(format!("{path}: {other:?}, status {}", outcome.status));
                        }
                    }
                }
            }
            Ok(())
        }))
    })??;
    if let Err(why) = verdict {
        let ended = contestant.process.as_mut().and_then(Running::ended);
        let log = contestant
            .process
            .as_ref()
            .map(Running::last_words)
            .unwrap_or_default();
        let ended = ended.map(|s| format!(" ({s})")).unwrap_or_default();
        bail!(Failure::Judged(format!(
            "{}{ended} does not serve: {why}\n{log}",
            contestant.name
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
    let found = wrk::run(host, dir, &url, options.connections, options.lasting).await?;
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
        memory_bytes: usage.memory_bytes,
    })
}
