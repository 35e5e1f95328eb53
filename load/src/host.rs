//! Where a process of the lab runs: in a namespace, or right here.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::Command,
};

use anyhow::{Result, anyhow};

use crate::namespace::Namespace;

/// A host of the lab.
#[derive(Clone, Copy, Debug)]
pub enum Host<'a> {
    /// This machine's own network.
    Here,
    /// A network namespace.
    In(&'a Namespace),
}

impl Host<'_> {
    /// A command that runs there.
    #[must_use]
    pub fn command(self, program: &str) -> Command {
        match self {
            Self::Here => Command::new(program),
            Self::In(namespace) => namespace.command(program),
        }
    }

    /// An address of its loopback where nobody listens.
    ///
    /// # Errors
    ///
    /// The namespace cannot be entered, or no port is free.
    pub fn free_address(self) -> Result<SocketAddr> {
        let listener = self.inside(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))??;
        Ok(listener.local_addr()?)
    }

    /// Runs a function on a thread of its own there, and waits for it.
    ///
    /// # Errors
    ///
    /// The namespace cannot be entered, or the function panicked.
    pub fn inside<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        match self {
            Self::Here => std::thread::spawn(work)
                .join()
                .map_err(|_| anyhow!("a thread panicked")),
            Self::In(namespace) => namespace.inside(work),
        }
    }
}
