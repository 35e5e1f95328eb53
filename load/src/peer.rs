//! The contestants: one small file each under `load/peers/` says how to start it.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::{failure::Failure, namespace::run};

/// How to start a contestant, as its file says it. In every text `{listen}` (address:port), `{host}`, `{port}`,
/// `{origin}` (address:port), `{workers}`, `{dir}` (a folder for this run), `{peers}` (where these files are),
/// `{venv}` (a Python environment kept between runs) and `{fileproxy}` (the binary) are filled in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// One line for people.
    pub about: String,
    /// Program and arguments that print the version.
    #[serde(default)]
    pub version: Vec<String>,
    /// Program and arguments that serve, in the foreground.
    pub command: Vec<String>,
    /// Environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// More of it wherever a limit on requests per second would be in the way.
    #[serde(default)]
    pub env_unlimited: BTreeMap<String, String>,
    /// More of it on the loopback, where a limit on origin connections would be in the way.
    #[serde(default)]
    pub env_loopback: BTreeMap<String, String>,
    /// Files beside this one, copied to `{dir}` with everything filled in.
    #[serde(default)]
    pub files: Vec<String>,
    /// Commands run once before the first start; `{venv}` is the usual result.
    #[serde(default)]
    pub setup: Vec<Vec<String>>,
    /// Whether it picks the congestion control of its own sockets, so that the lab reports what it picked instead of
    /// failing the run.
    #[serde(default)]
    pub chooses_congestion: bool,
    /// Whether its store is filled before anything is counted: the warm-up lasts as long as the mix says for that.
    #[serde(default)]
    pub warm: bool,
}

/// A contestant by name.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The name of its file without `.toml`.
    pub name: String,
    /// What the file says.
    pub recipe: Recipe,
    folder: PathBuf,
}

/// Where and before what it serves.
#[derive(Clone, Debug)]
pub struct Place {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The origin.
    pub origin: SocketAddr,
    /// Worker processes or threads.
    pub workers: usize,
    /// A folder of its own.
    pub dir: PathBuf,
    /// Folder kept between runs.
    pub out: PathBuf,
    /// The fileproxy binary.
    pub fileproxy: PathBuf,
    /// Whether limits on requests per second are set out of the way.
    pub unlimited: bool,
    /// Whether it is the comparison on the loopback.
    pub loopback: bool,
}

impl Peer {
    /// Reads one contestant.
    ///
    /// # Errors
    ///
    /// There is no such file, or it says something unknown.
    pub fn read(folder: &Path, name: &str) -> Result<Self> {
        let path = folder.join(format!("{name}.toml"));
        let Ok(text) = fs::read_to_string(&path) else {
            let names: Vec<_> = Self::all(folder)?.into_iter().map(|p| p.name).collect();
            bail!(Failure::Usage(format!(
                "no contestant \"{name}\"; there are: {}",
                names.join(", ")
            )));
        };
        let recipe: Recipe = toml::from_str(&text).with_context(|| path.display().to_string())?;
        if recipe.command.is_empty() {
            bail!("{}: command is empty", path.display());
        }
        Ok(Self {
            name: name.to_owned(),
            recipe,
            folder: folder.to_owned(),
        })
    }

    /// All contestants, by name.
    ///
    /// # Errors
    ///
    /// A file cannot be read.
    pub fn all(folder: &Path) -> Result<Vec<Self>> {
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
        names.iter().map(|name| Self::read(folder, name)).collect()
    }

    /// Whether it needs the fileproxy binary.
    #[must_use]
    pub fn is_fileproxy(&self) -> bool {
        self.recipe
            .command
            .iter()
            .any(|word| word.contains("{fileproxy}"))
    }

    fn fill(&self, text: &str, place: &Place) -> String {
        text.replace("{listen}", &place.listen.to_string())
            .replace("{host}", &place.listen.ip().to_string())
            .replace("{port}", &place.listen.port().to_string())
            .replace("{origin}", &place.origin.to_string())
            .replace("{workers}", &place.workers.to_string())
            .replace("{dir}", &place.dir.display().to_string())
            .replace("{peers}", &self.folder.display().to_string())
            .replace("{venv}", &place.out.join("venv").display().to_string())
            .replace("{fileproxy}", &place.fileproxy.display().to_string())
    }

    /// Runs the setup, once for all runs and contestants with the same commands.
    ///
    /// # Errors
    ///
    /// A command failed.
    pub fn set_up(&self, place: &Place) -> Result<()> {
        let mut done = String::new();
        for words in &self.recipe.setup {
            let words: Vec<_> = words.iter().map(|w| self.fill(w, place)).collect();
            done.push_str(&words.join(" "));
            done.push('\n');
        }
        let mark = place.out.join("setup-done");
        let before = fs::read_to_string(&mark).unwrap_or_default();
        if done.is_empty() || before.contains(&done) {
            return Ok(());
        }
        for line in done.lines() {
            eprintln!("{}: {line}", self.name);
            let mut words = line.split(' ');
            let Some(program) = words.next() else {
                continue;
            };
            run(Command::new(program).args(words))
                .with_context(|| format!("setting up {}", self.name))?;
        }
        fs::write(&mark, before + &done)?;
        Ok(())
    }

    /// Writes its files and gives the words and environment that start it.
    ///
    /// # Errors
    ///
    /// A file cannot be read or written.
    pub fn prepare(&self, place: &Place) -> Result<(Vec<String>, BTreeMap<String, String>)> {
        fs::create_dir_all(&place.dir)?;
        for file in &self.recipe.files {
            let from = self.folder.join(file);
            let text = fs::read_to_string(&from).with_context(|| from.display().to_string())?;
            fs::write(place.dir.join(file), self.fill(&text, place))?;
        }
        let words = self
            .recipe
            .command
            .iter()
            .map(|w| self.fill(w, place))
            .collect();
        let recipe = &self.recipe;
        let more = [
            place.unlimited.then_some(&recipe.env_unlimited),
            place.loopback.then_some(&recipe.env_loopback),
        ];
        let env = self
            .recipe
            .env
            .iter()
            .chain(more.into_iter().flatten().flatten())
            .map(|(k, v)| (k.clone(), self.fill(v, place)))
            .collect();
        Ok((words, env))
    }

    /// What it says of its version, one line; a missing program is an error.
    ///
    /// # Errors
    ///
    /// The program is missing.
    pub fn version(&self, place: &Place) -> Result<String> {
        let Some((program, rest)) = self.recipe.version.split_first() else {
            return Ok(String::new());
        };
        let program = self.fill(program, place);
        let output = match Command::new(&program)
            .args(rest.iter().map(|w| self.fill(w, place)))
            .output()
        {
            Ok(output) => output,
            Err(_) => bail!(Failure::Missing {
                what: format!("{program} (for {})", self.name)
            }),
        };
        let text = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&text)
            .lines()
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contestant_file_can_be_read_and_leaves_no_blank() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let dir = std::env::temp_dir().join(format!("load-peers-{}", std::process::id()));
        let place = Place {
            listen: ([127, 0, 0, 1], 1).into(),
            origin: ([127, 0, 0, 1], 2).into(),
            workers: 2,
            dir: dir.clone(),
            out: dir.clone(),
            fileproxy: "/bin/true".into(),
            unlimited: true,
            loopback: true,
        };
        let peers = Peer::all(&folder).unwrap();
        assert!(peers.len() >= 6);
        for peer in peers {
            let (words, env) = peer.prepare(&place).unwrap();
            for text in words.iter().chain(env.values()) {
                assert!(!text.contains('{'), "{}: {text}", peer.name);
            }
        }
        fs::remove_dir_all(dir).unwrap();
    }
}
