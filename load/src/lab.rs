//! Where the lab finds its files and programs, and what machine it runs on.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{
    failure::Failure,
    moment::{rfc3339, unix_seconds},
    sys,
};

/// The lab's places.
#[derive(Clone, Debug)]
pub struct Lab {
    /// The folder with `scenarios/` and `peers/`.
    pub folder: PathBuf,
    /// Where results and files for the runs go.
    pub out: PathBuf,
    /// The fileproxy binary asked for; none: looked for or built when needed.
    pub fileproxy: Option<PathBuf>,
    /// The CPUs everything runs on.
    pub cpus: Vec<usize>,
}

/// The machine and the state of the sources, for every record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Processor model.
    pub processor: String,
    /// CPUs the lab used.
    pub cpus: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Kernel release.
    pub kernel: String,
    /// Commit of the working copy, with "+" when it had changes; empty outside of one.
    pub commit: String,
}

/// One call of the lab: what all its records share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// When it began (RFC 3339).
    pub began: String,
    /// The command line.
    pub command: String,
    /// The machine and the commit.
    pub machine: Machine,
}

impl Lab {
    /// Finds the places.
    ///
    /// # Errors
    ///
    /// There is no folder with scenarios and contestants, or the CPUs cannot be used.
    pub fn find(
        folder: Option<PathBuf>,
        out: Option<PathBuf>,
        fileproxy: Option<PathBuf>,
        cpus: usize,
    ) -> Result<Self> {
        let folder = match folder {
            Some(folder) => folder,
            None => [
                PathBuf::from("load"),
                PathBuf::from("."),
                PathBuf::from(env!("CARGO_MANIFEST_DIR")),
            ]
            .into_iter()
            .find(|f| f.join("scenarios").is_dir() && f.join("peers").is_dir())
            .unwrap_or_default(),
        };
        let folder = fs::canonicalize(&folder)
            .ok()
            .filter(|f| f.join("scenarios").is_dir() && f.join("peers").is_dir())
            .ok_or_else(|| {
                Failure::Usage(
                    "no folder with scenarios/ and peers/ here; give it with --lab load".to_owned(),
                )
            })?;
        let out = out.unwrap_or_else(|| folder.join("out"));
        fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
        let out = fs::canonicalize(&out)?;
        let mut allowed = sys::allowed_cpus();
        allowed.truncate(cpus.max(1));
        sys::stay_on_cpus(&allowed).context("staying on the first CPUs")?;
        sys::raise_open_files();
        Ok(Self {
            folder,
            out,
            fileproxy,
            cpus: allowed,
        })
    }

    /// Where the contestants' files are.
    #[must_use]
    pub fn peers(&self) -> PathBuf {
        self.folder.join("peers")
    }

    /// The fileproxy binary: the one asked for, else the one beside this program, else a fresh build.
    ///
    /// # Errors
    ///
    /// It does not exist and cannot be built.
    pub fn fileproxy(&self) -> Result<PathBuf> {
        if let Some(path) = &self.fileproxy {
            return fs::canonicalize(path).map_err(|_| {
                Failure::Usage(format!("--fileproxy {}: no such file", path.display())).into()
            });
        }
        let beside = env::current_exe()?.with_file_name("fileproxy");
        if beside.is_file() {
            return Ok(beside);
        }
        eprintln!("building fileproxy (cargo build --release -p fileproxy)");
        let status = Command::new("cargo")
            .args(["build", "--release", "-p", "fileproxy"])
            .current_dir(self.folder.parent().unwrap_or(&self.folder))
            .status()
            .context("cargo")?;
        if !status.success() || !beside.is_file() {
            bail!(Failure::Missing {
                what: "the fileproxy binary (give one with --fileproxy PATH)".to_owned()
            });
        }
        Ok(beside)
    }

    /// This call.
    #[must_use]
    pub fn session(&self) -> Session {
        Session {
            began: rfc3339(unix_seconds()),
            command: command_line(),
            machine: self.machine(),
        }
    }

    /// What this machine is.
    #[must_use]
    pub fn machine(&self) -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            text.lines()
                .find(|l| l.starts_with(name))
                .and_then(|l| l.split_once(':'))
                .map(|(_, v)| v.trim().to_owned())
                .unwrap_or_default()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        Machine {
            processor: field(&read("/proc/cpuinfo"), "model name"),
            cpus: self.cpus.len(),
            memory_mib: memory
                .split(' ')
                .next()
                .and_then(|kib| kib.parse::<u64>().ok())
                .unwrap_or(0)
                / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            commit: commit(&self.folder),
        }
    }
}

/// The command line of this process as one would write it again; options that name places of this machine are left out.
fn command_line() -> String {
    let mut words = vec!["load".to_owned()];
    let mut args = env::args().skip(1);
    while let Some(word) = args.next() {
        let place = ["--fileproxy", "--out", "--lab"]
            .iter()
            .find(|p| word == **p || word.starts_with(&format!("{p}=")));
        match place {
            Some(place) if word == **place => _ = args.next(),
            Some(_) => {}
            None if word.contains(' ') => words.push(format!("\"{word}\"")),
            None => words.push(word),
        }
    }
    words.join(" ")
}

fn commit(folder: &Path) -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(folder)
            .args(args)
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return String::new();
    };
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|s| !s.is_empty());
    if changed { commit + "+" } else { commit }
}
