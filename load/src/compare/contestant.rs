//! A contestant of the comparison: started, and asked for one body of each size before anything is measured.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use fileproxy_testbed::content::Content;

use super::{
    options::{DIRECT, Options},
    origin::{self, NginxOrigin},
};
use crate::{
    client::{
        connection::{Client, Delivered},
        verdict::{Expected, Verdict},
    },
    failure::Failure,
    host::Host,
    lab::Lab,
    peer::{Peer, Place},
    process::Running,
    units::ByteSize,
    usage::Usage,
};

/// A started contestant.
pub struct Contestant {
    pub name: String,
    pub version: String,
    pub address: SocketAddr,
    pub process: Option<Running>,
}

impl Contestant {
    /// CPU time and memory.
    pub fn usage(&self) -> Usage {
        self.process
            .as_ref()
            .map_or_else(Usage::default, |p| Usage::of_group(p.group()))
    }

    /// CPU seconds.
    pub fn cpu(&self) -> f64 {
        self.process
            .as_ref()
            .map_or(0.0, |p| Usage::cpu_of_group(p.group()).cpu_seconds)
    }
}

/// Starts a contestant.
pub fn start(
    lab: &Lab,
    options: &Options,
    host: Host<'_>,
    dir: &Path,
    origin: &NginxOrigin,
    name: &str,
) -> Result<Contestant> {
    if name == DIRECT {
        return Ok(Contestant {
            name: name.to_owned(),
            version: "the origin itself".to_owned(),
            address: origin.address,
            process: None,
        });
    }
    let peer = Peer::read(&lab.peers(), name)?;
    let address = host.free_address()?;
    let place = Place {
        listen: address,
        origin: origin.address,
        workers: options.workers,
        dir: dir.join(name),
        out: lab.out.clone(),
        fileproxy: if peer.is_fileproxy() {
            lab.fileproxy()?
        } else {
            PathBuf::new()
        },
        unlimited: true,
        loopback: true,
    };
    let version = peer.version(&place)?;
    peer.set_up(&place)?;
    let (words, env) = peer.prepare(&place)?;
    let (program, rest) = words.split_first().context("no command")?;
    let mut command: Command = host.command(program);
    command.args(rest).envs(env).current_dir(&place.dir);
    let process = Running::start(command, &place.dir.join("log"))?;
    Ok(Contestant {
        name: name.to_owned(),
        version,
        address,
        process: Some(process),
    })
}

/// Waits until the contestant answers and checks one body of each size through it.
pub fn verify(host: Host<'_>, contestant: &mut Contestant, sizes: &[ByteSize]) -> Result<()> {
    let (address, sizes) = (contestant.address, sizes.to_vec());
    let verdict = host.inside(move || -> Result<std::result::Result<(), String>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(runtime.block_on(async {
            let mut client =
                Client::new(address, None, Duration::from_secs(10), Delivered::default());
            for size in sizes {
                let path = origin::path(size);
                let expected = Expected::File {
                    content: Content::seeded(0, &path),
                    length: size.bytes(),
                    from: 0,
                };
                let start = Instant::now();
                loop {
                    let outcome = client.get(&path, &expected).await;
                    match outcome.verdict {
                        Verdict::Completed => break,
                        // Not listening yet.
                        Verdict::Failed(_) if start.elapsed() < Duration::from_secs(15) => {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                        }
                        other => {
                            return Err(format!("{path}: {other:?}, status {}", outcome.status));
                        }
                    }
                }
            }
            Ok(())
        }))
    })??;
    if let Err(why) = verdict {
        let ended = contestant.process.as_mut().and_then(Running::ended);
        let log = contestant
            .process
            .as_ref()
            .map(Running::last_words)
            .unwrap_or_default();
        let ended = ended.map(|s| format!(" ({s})")).unwrap_or_default();
        bail!(Failure::Judged(format!(
            "{}{ended} does not serve: {why}\n{log}",
            contestant.name
        )));
    }
    Ok(())
}
