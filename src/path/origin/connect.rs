//! Opens a connection: addresses are tried by happy eyeballs (RFC 8305), then socket options and TLS.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;

use super::{
    connection::Connection,
    resolver::{ResolveError, Resolver},
    sockets::OpenSocket,
    stream::Stream,
    tls::Tls,
};
use crate::path::tcp;

/// Delay before the next address is tried in parallel (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// How long a failed connect waits for a new DNS answer.
const ASKED_AGAIN: Duration = Duration::from_secs(2);

/// Why no connection could be opened.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name could not be resolved.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// All addresses failed; this is the last error.
    #[error("connect to {address}: {source}")]
    Connect {
        /// The address tried last.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The DNS answer has no address.
    #[error("{0} has no address")]
    NoAddress(String),
    /// The TLS handshake failed.
    #[error("tls handshake: {0}")]
    Tls(#[source] io::Error),
    /// The deadline passed.
    #[error("no connection within {0:?}")]
    Timeout(Duration),
}

/// Where and how to connect.
pub struct Target<'a> {
    /// The host's addresses.
    pub resolver: &'a Resolver,
    /// The host's name, for error messages.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// TLS settings, for https.
    pub tls: Option<&'a Tls>,
    /// TCP options, if the level sets them; and whether buffer sizes are fixed.
    pub options: Option<(&'a tcp::Settings, bool)>,
    /// How long DNS answers are kept.
    pub dns_cache: Duration,
    /// Timeout for one address, and for the TLS handshake.
    pub connect_timeout: Duration,
    /// When the connect fails as a whole.
    pub deadline: Instant,
}

impl Target<'_> {
    /// Opens a connection.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], with the address and the system error if there is one.
    pub async fn connect(&self, open: OpenSocket) -> Result<Connection, ConnectError> {
        let limit = self.deadline.saturating_duration_since(Instant::now());
        let connected = timeout_at(self.deadline.into(), self.connect_unbounded(open))
            .await
            .unwrap_or(Err(ConnectError::Timeout(limit.min(self.connect_timeout))));
        if connected.is_err() {
            self.resolver.doubt();
        }
        connected
    }

    async fn connect_unbounded(&self, open: OpenSocket) -> Result<Connection, ConnectError> {
        let addresses = timeout(
            self.connect_timeout,
            self.resolver.addresses(self.dns_cache),
        )
        .await
        .map_err(|_| ConnectError::Timeout(self.connect_timeout))??;
        let tcp = match self.race(interleave(addresses.clone())).await {
            Ok(tcp) => tcp,
            Err(error) => match self.moved(addresses).await {
                Some(addresses) => self.race(interleave(addresses)).await?,
                None => return Err(error),
            },
        };
        let stream = match self.tls {
            None => Stream::Tcp(tcp),
            Some(tls) => {
                let handshake =
                    TlsConnector::from(tls.config.clone()).connect(tls.name.clone(), tcp);
                let stream = timeout(self.connect_timeout, handshake)
                    .await
                    .map_err(|_| ConnectError::Timeout(self.connect_timeout))?
                    .map_err(ConnectError::Tls)?;
                Stream::Tls(Box::new(stream))
            }
        };
        let quickack = self.options.is_some_and(|(options, _)| options.quickack);
        Ok(Connection::new(stream, quickack, open))
    }

    /// Resolves the name again, and returns the addresses if they differ from `before`.
    async fn moved(&self, mut before: Vec<IpAddr>) -> Option<Vec<IpAddr>> {
        self.resolver.doubt();
        let asked = timeout(ASKED_AGAIN, self.resolver.addresses(self.dns_cache));
        let addresses = asked.await.ok()?.ok()?;
        let mut now = addresses.clone();
        // DNS servers rotate them.
        before.sort();
        now.sort();
        (before != now).then_some(addresses)
    }

    /// Tries the addresses with a delay between them, and takes the first connection.
    async fn race(&self, addresses: Vec<IpAddr>) -> Result<TcpStream, ConnectError> {
        let mut left = addresses
            .into_iter()
            .map(|ip| SocketAddr::new(ip, self.port));
        let mut attempts = FuturesUnordered::new();
        let mut last = ConnectError::NoAddress(self.host.to_owned());
        loop {
            if let Some(address) = left.next() {
                attempts.push(self.attempt(address));
            } else if attempts.is_empty() {
                return Err(last);
            }
            let more = left.len() > 0;
            tokio::select! {
                biased;
                Some(answer) = attempts.next() => match answer {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = error,
                },
                () = sleep(ATTEMPT_DELAY), if more => {}
            }
        }
    }

    async fn attempt(&self, address: SocketAddr) -> Result<TcpStream, ConnectError> {
        let failed = |source| ConnectError::Connect { address, source };
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.nonblocking(),
            Some(Protocol::TCP),
        )
        .map_err(failed)?;
        // Before connecting: the receive buffer decides the TCP window scale.
        if let Some((options, fixed_buffers)) = self.options {
            options.apply(&socket, fixed_buffers).map_err(failed)?;
        }
        let connect = TcpSocket::from_std_stream(socket.into()).connect(address);
        match timeout(self.connect_timeout, connect).await {
            Ok(connected) => connected.map_err(failed),
            Err(_) => Err(failed(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer within {:?}", self.connect_timeout),
            ))),
        }
    }
}

/// IPv6 and IPv4 alternately, IPv6 first, otherwise in the given order (RFC 8305 §4).
fn interleave(addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let (v6, v4): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv6);
    let (mut v6, mut v4) = (v6.into_iter(), v4.into_iter());
    let mut mixed = Vec::new();
    loop {
        let (a, b) = (v6.next(), v4.next());
        if a.is_none() && b.is_none() {
            return mixed;
        }
        mixed.extend(a.into_iter().chain(b));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns_and_ipv6_begins() {
        let ips = |words: &[&str]| {
            words
                .iter()
                .map(|w| w.parse().unwrap())
                .collect::<Vec<IpAddr>>()
        };
        assert_eq!(
            interleave(ips(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "::1"])),
            ips(&["::1", "10.0.0.1", "10.0.0.2", "10.0.0.3"])
        );
    }
}
