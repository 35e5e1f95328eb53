//! One run: builds the network, starts origin, contestant and clients, watches them, and takes everything down again.

use std::{
    net::Ipv4Addr,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use fileproxy_testbed::random::mix;
use tokio::process::{Child, Command};

use super::{
    case::{Choice, Trial, Where},
    watch::{counts, watch},
};
use crate::{
    client::plan::Plan,
    lab::Session,
    link::emulator::Passed,
    moment::{rfc3339, unix_seconds},
    network::{Layout, Network, ORIGIN_LISTEN, PROXY_LISTEN, client_address},
    origin::server::Counts,
    peer::{Peer, Place},
    process::Running,
    record::{ProxyCost, Record},
    sys,
    units::Span,
};

/// A client gives up when nothing comes for so long: longer than any contestant waits.
const PATIENCE: Span = Span::new(Duration::from_secs(125));
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
        lines: trial.case.per_client.then_some(clients),
        congestion: choice.congestion.clone(),
        seed,
    })?;
    // A folder of its own for each run: no cache is left from the one before.
    let mut place = Place {
        unlimited: trial.faults.is_none(),
        loopback: false,
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
        addresses: if trial.case.per_client {
            (0..clients).map(client_address).collect()
        } else {
            Vec::<Ipv4Addr>::new()
        },
        patience: PATIENCE,
        ready_within: Span::new(Duration::from_secs(40)),
        work: trial.work_for(peer),
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
            memory_store_bytes: watched.store,
        },
        origin_bytes_per_delivered: counts.bytes as f64 / bytes.max(1.0),
        origin: counts,
        clients,
        congestion_seen: watched.congestion,
        line_busy_percent: (!trial.case.per_client).then(|| {
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
