//! `[server]`: addresses and limits for clients.

use std::{net::IpAddr, str::FromStr, time::Duration};

use bytesize::ByteSize;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use super::addresses::Addresses;
use crate::{reloadable::reloadable, units::OutOfRange};

/// Where the proxy listens, and the limits for clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Addresses and ports.
    pub listen: Addresses,
    /// Worker threads; 0: one for each core.
    pub workers: usize,
    /// Length of the accept queue (listen backlog).
    pub backlog: u32,
    /// Most client connections; one more is answered 503.
    pub max_connections: u64,
    /// Longest request head, up to 128 KiB.
    #[serde(with = "crate::units::sized")]
    pub max_head: ByteSize,
    /// Longest time for one request head.
    #[serde(with = "humantime_serde")]
    pub head_timeout: Duration,
    /// How long an idle client connection is kept.
    #[serde(with = "humantime_serde")]
    pub keep_alive: Duration,
    /// Longest time in which a client reads nothing of its response.
    #[serde(with = "humantime_serde")]
    pub send_timeout: Duration,
    /// Longest pause in a request body.
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// Lowest rate of a request body in bytes per second, while the proxy waits for the client.
    #[serde(with = "crate::units::sized")]
    pub body_min_rate: ByteSize,
    /// How long a request body may be slower than that.
    #[serde(with = "humantime_serde")]
    pub body_grace: Duration,
    /// How long /health says 503 before the proxy stops accepting.
    #[serde(with = "humantime_serde")]
    pub drain_notice: Duration,
    /// How long running transfers may go on after that.
    #[serde(with = "humantime_serde")]
    pub drain_timeout: Duration,
    /// Peers whose X-Forwarded-* and Forwarded fields are trusted: addresses and networks.
    #[serde(deserialize_with = "nets")]
    pub trusted_proxies: Vec<IpNet>,
}

reloadable!(Settings {
    listen: AfterRestart,
    workers: AfterRestart,
    backlog: AfterRestart,
    max_connections: AfterRestart,
    max_head: NextConnection,
    head_timeout: NextConnection,
    keep_alive: AfterRestart,
    send_timeout: NextConnection,
    body_timeout: NextRequest,
    body_min_rate: NextRequest,
    body_grace: NextRequest,
    drain_notice: AtOnce,
    drain_timeout: AfterRestart,
    trusted_proxies: NextRequest,
});

impl Settings {
    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that makes no sense.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        let (blink, day) = (Duration::from_millis(10), hour * 24);
        let size = |key, is: ByteSize, from: u64, to: u64| {
            let must = format!("{} to {}", ByteSize(from), ByteSize(to));
            OutOfRange::unless((from..=to).contains(&is.as_u64()), key, must, is)
        };
        OutOfRange::unless(
            self.workers <= 512,
            "server.workers",
            "0 to 512",
            self.workers,
        )?;
        OutOfRange::unless(
            (1..=65_535).contains(&self.backlog),
            "server.backlog",
            "1 to 65535",
            self.backlog,
        )?;
        OutOfRange::unless(
            (1..=1_000_000).contains(&self.max_connections),
            "server.max_connections",
            "1 to 1000000",
            self.max_connections,
        )?;
        size("server.max_head", self.max_head, 1024, 128 * 1024)?;
        size("server.body_min_rate", self.body_min_rate, 0, 1 << 30)?;
        OutOfRange::unless_between("server.head_timeout", blink, self.head_timeout, hour)?;
        OutOfRange::unless_between("server.keep_alive", Duration::ZERO, self.keep_alive, day)?;
        OutOfRange::unless_between("server.send_timeout", blink, self.send_timeout, day)?;
        OutOfRange::unless_between("server.body_timeout", blink, self.body_timeout, day)?;
        OutOfRange::unless_between("server.body_grace", Duration::ZERO, self.body_grace, day)?;
        OutOfRange::unless_between(
            "server.drain_notice",
            Duration::ZERO,
            self.drain_notice,
            hour,
        )?;
        OutOfRange::unless_between("server.drain_timeout", second, self.drain_timeout, day)
    }

    /// The number of worker threads.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }
}

/// Parses a list of networks: a TOML list or, as in the environment, a comma-separated string.
fn nets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum List {
        Words(Vec<String>),
        Text(String),
    }
    let words = match List::deserialize(deserializer)? {
        List::Words(words) => words,
        List::Text(text) => text.split(',').map(str::to_owned).collect(),
    };
    words
        .iter()
        .map(|word| word.trim())
        .filter(|word| !word.is_empty())
        .map(|word| {
            IpNet::from_str(word)
                .or_else(|_| word.parse::<IpAddr>().map(IpNet::from))
                .map_err(|_| {
                    D::Error::custom(format!(
                        "`{word}` is neither an address nor a network like 10.0.0.0/8"
                    ))
                })
        })
        .collect()
}
