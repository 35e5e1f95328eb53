//! One host of the lab: a network namespace that is removed with everything in it.
//!
//! Names carry the process and when it started (`fplab-PID-START-N-ROLE`), so that a later run can tell what a killed
//! one left behind.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};

use crate::{failure::Failure, sys};

const PREFIX: &str = "fplab-";
const FOLDER: &str = "/run/netns";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A network namespace.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

/// Clock ticks since boot at which a process started; none when there is no such process.
fn started(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name, in parentheses, may hold spaces; the start is field 22.
    stat.rsplit_once(") ")?
        .1
        .split(' ')
        .nth(19)
        .map(str::to_owned)
}

/// Runs a command to its end; its standard error becomes the error.
///
/// # Errors
///
/// The program is missing or ended with an error.
pub fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow!(Failure::Missing {
            what: program.clone()
        }),
        _ => anyhow!(error).context(program.clone()),
    })?;
    if !output.status.success() {
        let line: Vec<_> = command
            .get_args()
            .map(|a| a.to_string_lossy().into_owned())
            .collect();
        bail!(
            "{program} {}: {}",
            line.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

impl Namespace {
    /// Makes a namespace for this role, with its loopback up and the buffers and ports of a plain Linux host.
    ///
    /// # Errors
    ///
    /// No root, or `ip` is missing.
    pub fn create(role: &str) -> Result<Self> {
        if !sys::is_root() {
            bail!(Failure::NotRoot("this"));
        }
        let pid = std::process::id();
        let start = started(pid).context("/proc/self/stat")?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{pid}-{start}-{count}-{role}");
        run(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Self { name };
        namespace.ip("link set dev lo up")?;
        namespace.inside(|| -> io::Result<()> {
            for (key, value) in [
                // The kernel's own defaults, whatever this machine's administrator set.
                ("ipv4/tcp_rmem", "4096 131072 6291456"),
                ("ipv4/tcp_wmem", "4096 16384 4194304"),
                ("ipv4/ip_local_port_range", "10000 65000"),
                ("ipv4/tcp_max_syn_backlog", "4096"),
                ("core/somaxconn", "4096"),
                // No router solicitations on the line.
                ("ipv6/conf/all/disable_ipv6", "1"),
                ("ipv6/conf/default/disable_ipv6", "1"),
            ] {
                match fs::write(format!("/proc/sys/net/{key}"), value) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(io::Error::new(error.kind(), format!("{key}: {error}")));
                    }
                    _ => {}
                }
            }
            Ok(())
        })??;
        Ok(namespace)
    }

    /// Its name, as `ip netns` knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }

    /// Runs `ip -n NAME` with these words.
    ///
    /// # Errors
    ///
    /// `ip` refused.
    pub fn ip(&self, words: &str) -> Result<String> {
        run(Command::new("ip")
            .args(["-n", &self.name])
            .args(words.split_whitespace()))
    }

    /// A command that runs in this namespace.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a function on a thread of its own inside this namespace: sockets and devices it makes belong here.
    ///
    /// # Errors
    ///
    /// The namespace cannot be entered, or the function panicked.
    pub fn inside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        self.thread(work)
            .join()
            .map_err(|_| anyhow!("a thread inside {} panicked", self.name))?
    }

    /// Like [`Self::inside`], without waiting for the end.
    pub fn thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::thread::JoinHandle<Result<T>> {
        let path = self.path();
        std::thread::spawn(move || {
            sys::enter_namespace(&path).with_context(|| format!("entering {}", path.display()))?;
            Ok(work())
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Ends what still runs in a namespace and removes it.
fn remove(name: &str) {
    let pids = || {
        run(Command::new("ip").args(["netns", "pids", name]))
            .unwrap_or_default()
            .split_whitespace()
            .filter_map(|p| p.parse::<i32>().ok())
            .filter(|p| u32::try_from(*p).is_ok_and(|p| p != std::process::id()))
            .collect::<Vec<_>>()
    };
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let left = pids();
        if left.is_empty() || Instant::now() > deadline {
            break;
        }
        for pid in left {
            sys::signal(pid, libc::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    if let Err(error) = run(Command::new("ip").args(["netns", "del", name])) {
        eprintln!("cannot remove {name}: {error:#}");
    }
}

/// Removes what killed runs left behind; says how many namespaces that were.
#[must_use]
pub fn sweep() -> usize {
    let Ok(folder) = fs::read_dir(FOLDER) else {
        return 0;
    };
    let mut removed = 0;
    for entry in folder.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let mut parts = rest.split('-');
        let (Some(pid), Some(start)) = (parts.next().and_then(|p| p.parse().ok()), parts.next())
        else {
            continue;
        };
        if started(pid).as_deref() != Some(start) {
            remove(&name);
            removed += 1;
        }
    }
    removed
}
