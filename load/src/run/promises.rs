//! What the replaced service promised, as cases: three networks, the bad link at each client, at the origin, and one at all
//! clients together.

use std::time::Duration;

use anyhow::{Result, bail};

use super::case::{self, Choice, Trial, Where, Workload};
use crate::{lab::Lab, record, scenario::Scenario, units::Span};

/// The scenarios for which something was promised.
const SCENARIOS: [&str; 3] = ["normal", "poor", "very_poor"];

/// The contestants: what is replaced, and this proxy at the levels that are compared.
const PEERS: [&str; 3] = ["aiohttp-original", "fileproxy-low", "fileproxy-store"];

/// One more at the origin's side: level high with what came before in its store.
const WARM: &str = "fileproxy-warm";

/// The contestants of a case of the promises.
#[must_use]
pub fn peers(trial: &Trial) -> Vec<String> {
    let warm = (trial.place == Where::Origin).then_some(WARM);
    PEERS.into_iter().chain(warm).map(str::to_owned).collect()
}

/// Whether a case is one of the second table: one bad line for all clients together leaves little to win.
#[must_use]
pub fn is_second(trial: &Trial) -> bool {
    trial.place == Where::Client && !trial.case.per_client
}

/// The cases of the promises. Where the bad link is at the origin, the store is empty when counting begins. Where all share one
/// line, the files are those of the scenario's mix, which are small enough for it.
///
/// # Errors
///
/// A scenario cannot be read, or says nothing of promises; or the kernel has no such congestion control.
pub fn trials(lab: &Lab, choice: &Choice) -> Result<Vec<Trial>> {
    case::check_congestion(choice)?;
    let mut trials = Vec::new();
    for (place, per_client) in [
        (Where::Client, true),
        (Where::Origin, false),
        (Where::Client, false),
    ] {
        let choice = Choice {
            per_client,
            ..choice.clone()
        };
        for name in SCENARIOS {
            let scenario = Scenario::read(&lab.folder.join("scenarios"), name)?;
            let Some(promises) = &scenario.promises else {
                bail!("scenarios/{name}.toml has no [promises]");
            };
            let clients = match (choice.short, per_client) {
                (true, _) => 10,
                (false, true) => promises.clients,
                (false, false) => scenario.clients,
            };
            let mut mix = promises.mix.clone();
            if !per_client {
                mix.files = scenario.mix.files.clone();
            }
            let mut work = case::mix(&mix, &choice);
            if place == Where::Origin {
                work = work.warmed_up(Span::new(Duration::ZERO));
            }
            let mut trial = case::trial(
                name,
                &scenario,
                place,
                Workload::Mix,
                work,
                clients,
                &choice,
            );
            record::PROMISES.clone_into(&mut trial.case.workload);
            trial.warm = promises.mix.warm.filter(|_| !choice.short);
            trials.push(trial);
        }
    }
    Ok(trials)
}
