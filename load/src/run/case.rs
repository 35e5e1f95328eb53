//! What is to be run: the product of scenarios, places, workloads and sizes.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::{
    client::plan::Work,
    congestion,
    failure::Failure,
    lab::Lab,
    live::Live,
    origin::fault::Faults,
    peer::Peer,
    record::Case,
    scenario::{Mix, Scenario},
    units::{ByteSize, Span},
};

/// Where the bad link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Where {
    /// Between client and proxy
    Client,
    /// Between proxy and origin
    Origin,
    /// On both sides
    Both,
}

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Many clients, many small to medium files
    Mix,
    /// One client, one file of 4, 20 and 100 MB
    Download,
    /// Viewers of one live stream
    Viewers,
    /// The mix before an origin that cuts, resets, stalls and answers 503
    Faults,
    /// One client, one file of 4 MB (or --size) from the origin of the faults
    Broken,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Choice {
    /// Names of scenarios.
    pub scenarios: Vec<String>,
    /// Where the bad link is.
    pub places: Vec<Where>,
    /// What the clients do.
    pub workloads: Vec<Workload>,
    /// Names of contestants.
    pub peers: Vec<String>,
    /// Whether each client has a line of its own.
    pub per_client: bool,
    /// Sizes of downloads instead of the scenario's.
    pub sizes: Option<Vec<ByteSize>>,
    /// Clients instead of the scenario's.
    pub clients: Option<usize>,
    /// Counted time instead of the scenario's.
    pub lasting: Option<Span>,
    /// Rounds.
    pub repeat: u32,
    /// Workers of each contestant.
    pub workers: usize,
    /// Congestion control of all routes.
    pub congestion: String,
    /// Seeds everything.
    pub seed: u64,
    /// Seconds and small numbers: only that it works and that bodies are right.
    pub short: bool,
}

/// One case, ready to run with any contestant.
#[derive(Clone, Debug)]
pub struct Trial {
    /// For the record.
    pub case: Case,
    /// The scenario.
    pub scenario: Scenario,
    /// Where the bad link is.
    pub place: Where,
    /// What the clients do.
    pub work: Work,
    /// The live stream the origin has.
    pub live: Live,
    /// How the origin misbehaves.
    pub faults: Option<Faults>,
    /// The warm-up of a contestant whose store is to be filled first.
    pub warm: Option<Span>,
}

impl Trial {
    /// What its clients do before this contestant.
    #[must_use]
    pub fn work_for(&self, peer: &Peer) -> Work {
        match self.warm {
            Some(span) if peer.recipe.warm => self.work.clone().warmed_up(span),
            _ => self.work.clone(),
        }
    }

    /// The longest it can take with this contestant, roughly.
    #[must_use]
    pub fn expected(&self, peer: &Peer) -> Duration {
        let start = Duration::from_secs(3);
        start
            + match self.work_for(peer) {
                Work::Mix {
                    warmup,
                    lasting,
                    grace,
                    ..
                } => warmup.get() + lasting.get() + grace.get(),
                Work::Download { limit, .. } => limit.get(),
                Work::Viewers { lasting, .. } => lasting.get(),
            }
    }
}

const fn seconds(n: u64) -> Span {
    Span::new(Duration::from_secs(n))
}

/// The cases chosen.
///
/// # Errors
///
/// A scenario or the congestion control does not exist, or choices do not fit together.
pub fn trials(lab: &Lab, choice: &Choice) -> Result<Vec<Trial>> {
    if choice.per_client && choice.places.contains(&Where::Origin) {
        bail!(Failure::Usage(
            "--per-client gives each client a line of its own: it needs --where client or --where both; between proxy \
             and origin there is one line for all"
                .to_owned()
        ));
    }
    check_congestion(choice)?;
    let mut trials = Vec::new();
    for name in &choice.scenarios {
        let scenario = Scenario::read(&lab.folder.join("scenarios"), name)?;
        for place in &choice.places {
            for workload in &choice.workloads {
                let works = works(&scenario, *workload, choice);
                for (work, clients) in works {
                    trials.push(trial(
                        name, &scenario, *place, *workload, work, clients, choice,
                    ));
                }
            }
        }
    }
    Ok(trials)
}

/// Whether the kernel has the congestion control that was chosen.
///
/// # Errors
///
/// It has not.
pub fn check_congestion(choice: &Choice) -> Result<()> {
    let known = congestion::known();
    if !known.contains(&choice.congestion) {
        bail!(Failure::Usage(format!(
            "this kernel has no congestion control \"{}\", only: {}",
            choice.congestion,
            known.join(", ")
        )));
    }
    Ok(())
}

/// The mix with what was asked for instead.
pub fn mix(mix: &Mix, choice: &Choice) -> Work {
    let mut mix = mix.clone();
    if choice.short {
        mix.files.count = 50;
        mix.warmup = seconds(1);
        mix.lasting = seconds(5);
        mix.grace = seconds(30);
    }
    Work::Mix {
        files: mix.files,
        warmup: mix.warmup,
        lasting: choice.lasting.unwrap_or(mix.lasting),
        grace: mix.grace,
    }
}

/// The works of a workload and how many clients each has.
fn works(scenario: &Scenario, workload: Workload, choice: &Choice) -> Vec<(Work, usize)> {
    let few = |clients: usize, most: usize| {
        choice.clients.unwrap_or(if choice.short {
            clients.min(most)
        } else {
            clients
        })
    };
    match workload {
        Workload::Mix => vec![(mix(&scenario.mix, choice), few(scenario.clients, 10))],
        Workload::Faults => vec![(
            mix(&scenario.faults.mix, choice),
            few(scenario.faults.clients, 5),
        )],
        Workload::Download => {
            let mut sizes = choice
                .sizes
                .clone()
                .unwrap_or_else(|| scenario.download.sizes.clone());
            let mut limit = choice.lasting.unwrap_or(scenario.download.limit);
            if choice.short {
                sizes = choice
                    .sizes
                    .clone()
                    .unwrap_or_else(|| vec![ByteSize::from_bytes(200_000)]);
                limit = choice.lasting.unwrap_or(seconds(20));
            }
            sizes
                .into_iter()
                .map(|size| (Work::Download { size, limit }, 1))
                .collect()
        }
        Workload::Broken => {
            let size = |bytes| vec![ByteSize::from_bytes(bytes)];
            let short = size(if choice.short { 200_000 } else { 4_000_000 });
            let limit = choice.lasting.unwrap_or(scenario.download.limit);
            choice
                .sizes
                .clone()
                .unwrap_or(short)
                .into_iter()
                .map(|size| (Work::Download { size, limit }, 1))
                .collect()
        }
        Workload::Viewers => {
            let v = &scenario.viewers;
            let (count, live) = if choice.per_client {
                (v.count_per_client, v.live_per_client)
            } else {
                (v.count, v.live)
            };
            let lasting =
                choice
                    .lasting
                    .unwrap_or(if choice.short { seconds(12) } else { v.lasting });
            vec![(Work::Viewers { live, lasting }, few(count, 3))]
        }
    }
}

/// One case of a scenario.
pub fn trial(
    name: &str,
    scenario: &Scenario,
    place: Where,
    workload: Workload,
    work: Work,
    clients: usize,
    choice: &Choice,
) -> Trial {
    let text = |value: Option<clap::builder::PossibleValue>| {
        value.map(|v| v.get_name().to_owned()).unwrap_or_default()
    };
    let live = match &work {
        Work::Viewers { live, .. } => *live,
        _ => scenario.viewers.live,
    };
    let link = &scenario.link;
    let factor = if place == Where::Both { 2.0 } else { 1.0 };
    Trial {
        case: Case {
            scenario: name.to_owned(),
            place: text(place.to_possible_value()),
            per_client: choice.per_client,
            workload: text(workload.to_possible_value()),
            size: if let Work::Download { size, .. } = &work {
                size.bytes()
            } else {
                0
            },
            clients,
            congestion: choice.congestion.clone(),
            round_trip_ms: link.round_trip_ms() * factor,
            rate_bits: link.down.rate.bits(),
            loss_percent: link.down.loss.percent,
            workers: choice.workers,
            short: choice.short,
        },
        scenario: scenario.clone(),
        place,
        warm: scenario.mix.warm.filter(|_| workload == Workload::Mix),
        faults: matches!(workload, Workload::Faults | Workload::Broken)
            .then_some(scenario.faults.origin),
        work,
        live,
    }
}
