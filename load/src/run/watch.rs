//! Watches a run: what the clients tell, what the contestant uses, and that the congestion control holds.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Child,
    time::{MissedTickBehavior, interval},
};

use super::{case::Choice, progress::Progress};
use crate::{
    client::{
        connection::{Client, Delivered},
        event::Event,
        tally::Summary,
        verdict::{Expected, Verdict},
    },
    congestion,
    failure::Failure,
    host::Host,
    namespace::Namespace,
    network::{Network, ORIGIN_LISTEN},
    origin::server::{COUNTS, Counts},
    peer::Peer,
    process::Running,
    record::Hosts,
    usage::Usage,
};

/// Between two looks at the sockets.
const LOOK: Duration = Duration::from_secs(4);

/// How things stand at the begin and the end of the counted time.
#[derive(Clone, Copy, Default)]
pub struct Mark {
    /// CPU seconds of the contestant.
    pub cpu: f64,
    /// What the origin handed out.
    pub counts: Counts,
    /// Bytes each bad link carried toward the client.
    pub carried: [u64; 2],
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
pub struct Watched {
    /// What the clients saw, once they are done.
    pub summary: Option<Summary>,
    /// The begin of the counted time.
    pub begin: Mark,
    /// Its end.
    pub end: Mark,
    /// Memory of the contestant before the clients came, in bytes.
    pub idle: u64,
    /// The most memory seen, in bytes.
    pub peak: u64,
    /// What the contestant's store took of it at the end of the counted time, in bytes.
    pub store: u64,
    /// Sockets by congestion control, the most at one time.
    pub congestion: Hosts<congestion::Seen>,
}

/// What the origin handed out so far.
pub fn counts(network: &Network) -> Result<Counts> {
    let text = asked(&network.origin, ORIGIN_LISTEN, COUNTS).context("the origin's counts")?;
    Ok(serde_json::from_slice(&text)?)
}

/// What fileproxy's store takes in memory, in bytes, as its operators' address on its own loopback says.
fn store_memory(network: &Network) -> Result<u64> {
    let operators = SocketAddr::from((Ipv4Addr::LOCALHOST, 10081));
    let text = asked(&network.proxy, operators, "/stats").context("the contestant's /stats")?;
    let stats: serde_json::Value = serde_json::from_slice(&text)?;
    let used = stats["store"]["memory"]["used_bytes"].as_u64();
    Ok(used.unwrap_or_default())
}

/// A body that a host gets from itself, beside the link.
fn asked(host: &Namespace, from: SocketAddr, path: &'static str) -> Result<Vec<u8>> {
    Host::In(host).inside(move || -> Result<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let patience = Duration::from_secs(2);
            let mut client = Client::new(from, None, patience, Delivered::default());
            let outcome = client.get(path, &Expected::Text).await;
            match outcome.verdict {
                Verdict::Completed => Ok(outcome.text),
                other => Err(anyhow!("{other:?}")),
            }
        })
    })?
}

/// Listens to the clients until they are done.
///
/// # Errors
///
/// A process ended by itself, or the congestion control does not hold.
pub async fn watch(
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
                        if peer.is_fileproxy() {
                            watched.store = store_memory(network)?;
                        }
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
