//! A process the lab started: it dies with the lab, its output goes to a file.

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};

use crate::{failure::Failure, sys};

/// Longest wait for a process to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(3);

/// A running process, first of a process group of its own. Dropping it ends the whole group.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it with standard output and error going to `log`.
    ///
    /// # Errors
    ///
    /// The program is missing or cannot be started.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let out = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .process_group(0);
        sys::die_with_parent(&mut command);
        let child = command.spawn().map_err(|error| {
            let what = command.get_program().to_string_lossy().into_owned();
            if error.kind() == io::ErrorKind::NotFound {
                anyhow!(Failure::Missing { what })
            } else {
                anyhow!(error).context(what)
            }
        })?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    /// Its process id, which is also that of its group.
    #[must_use]
    pub fn group(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The last lines it wrote.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let Ok(pid) = i32::try_from(self.child.id()) else {
            return;
        };
        let start = Instant::now();
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            sys::signal(pid, libc::SIGTERM);
            while start.elapsed() < GRACE && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        sys::signal(-pid, libc::SIGKILL);
        _ = self.child.wait();
    }
}
