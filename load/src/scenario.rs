//! The networks to try: one file each under `load/scenarios/`.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{
    catalog::Files,
    failure::Failure,
    link::shape::Link,
    live::Live,
    origin::fault::Faults,
    units::{ByteSize, Span},
};

/// A scenario, as its file says it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// One line for people.
    pub about: String,
    /// Concurrent clients.
    pub clients: usize,
    /// The bad link; A is the side of the client.
    pub link: Link,
    /// Workload "mix".
    pub mix: Mix,
    /// Workload "download".
    pub download: Download,
    /// Workload "viewers".
    pub viewers: Viewers,
    /// Workload "faults".
    pub faults: FaultMix,
    /// What `load run promises` measures here; none where nothing was promised.
    #[serde(default)]
    pub promises: Option<Promises>,
}

/// Many small to medium files.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mix {
    /// The files.
    pub files: Files,
    /// Before anything is counted.
    pub warmup: Span,
    /// What is counted.
    pub lasting: Span,
    /// For requests under way at the end.
    pub grace: Span,
    /// The warm-up of a contestant whose store is to be filled first, instead of `warmup`.
    #[serde(default)]
    pub warm: Option<Span>,
}

/// What the replaced service's promises are held to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Promises {
    /// Concurrent clients, where each has a line of its own.
    pub clients: usize,
    /// What they ask for. Where the bad link is at the origin there is no warm-up, but of a store that is to be filled.
    pub mix: Mix,
}

/// One client, one large file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Download {
    /// One run for each.
    pub sizes: Vec<ByteSize>,
    /// Longest time for one.
    pub limit: Span,
}

/// Viewers of a live stream.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Viewers {
    /// Viewers on one shared line.
    pub count: usize,
    /// Viewers when each has a line of its own.
    pub count_per_client: usize,
    /// The stream.
    pub live: Live,
    /// The stream when each viewer has a line of its own.
    pub live_per_client: Live,
    /// How long they watch.
    pub lasting: Span,
}

/// The mix before an origin that misbehaves.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultMix {
    /// Concurrent clients.
    pub clients: usize,
    /// The mix.
    pub mix: Mix,
    /// What the origin does.
    pub origin: Faults,
}

impl Scenario {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// There is no such file, or it says something unknown.
    pub fn read(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(format!("{name}.toml"));
        let Ok(text) = fs::read_to_string(&path) else {
            bail!(Failure::Usage(format!(
                "no scenario \"{name}\"; there are: {}",
                names(folder)?.join(", ")
            )));
        };
        toml::from_str(&text).with_context(|| path.display().to_string())
    }
}

/// All scenarios, by name.
///
/// # Errors
///
/// The folder cannot be read.
pub fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .with_context(|| folder.display().to_string())?
        .flatten()
        .filter_map(|e| {
            e.file_name()
                .to_str()?
                .strip_suffix(".toml")
                .map(str::to_owned)
        })
        .collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the README.
    #[test]
    fn the_three_scenarios_are_as_promised() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        for (name, round_trip, rate, loss, clients) in [
            ("normal", 10.0..=10.0, "1 Gbit/s", 0.0..=0.0, 1000),
            ("poor", 100.0..=200.0, "10 Mbit/s", 1.0..=2.0, 500),
            ("very_poor", 300.0..=500.0, "1 Mbit/s", 5.0..=5.0, 100),
        ] {
            let scenario = Scenario::read(&folder, name).unwrap();
            let link = &scenario.link;
            assert!(round_trip.contains(&link.round_trip_ms()), "{name}");
            for shape in [&link.up, &link.down] {
                assert_eq!(shape.rate.to_string(), rate, "{name}");
                assert!(loss.contains(&shape.loss.percent), "{name}");
            }
            assert_eq!(scenario.clients, clients, "{name}");
        }
    }
}
