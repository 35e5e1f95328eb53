//! The files that configure name resolution: /etc/hosts and /etc/resolv.conf.

use std::{
    fs::{self, File},
    io,
    net::Ipv4Addr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use hickory_resolver::{
    Hosts, TokioResolver,
    config::{LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts},
    net::{NetError, runtime::TokioRuntimeProvider},
    system_conf::parse_resolv_conf,
};

/// The port of DNS servers.
const DNS: u16 = 53;

/// The paths of the two files.
#[derive(Debug)]
pub struct NameFiles {
    /// hosts(5).
    pub hosts: PathBuf,
    /// resolv.conf(5).
    pub resolv_conf: PathBuf,
    /// The port of DNS servers, which the file cannot configure.
    pub port: u16,
}

/// Identifies a version of a file (times, size, inode); none if the file does not exist.
type Stamp = Option<(i64, i64, u64, u64, u64)>;

/// Versions of both files, to detect changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamps([Stamp; 2]);

impl Default for NameFiles {
    fn default() -> Self {
        NameFiles {
            hosts: "/etc/hosts".into(),
            resolv_conf: "/etc/resolv.conf".into(),
            port: DNS,
        }
    }
}

impl NameFiles {
    /// The current versions; costs two stat calls.
    pub fn stamps(&self) -> Stamps {
        Stamps([&self.hosts, &self.resolv_conf].map(|file| stamp(file)))
    }

    /// A resolver configured by the files' current content.
    ///
    /// # Errors
    ///
    /// The library rejects the configuration.
    pub fn read(&self) -> Result<TokioResolver, NetError> {
        let (config, options) = self.servers();
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        let mut dns = builder.build()?;
        let mut hosts = Hosts::default();
        let read = File::open(&self.hosts).and_then(|file| hosts.read_hosts_conf(file));
        match read {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, file = %self.hosts.display(), "the file of names cannot be read");
            }
            _ => {}
        }
        dns.set_hosts(Arc::new(hosts));
        Ok(dns)
    }

    /// The DNS servers; if none is configured, the one on this machine, as resolv.conf(5) says.
    fn servers(&self) -> (ResolverConfig, ResolverOpts) {
        let read = fs::read(&self.resolv_conf).map_err(NetError::from);
        let (mut config, options) = read.and_then(parse_resolv_conf).unwrap_or_else(|error| {
            tracing::debug!(%error, file = %self.resolv_conf.display(), "no name server is named");
            let local = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![local]);
            (config, ResolverOpts::default())
        });
        for connection in config
            .name_servers
            .iter_mut()
            .flat_map(|server| &mut server.connections)
            .filter(|connection| connection.port == DNS)
        {
            connection.port = self.port;
        }
        (config, options)
    }
}

fn stamp(file: &Path) -> Stamp {
    let file = fs::metadata(file).ok()?;
    Some((
        file.mtime(),
        file.mtime_nsec(),
        file.size(),
        file.ino(),
        file.dev(),
    ))
}
