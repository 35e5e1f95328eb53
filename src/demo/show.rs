//! `fileproxy demo`: runs origin, tour, viewers and live line around a proxy that the caller starts.

use std::{
    future::Future,
    io::{self, Write},
    net::SocketAddr,
    pin::pin,
    time::{Duration, Instant},
};

use awc::Client;
use futures_util::future::{Either, select};
use serde_json::Value;
use tokio::time::sleep;

use super::{
    comparison::Comparison,
    live::Live,
    network::Network,
    origin::Origin,
    tour::{Tour, base_url},
    viewers::Viewers,
};

/// Time between two live lines.
const EVERY: Duration = Duration::from_secs(3);

/// Number of players for a canary, if none is given.
const VIEWERS: usize = 12;

/// Timeout for /stats.
const STATS_TIMEOUT: Duration = Duration::from_secs(5);

/// Command line options of `fileproxy demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The network before the built-in origin
    #[arg(long, value_enum, default_value_t)]
    pub network: Network,

    /// Players that watch the stream through the proxy
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub viewers: usize,

    /// Begin at level low and give half of the viewers level high: a canary. Without --viewers there are 12
    #[arg(long)]
    pub canary: bool,

    /// Where the proxy listens
    #[arg(long, default_value = "127.0.0.1:10080", value_name = "ADDRESS")]
    pub listen: SocketAddr,

    /// Where the built-in origin listens
    #[arg(long, default_value = "127.0.0.1:27804", value_name = "ADDRESS")]
    pub origin: SocketAddr,

    /// The network's dice: the same number, the same faults
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
}

/// A running demo: the origin, until the caller has started a proxy in front of it.
#[derive(Debug)]
pub struct Demo {
    options: Options,
    origin: Origin,
}

impl Demo {
    /// Starts the origin.
    ///
    /// # Errors
    ///
    /// As [`Origin::start`].
    pub fn start(mut options: Options) -> io::Result<Demo> {
        if options.canary && options.viewers == 0 {
            options.viewers = VIEWERS;
        }
        let origin = Origin::start(options.origin, options.network, options.seed)?;
        Ok(Demo { options, origin })
    }

    /// The origin's URL, for the proxy's settings.
    pub fn origin_url(&self) -> String {
        base_url(self.origin.addr())
    }

    /// Whether other viewers watch through a plain proxy: not if a canary already compares two levels.
    pub fn compares(&self) -> bool {
        self.options.viewers > 0 && !self.options.canary
    }

    /// Writes the tour to `out`, with the link of the dashboard, then the live lines every few seconds, while the viewers watch
    /// through `proxy` and as many others through `plain`, until `stop`; then their results. Needs an actix runtime.
    ///
    /// # Errors
    ///
    /// `out` is closed, or no thread can be started for the viewers.
    pub async fn show(
        &self,
        proxy: SocketAddr,
        plain: Option<SocketAddr>,
        monitor: &str,
        token: &str,
        out: &mut impl Write,
        stop: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let tour = Tour {
            proxy,
            monitor: monitor.into(),
            origin: self.origin.addr(),
            network: self.options.network,
            token: token.into(),
            viewers: self.options.viewers,
            plain: plain.is_some(),
        };
        writeln!(out, "{tour}")?;
        if self.options.canary {
            let body = r#"{"level": "high", "percent": 50}"#;
            match set_level(&base_url(proxy), token, body).await {
                Ok(()) => writeln!(
                    out,
                    "Half of the viewers have level high now, the others keep low.\n"
                )?,
                Err(error) => writeln!(out, "the canary did not begin: {error}")?,
            }
        }
        let viewers = match self.options.viewers {
            0 => None,
            count => Some(Watching::start(proxy, plain, count)?),
        };
        let lines = lines(base_url(proxy), viewers.as_ref(), out);
        match select(pin!(lines), pin!(stop)).await {
            Either::Left((error, _)) => return error,
            Either::Right(((), _)) => {}
        }
        if let Some(viewers) = viewers {
            writeln!(out, "\n{}", viewers.stop())?;
        }
        Ok(())
    }
}

/// The viewers of the proxy, and those of the plain one.
struct Watching {
    proxy: Viewers,
    plain: Option<Viewers>,
}

impl Watching {
    fn start(proxy: SocketAddr, plain: Option<SocketAddr>, count: usize) -> io::Result<Self> {
        let plain = plain.map(|plain| Viewers::start(base_url(plain), count));
        Ok(Self {
            proxy: Viewers::start(base_url(proxy), count)?,
            plain: plain.transpose()?,
        })
    }

    fn comparison(&self) -> Comparison {
        Comparison {
            proxy: self.proxy.summary(),
            plain: self.plain.as_ref().map(Viewers::summary),
        }
    }

    fn stop(self) -> Comparison {
        Comparison {
            proxy: self.proxy.stop(),
            plain: self.plain.map(Viewers::stop),
        }
    }
}

/// Writes live lines until that fails.
async fn lines(base: String, viewers: Option<&Watching>, out: &mut impl Write) -> io::Result<()> {
    let client = Client::builder().timeout(STATS_TIMEOUT).finish();
    let start = Instant::now();
    let mut live = Live::default();
    loop {
        sleep(EVERY).await;
        let comparison = viewers.map(Watching::comparison);
        match stats(&client, &base).await {
            Ok(stats) => {
                let line = live.line(&stats, start.elapsed(), comparison.as_ref());
                writeln!(out, "{line}")?;
            }
            Err(error) => writeln!(out, "{base}/stats: {error}")?,
        }
        out.flush()?;
    }
}

/// Sets the level as an operator does with curl.
async fn set_level(
    base: &str,
    token: &str,
    body: &'static str,
) -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::builder().timeout(STATS_TIMEOUT).finish();
    let request = client
        .post(format!("{base}/admin/optimization"))
        .bearer_auth(token);
    let response = request.send_body(body).await?;
    if !response.status().is_success() {
        return Err(format!("status {}", response.status()).into());
    }
    Ok(())
}

async fn stats(client: &Client, base: &str) -> Result<Value, Box<dyn std::error::Error>> {
    let mut response = client.get(format!("{base}/stats")).send().await?;
    if !response.status().is_success() {
        return Err(format!("status {}", response.status()).into());
    }
    Ok(serde_json::from_slice(&response.body().await?)?)
}
