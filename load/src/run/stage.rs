//! One run: builds the network, starts origin, contestant and clients, watches them, and takes everything down again.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{MissedTickBehavior, interval},
};

use super::case::{Choice, Trial, Where};
use crate::{
    client::{
        connection::{Client, Delivered},
        event::Event,
        plan::Plan,
        tally::Summary,
        verdict::{Expected, Verdict},
    },
    congestion,
    failure::Failure,
    host::Host,
    lab::Session,
    link::emulator::Passed,
    moment::{rfc3339, unix_seconds},
    network::{Layout, Network, ORIGIN, PROXY, client_address},
    origin::server::{COUNTS, Counts},
    peer::{Peer, Place},
    process::Running,
    random::mix,
    record::{Hosts, ProxyCost, Record},
    sys,
    units::Span,
    usage::Usage,
};

/// Where every contestant listens.
pub const PROXY_LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(PROXY, 10_080));
/// Where the origin listens.
pub const ORIGIN_LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(ORIGIN, 27_804));

/// A client gives up when nothing comes for so long: longer than any contestant waits.
const PATIENCE: Span = Span::new(Duration::from_secs(125));
/// Between two looks at the sockets.
const LOOK: Duration = Duration::from_secs(4);

/// How things stand at the begin and the end of the counted time.
#[derive(Clone, Copy, Default)]
struct Mark {
    /// CPU seconds of the contestant.
    cpu: f64,
    /// What the origin handed out.
    counts: Counts,
    /// Bytes each bad link carried toward the client.
    carried: [u64; 2],
}

impl Mark {
    fn now(network: &Network, proxy: &Running) -> Result<Self> {
        let carried = [network.client_link(), network.origin_link()]
            .map(|link| link.map_or(0, |l| l.down.delivered_bytes));
        let cpu = Usage::cpu_of_group(proxy.group()).cpu_seconds;
        Ok(Self {
            cpu,
            counts: counts(network)?,
            carried,
        })
    }
}

/// What was seen while the clients ran.
#[derive(Default)]
struct Watched {
    summary: Option<Summary>,
    begin: Mark,
    end: Mark,
    idle: u64,
    peak: u64,
    congestion: Hosts<congestion::Seen>,
}

/// Runs one contestant in one case.
///
/// # Errors
///
/// Something does not start, ends by itself, or uses another congestion control than asked for.
#[expect(clippy::too_many_arguments, reason = "one run, every part of it named")]
pub async fn perform(
    trial: &Trial,
    peer: &Peer,
    place: &Place,
    version: &str,
    choice: &Choice,
    round: u32,
    session: &Session,
    label: &str,
) -> Result<Record> {
    let time = rfc3339(unix_seconds());
    let seed = mix(choice.seed ^ (u64::from(round) << 32));
    let clients = trial.case.clients;
    let network = Network::build(&Layout {
        client_link: (trial.place != Where::Origin).then(|| trial.scenario.link.clone()),
        origin_link: (trial.place != Where::Client).then(|| trial.scenario.link.clone()),
        lines: choice.per_client.then_some(clients),
        congestion: choice.congestion.clone(),
        seed,
    })?;
    // A folder of its own for each run: no cache is left from the one before.
    let mut place = Place {
        unlimited: trial.faults.is_none(),
        ..place.clone()
    };
    _ = std::fs::remove_dir_all(&place.dir);
    std::fs::create_dir_all(&place.dir)?;
    place.dir = std::fs::canonicalize(&place.dir)?;
    let mut origin = start_origin(trial, &network, &place, seed)?;
    let (words, env) = peer.prepare(&place)?;
    let (program, rest) = words.split_first().context("no command")?;
    let mut command = network.proxy.command(program);
    command.args(rest).envs(env).current_dir(&place.dir);
    let mut proxy = Running::start(command, &place.dir.join("log"))?;
    let plan = Plan {
        proxy: PROXY_LISTEN,
        seed,
        clients,
        addresses: if choice.per_client {
            (0..clients).map(client_address).collect()
        } else {
            Vec::<Ipv4Addr>::new()
        },
        patience: PATIENCE,
        ready_within: Span::new(Duration::from_secs(40)),
        work: trial.work.clone(),
    };
    let crowd = start_clients(&plan, &network, &place)?;
    let watched = watch(
        crowd,
        &network,
        &mut origin,
        &mut proxy,
        peer,
        choice,
        label,
    )
    .await?;
    let Some(clients) = watched.summary else {
        bail!("the clients ended without a result")
    };
    let (client_link, origin_link) = (network.client_link(), network.origin_link());
    let (completed, bytes) = (clients.completed as f64, clients.bytes as f64);
    let seconds = clients.seconds;
    let cpu = watched.end.cpu - watched.begin.cpu;
    let counts = difference(watched.end.counts, watched.begin.counts);
    Ok(Record {
        kind: "run".to_owned(),
        time,
        session: session.clone(),
        case: trial.case.clone(),
        peer: peer.name.clone(),
        version: version.to_owned(),
        round: round + 1,
        seed,
        proxy: ProxyCost {
            cpu_seconds: cpu,
            cpu_us_per_request: cpu * 1e6 / completed.max(1.0),
            cpu_seconds_per_gb: cpu / (bytes.max(1.0) / 1e9),
            memory_idle_bytes: watched.idle,
            memory_peak_bytes: watched.peak,
        },
        origin_bytes_per_delivered: counts.bytes as f64 / bytes.max(1.0),
        origin: counts,
        clients,
        congestion_seen: watched.congestion,
        line_busy_percent: (!choice.per_client).then(|| {
            let [a, b] = [0, 1].map(|n| watched.end.carried[n] - watched.begin.carried[n]);
            100.0 * a.max(b) as f64 * 8.0 / seconds.max(1e-3) / trial.case.rate_bits
        }),
        late_percent: late([client_link, origin_link]),
        client_link,
        origin_link,
    })
}

fn start_origin(trial: &Trial, network: &Network, place: &Place, seed: u64) -> Result<Running> {
    let program = std::env::current_exe()?;
    let mut command = network.origin.command(&program.to_string_lossy());
    command.args([
        "origin",
        "--listen",
        &ORIGIN_LISTEN.to_string(),
        "--seed",
        &seed.to_string(),
    ]);
    command.args([
        "--segment",
        &trial.live.segment.to_string(),
        "--bitrate",
        &trial.live.bitrate.to_string(),
    ]);
    if let Some(f) = &trial.faults {
        command.args(["--misbehave", "--cut-mean", &f.cut_mean.to_string()]);
        command.args([
            "--reset-share",
            &f.reset_share.to_string(),
            "--stall-share",
            &f.stall_share.to_string(),
        ]);
        command.args(["--stall-for", &f.stall_for.to_string()]);
        command.args(["--unavailable-every", &f.unavailable_every.to_string()]);
        command.args(["--unavailable-for", &f.unavailable_for.to_string()]);
    }
    let origin = Running::start(command, &place.dir.join("origin.log"))?;
    let begin = Instant::now();
    while counts(network).is_err() {
        if begin.elapsed() > Duration::from_secs(5) {
            bail!("the origin does not start: {}", origin.last_words());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(origin)
}

fn start_clients(plan: &Plan, network: &Network, place: &Place) -> Result<Child> {
    let path = place.dir.join("plan.json");
    std::fs::write(&path, serde_json::to_string(plan)?)?;
    let program = std::env::current_exe()?;
    let mut command = network.client.command(&program.to_string_lossy());
    command
        .arg("clients")
        .arg("--plan")
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    sys::die_with_parent(&mut command);
    Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .context("starting the clients")
}

/// What the origin handed out so far, asked for on its own host, beside the link.
fn counts(network: &Network) -> Result<Counts> {
    Host::In(&network.origin).inside(|| -> Result<Counts> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut client = Client::new(
                ORIGIN_LISTEN,
                None,
                Duration::from_secs(2),
                Delivered::default(),
            );
            let outcome = client.get(COUNTS, &Expected::Text).await;
            match outcome.verdict {
                Verdict::Completed => Ok(serde_json::from_slice(&outcome.text)?),
                other => Err(anyhow!("the origin's counts: {other:?}")),
            }
        })
    })?
}

async fn watch(
    mut crowd: Child,
    network: &Network,
    origin: &mut Running,
    proxy: &mut Running,
    peer: &Peer,
    choice: &Choice,
    label: &str,
) -> Result<Watched> {
    let mut lines = BufReader::new(crowd.stdout.take().context("no output")?).lines();
    let known = congestion::known();
    let mut watched = Watched::default();
    let mut tick = interval(Duration::from_millis(500));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut progress = Progress::new(label);
    let mut counting = false;
    let mut looked = Instant::now();
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line? else { break };
                match serde_json::from_str(&line).with_context(|| line.clone())? {
                    Event::Ready => watched.idle = Usage::of_group(proxy.group()).memory_bytes,
                    Event::Begin => {
                        counting = true;
                        // The first look comes soon: a short run has little time.
                        looked = Instant::now().checked_sub(LOOK * 3 / 4).unwrap_or(looked);
                        watched.begin = Mark::now(network, proxy)?;
                    }
                    Event::Progress { completed, bytes } => progress.show(completed, bytes),
                    Event::End => {
                        counting = false;
                        watched.end = Mark::now(network, proxy)?;
                    }
                    Event::Result { summary } => watched.summary = Some(*summary),
                    Event::Broken { why } => {
                        progress.clear();
                        let words = [proxy.last_words(), origin.last_words()].join("\n");
                        bail!(Failure::Judged(format!("{label}: {why}\n{}", words.trim())));
                    }
                }
            }
            _ = tick.tick() => {
                watched.peak = watched.peak.max(Usage::of_group(proxy.group()).memory_bytes);
                for (what, process) in [("the contestant", &mut *proxy), ("the origin", &mut *origin)] {
                    if let Some(status) = process.ended() {
                        progress.clear();
                        bail!(Failure::Judged(format!("{label}: {what} ended: {status}\n{}", process.last_words())));
                    }
                }
                if network.broken() {
                    bail!("{label}: the link's emulator ended");
                }
                if counting && looked.elapsed() >= LOOK {
                    looked = Instant::now();
                    look(network, &known, &mut watched.congestion)?;
                    hold(&watched.congestion, peer, choice)?;
                }
            }
        }
    }
    progress.clear();
    crowd.wait().await?;
    Ok(watched)
}

fn look(network: &Network, known: &[String], seen: &mut Hosts<congestion::Seen>) -> Result<()> {
    congestion::most(&mut seen.client, congestion::seen(&network.client, known)?);
    congestion::most(&mut seen.proxy, congestion::seen(&network.proxy, known)?);
    congestion::most(&mut seen.origin, congestion::seen(&network.origin, known)?);
    Ok(())
}

/// The asked-for congestion control must hold on every host, but for a contestant that says it picks its own.
fn hold(seen: &Hosts<congestion::Seen>, peer: &Peer, choice: &Choice) -> Result<()> {
    for (host, seen) in [
        ("client", &seen.client),
        ("proxy", &seen.proxy),
        ("origin", &seen.origin),
    ] {
        if host == "proxy" && peer.recipe.chooses_congestion {
            continue;
        }
        if let Some(other) = seen.keys().find(|name| **name != choice.congestion) {
            bail!(Failure::Judged(format!(
                "the sockets of the {host} with {} use {other}, not {}: the comparison would not be fair",
                peer.name, choice.congestion
            )));
        }
    }
    Ok(())
}

const fn difference(a: Counts, b: Counts) -> Counts {
    Counts {
        requests: a.requests - b.requests,
        bytes: a.bytes - b.bytes,
        connections: a.connections - b.connections,
        broken: a.broken - b.broken,
        unavailable: a.unavailable - b.unavailable,
    }
}

/// Packets handed over late, in percent.
fn late(links: [Option<Passed>; 2]) -> f64 {
    let (mut late, mut all) = (0, 0);
    for link in links.into_iter().flatten() {
        late += link.up.late + link.down.late;
        all += link.up.delivered + link.down.delivered;
    }
    100.0 * late as f64 / (all.max(1)) as f64
}

/// One line on the terminal that is written over; in a file, a line every ten seconds.
struct Progress<'a> {
    label: &'a str,
    begin: Instant,
    shown: Instant,
    terminal: bool,
}

impl<'a> Progress<'a> {
    fn new(label: &'a str) -> Self {
        use std::io::IsTerminal as _;
        Self {
            label,
            begin: Instant::now(),
            shown: Instant::now(),
            terminal: std::io::stderr().is_terminal(),
        }
    }

    fn show(&mut self, completed: u64, bytes: u64) {
        let text = format!(
            "{} {:3.0} s: {completed} completed, {:.1} MB",
            self.label,
            self.begin.elapsed().as_secs_f64(),
            bytes as f64 / 1e6
        );
        if self.terminal {
            eprint!("\r\x1b[K{text}");
        } else if self.shown.elapsed() > Duration::from_secs(10) {
            self.shown = Instant::now();
            eprintln!("{text}");
        }
    }

    fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}
