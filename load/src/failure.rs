//! Why the lab stopped, and the exit code that tells a script.

use std::process::ExitCode;

/// The install line of the README, shown whenever a tool is missing.
pub const INSTALL: &str = "apt-get install -y iproute2 nginx-light haproxy wrk python3-venv";

/// A stop with a meaning of its own. Everything else is an [`anyhow::Error`] and exits with 1.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The lab worked and found something that must not be. Exit code 1.
    #[error("{0}")]
    Judged(String),
    /// Asked for something that does not exist or does not fit together. Exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Needs root. Exit code 3.
    #[error(
        "needs root: {0} makes network namespaces and TUN devices. Run it with sudo, or in a container with NET_ADMIN, SYS_ADMIN and /dev/net/tun"
    )]
    NotRoot(&'static str),
    /// A program or a file the run needs is missing. Exit code 3.
    #[error("{what} is missing. Install what the lab uses with: {INSTALL}")]
    Missing {
        /// The program or package.
        what: String,
    },
    /// Ctrl-C or SIGTERM; everything was removed. Exit code 130.
    #[error("interrupted; namespaces and processes are removed")]
    Interrupted,
}

/// The exit code of an error.
#[must_use]
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(match error.downcast_ref::<Failure>() {
        Some(Failure::Usage(_)) => 2,
        Some(Failure::NotRoot(_) | Failure::Missing { .. }) => 3,
        Some(Failure::Interrupted) => 130,
        Some(Failure::Judged(_)) | None => 1,
    })
}
