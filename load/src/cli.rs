//! The command line.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::{
    client::{crowd, event::Event, plan::Plan},
    compare,
    failure::Failure,
    lab::Lab,
    link::trial,
    live::Live,
    origin::{fault::Faults, server},
    page,
    peer::Peer,
    report,
    run::{
        self,
        case::{Choice, Where, Workload},
    },
    scenario::{self, Scenario},
    units::{BitRate, ByteSize, Span},
};

/// Compares proxies for files on bad networks: real TCP over an emulated link that really loses packets.
#[derive(Debug, Parser)]
#[command(
    name = "load",
    version,
    propagate_version = true,
    after_help = "\
Exit codes: 0 done; 1 something failed or was judged wrong; 2 asked for something that does not exist; \
3 not root, or a program is missing; 130 interrupted."
)]
pub struct Cli {
    #[command(flatten)]
    places: Places,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Places {
    /// Folder with scenarios/ and peers/ [default: ./load, or where the lab was built]
    #[arg(long, global = true, value_name = "DIR")]
    lab: Option<PathBuf>,
    /// Folder for results [default: out in the lab's folder; for report: ./report]
    #[arg(long, global = true, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The fileproxy binary [default: the one beside this program, else it is built]
    #[arg(long, global = true, value_name = "PATH")]
    fileproxy: Option<PathBuf>,
    /// How many CPUs everything runs on together: clients, contestant, origin and link
    #[arg(long, global = true, value_name = "N", default_value_t = 2)]
    cpus: usize,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs contestants on a bad network (needs root)
    Run(Run),
    /// Compares contestants on the loopback, without a bad link
    Compare(Compare),
    /// Fetches a page of many small files by HTTP/1.1 and by HTTP/2, over TLS and a bad link (needs root)
    Page(Page),
    /// Makes a report of records: report.md, report.html and plots
    Report {
        /// Files with records, one JSON line each
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The contestant whose ratio to each other one is shown
        #[arg(long, value_name = "NAME", default_value = "fileproxy-high")]
        of: String,
    },
    /// Measures the emulated link itself: round trip, loss and throughput beside what was asked (needs root)
    Link {
        /// Scenarios [default: all]
        scenarios: Vec<String>,
        /// Congestion control of the flow
        #[arg(long, value_name = "NAME", default_value = "cubic")]
        congestion: String,
        /// Seeds loss and jitter
        #[arg(long, value_name = "N", default_value_t = 1)]
        seed: u64,
    },
    /// Lists scenarios and contestants
    List,
    /// Serves the lab's origin: files at /file/BYTES/NAME, a live stream at /live/stream.m3u8
    Origin(Origin),
    #[command(hide = true)]
    Clients {
        #[arg(long)]
        plan: PathBuf,
    },
}

#[derive(Debug, Args)]
struct Run {
    /// Scenarios: files under scenarios/, without .toml; or "promises": all that the replaced service promised, where a call that
    /// was ended before goes on where it was
    #[arg(required = true, value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// Where the bad link is, with commas [default: client]
    #[arg(long = "where", value_enum, value_delimiter = ',')]
    places: Vec<Where>,
    /// What the clients do, with commas [default: mix]
    #[arg(long = "workload", value_enum, value_delimiter = ',')]
    workloads: Vec<Workload>,
    /// Contestants, with commas [default: all]
    #[arg(long, value_delimiter = ',')]
    peers: Vec<String>,
    /// Gives each client a line of its own instead of one for all
    #[arg(long)]
    per_client: bool,
    /// Sizes of downloads, with commas [default: the scenario's]
    #[arg(long = "size", value_delimiter = ',', value_name = "SIZE")]
    sizes: Option<Vec<ByteSize>>,
    /// Clients at the same time [default: the scenario's]
    #[arg(long, value_name = "N")]
    clients: Option<usize>,
    /// The counted time of a run, or the limit of a download [default: the scenario's]
    #[arg(long, value_name = "SPAN")]
    lasting: Option<Span>,
    /// Rounds; in each, every contestant runs once [default: 3, short: 1]
    #[arg(long, value_name = "N")]
    repeat: Option<u32>,
    /// Workers of each contestant
    #[arg(long, value_name = "N", default_value_t = 2)]
    workers: usize,
    /// Congestion control on every host
    #[arg(long, value_name = "NAME", default_value = "cubic")]
    congestion: String,
    /// Seeds network, contents and requests
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Seconds and small numbers: only that it works and that bodies are right
    #[arg(long)]
    short: bool,
}

#[derive(Debug, Args)]
struct Page {
    /// The scenario: a file under scenarios/, without .toml
    #[arg(value_name = "SCENARIO", default_value = "poor")]
    scenario: String,
    /// Files of the page
    #[arg(long, value_name = "N", default_value_t = 50)]
    files: usize,
    /// Length of each
    #[arg(long, default_value = "8KiB")]
    size: ByteSize,
    /// Pages by each protocol
    #[arg(long, value_name = "N", default_value_t = 11)]
    repeat: u32,
    /// Congestion control on every host
    #[arg(long, value_name = "NAME", default_value = "cubic")]
    congestion: String,
    /// Seeds network and contents
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Args)]
struct Origin {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:27804")]
    listen: SocketAddr,
    /// Seeds contents and faults
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Length of a segment of the stream
    #[arg(long, value_name = "SPAN", default_value = "2 s")]
    segment: Span,
    /// Bit rate of the stream
    #[arg(long, value_name = "RATE", default_value = "1 Mbit/s")]
    bitrate: BitRate,
    /// Breaks bodies and answers 503 for a while, as the options below say
    #[arg(long)]
    misbehave: bool,
    #[command(flatten)]
    faults: Faults,
}

#[derive(Debug, Args)]
struct Compare {
    /// Contestants, with commas; "direct" is the origin itself
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "direct,nginx,haproxy,fileproxy-low,fileproxy-high"
    )]
    peers: Vec<String>,
    /// Body sizes, with commas
    #[arg(long, value_delimiter = ',', default_value = "1KiB,64KiB,1MiB,100MB")]
    sizes: Vec<ByteSize>,
    /// Connections at the same time
    #[arg(long, default_value_t = 64)]
    connections: u32,
    /// Length of one measurement [default: 8s]
    #[arg(long, value_name = "SPAN")]
    seconds: Option<Span>,
    /// Rounds [default: 5]
    #[arg(long, value_name = "N")]
    repeat: Option<u32>,
    /// Workers of each proxy
    #[arg(long, default_value_t = 2)]
    workers: usize,
    /// Instead: memory per client of so many that read the largest size slowly
    #[arg(long, value_name = "N")]
    slow_readers: Option<usize>,
    /// The origin forbids caches to keep its responses: what a store costs where it is of no use
    #[arg(long)]
    no_store: bool,
    /// One second and one round: only that it works and that bodies are right
    #[arg(long)]
    short: bool,
}

impl Run {
    async fn run(self, lab: &Lab) -> Result<()> {
        let promises = self.scenarios.iter().any(|name| name == PROMISES);
        if promises && !self.fits_promises() {
            let why = "promises says itself where, what, with whom and how long: only --repeat, --workers, --congestion, --seed \
                       and --short go with it";
            return Err(Failure::Usage(why.to_owned()).into());
        }
        let choice = Choice {
            scenarios: self.scenarios,
            places: match self.places.is_empty() {
                true => vec![Where::Client],
                false => self.places,
            },
            workloads: match self.workloads.is_empty() {
                true => vec![Workload::Mix],
                false => self.workloads,
            },
            peers: match self.peers.is_empty() {
                true => Peer::all(&lab.peers())?
                    .into_iter()
                    .map(|p| p.name)
                    .collect(),
                false => self.peers,
            },
            per_client: self.per_client,
            sizes: self.sizes,
            clients: self.clients,
            lasting: self.lasting,
            repeat: self.repeat.unwrap_or(if self.short { 1 } else { 3 }),
            workers: self.workers,
            congestion: self.congestion,
            seed: self.seed,
            short: self.short,
        };
        if promises {
            run::promises(lab, &choice).await
        } else {
            run::run(lab, &choice).await
        }
    }

    /// Whether nothing is asked for that the promises say themselves.
    fn fits_promises(&self) -> bool {
        let named = [self.places.len(), self.workloads.len(), self.peers.len()];
        self.scenarios.len() == 1
            && named == [0; 3]
            && !self.per_client
            && self.sizes.is_none()
            && self.clients.is_none()
            && self.lasting.is_none()
    }
}

/// Stands for all that the replaced service promised, in place of scenarios.
const PROMISES: &str = "promises";

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    ///
    /// See [`crate::failure`].
    pub async fn run(self) -> Result<()> {
        let Places {
            lab,
            out,
            fileproxy,
            cpus,
        } = self.places;
        let report_folder = out.clone();
        let find = move || Lab::find(lab, out, fileproxy, cpus);
        match self.command {
            Command::Run(r) => r.run(&find()?).await,
            Command::Page(p) => page::page(
                &find()?,
                &page::Options {
                    scenario: p.scenario,
                    files: p.files,
                    size: p.size,
                    repeat: p.repeat,
                    congestion: p.congestion,
                    seed: p.seed,
                },
            ),
            Command::Report { files, of } => {
                let (runs, comparisons) = report::read(&files)?;
                let folder = report_folder.unwrap_or_else(|| PathBuf::from("report"));
                report::write(&report::report(&runs, &comparisons, &of), &folder)?;
                println!("{}", folder.join("report.md").display());
                println!("{}", folder.join("report.html").display());
                Ok(())
            }
            Command::Link {
                scenarios,
                congestion,
                seed,
            } => link(&find()?, &scenarios, &congestion, seed),
            Command::List => list(&find()?),
            Command::Origin(o) => {
                crate::sys::raise_open_files();
                server::serve(server::Options {
                    listen: o.listen,
                    seed: o.seed,
                    live: Live {
                        segment: o.segment,
                        bitrate: o.bitrate,
                    },
                    faults: o.misbehave.then_some(o.faults),
                })
                .await
            }
            Command::Clients { plan } => clients(&plan).await,
            Command::Compare(c) => {
                let short = Duration::from_secs(if c.short { 1 } else { 8 });
                compare::measure::compare(
                    &find()?,
                    &compare::options::Options {
                        peers: c.peers,
                        sizes: c.sizes,
                        connections: c.connections,
                        lasting: c.seconds.map_or(short, Span::get),
                        repeat: c.repeat.unwrap_or(if c.short { 1 } else { 5 }),
                        workers: c.workers,
                        slow_readers: c.slow_readers,
                        no_store: c.no_store,
                        short: c.short,
                    },
                )
                .await
            }
        }
    }
}

fn list(lab: &Lab) -> Result<()> {
    println!("scenarios ({}):", lab.folder.join("scenarios").display());
    for name in scenario::names(&lab.folder.join("scenarios"))? {
        println!(
            "  {name:<18} {}",
            Scenario::read(&lab.folder.join("scenarios"), &name)?.about
        );
    }
    println!("contestants ({}):", lab.peers().display());
    for peer in Peer::all(&lab.peers())? {
        println!("  {:<18} {}", peer.name, peer.recipe.about);
    }
    println!(
        "workloads: mix, download, viewers, faults, broken; bad link at: client, origin, both"
    );
    println!(
        "promises: what the service that fileproxy replaces promised, in the first three networks"
    );
    Ok(())
}

/// The process with the clients; what goes wrong is told to the run that started it.
async fn clients(plan: &std::path::Path) -> Result<()> {
    crate::sys::raise_open_files();
    let plan: Plan = serde_json::from_str(&std::fs::read_to_string(plan)?)?;
    if plan.clients == 0 {
        return Err(Failure::Usage("a plan without clients".to_owned()).into());
    }
    if let Err(error) = crowd::run(&plan).await {
        Event::Broken {
            why: format!("{error:#}"),
        }
        .tell();
    }
    Ok(())
}

/// Measures each scenario's link and says what was asked.
fn link(lab: &Lab, scenarios: &[String], congestion: &str, seed: u64) -> Result<()> {
    if !crate::sys::is_root() {
        return Err(Failure::NotRoot("load link").into());
    }
    let folder = lab.folder.join("scenarios");
    let names = if scenarios.is_empty() {
        scenario::names(&folder)?
    } else {
        scenarios.to_vec()
    };
    println!("| scenario | | asked | measured |\n|---|---|---|---|");
    for name in names {
        let link = Scenario::read(&folder, &name)?.link;
        let fast = link.down.rate.bits() > 1e8;
        // Small packets at half the rate: enough to count loss, in less than a minute.
        let packets = (link.down.rate.bits() / 8.0 / 60.0 / 2.0 * 20.0).clamp(1000.0, 200_000.0);
        let effort = trial::Effort {
            pings: if fast { 200 } else { 60 },
            packets: packets as u32,
            flow: Duration::from_secs(if fast { 8 } else { 20 }),
        };
        let found = trial::measure(&link, congestion, seed, effort)?;
        let [median, least, most] = found.round_trip_ms;
        println!(
            "| {name} | round trip ms | {:.0} | {median:.1} ({least:.1} to {most:.1}) |",
            link.round_trip_ms()
        );
        println!(
            "| {name} | loss up % | {} | {:.2} |",
            link.up.loss.percent, found.loss_up_percent
        );
        println!(
            "| {name} | loss down % | {} | {:.2} |",
            link.down.loss.percent, found.loss_down_percent
        );
        println!(
            "| {name} | one flow Mbit/s | {:.0}{} | {:.2} |",
            link.down.rate.bits() / 1e6,
            if link.down.loss.percent > 0.0 {
                ", less what loss costs a flow"
            } else {
                ""
            },
            found.flow_bits / 1e6
        );
        let late = found.passed.up.late + found.passed.down.late;
        println!("| {name} | packets over 1 ms late | 0 | {late} |");
    }
    Ok(())
}
