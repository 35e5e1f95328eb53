//! The origin of the comparison: nginx with files on disk.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    net::SocketAddr,
    path::Path,
};

use anyhow::{Context, Result};
use fileproxy_testbed::content::Content;

use super::options::Options;
use crate::{host::Host, lab::Lab, process::Running, units::ByteSize, usage::Usage};

/// nginx serving one file of each size.
#[derive(Debug)]
pub struct NginxOrigin {
    /// Where it listens.
    pub address: SocketAddr,
    process: Running,
}

/// The path of the file of this size.
#[must_use]
pub fn path(size: ByteSize) -> String {
    format!("/file-{}", size.bytes())
}

const CONFIG: &str = include_str!("origin.conf");

impl NginxOrigin {
    /// Writes the files, once, and starts nginx.
    ///
    /// # Errors
    ///
    /// The disk is full or nginx is missing.
    pub fn start(host: Host<'_>, lab: &Lab, dir: &Path, options: &Options) -> Result<Self> {
        let files = lab.out.join("bodies");
        fs::create_dir_all(&files)?;
        for size in &options.sizes {
            write_file(&files, *size)?;
        }
        let dir = dir.join("origin");
        fs::create_dir_all(&dir)?;
        let address = host.free_address()?;
        let cache_control = if options.no_store {
            "no-store"
        } else {
            "max-age=3600"
        };
        let config = CONFIG
            .replace("{cache_control}", cache_control)
            .replace("{dir}", &dir.display().to_string())
            .replace("{files}", &files.display().to_string())
            .replace("{listen}", &address.to_string());
        let config_path = dir.join("nginx.conf");
        fs::write(&config_path, config)?;
        let mut command = host.command("nginx");
        command.arg("-p").arg(&dir).arg("-c").arg(&config_path);
        Ok(Self {
            address,
            process: Running::start(command, &dir.join("log"))?,
        })
    }

    /// CPU seconds so far.
    #[must_use]
    pub fn cpu(&self) -> f64 {
        Usage::cpu_of_group(self.process.group()).cpu_seconds
    }
}

fn write_file(folder: &Path, size: ByteSize) -> Result<()> {
    let path = path(size);
    let target = folder.join(path.trim_start_matches('/'));
    if fs::metadata(&target).is_ok_and(|m| m.len() == size.bytes()) {
        return Ok(());
    }
    let partial = target.with_extension("partial");
    let mut out =
        BufWriter::new(File::create(&partial).with_context(|| partial.display().to_string())?);
    let content = Content::seeded(0, &path);
    let mut block = [0; 8192];
    let mut at = 0;
    while at < size.bytes() {
        let part = &mut block[..usize::try_from((size.bytes() - at).min(8192))?];
        content.fill(at, part);
        out.write_all(part)?;
        at += part.len() as u64;
    }
    out.flush()?;
    fs::rename(partial, target)?;
    Ok(())
}
