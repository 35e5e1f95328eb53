//! The command line.

use std::{path::PathBuf, time::Duration};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::{
    compare,
    lab::Lab,
    units::{ByteSize, Span},
};

/// Compares proxies for files on bad networks: real TCP over an emulated link that really loses packets.
#[derive(Debug, Parser)]
#[command(name = "load", version, propagate_version = true, after_help = "\
Exit codes: 0 done; 1 something failed or was judged wrong; 2 asked for something that does not exist; \
3 not root, or a program is missing; 130 interrupted.")]
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
    /// Folder for results [default: out in the lab's folder]
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
    /// Compares contestants on the loopback, without a bad link
    Compare(Compare),
}

#[derive(Debug, Args)]
struct Compare {
    /// Contestants, with commas; "direct" is the origin itself
    #[arg(long, value_delimiter = ',', default_value = "direct,nginx,haproxy,fileproxy-low,fileproxy-high")]
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
    /// One second and one round: only that it works and that bodies are right
    #[arg(long)]
    short: bool,
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    ///
    /// See [`crate::failure`].
    pub async fn run(self) -> Result<()> {
        let Places { lab, out, fileproxy, cpus } = self.places;
        let find = move || Lab::find(lab, out, fileproxy, cpus);
        match self.command {
            Command::Compare(c) => {
                let short = Duration::from_secs(if c.short { 1 } else { 8 });
                compare::compare(
                    &find()?,
                    &compare::Options {
                        peers: c.peers,
                        sizes: c.sizes,
                        connections: c.connections,
                        lasting: c.seconds.map_or(short, Span::get),
                        repeat: c.repeat.unwrap_or(if c.short { 1 } else { 5 }),
                        workers: c.workers,
                        slow_readers: c.slow_readers,
                        short: c.short,
                    },
                )
                .await
            }
        }
    }
}
