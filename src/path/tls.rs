//! TLS for clients: the certificate, which is reloaded when its files change, and handshakes with their limits.

use std::{fmt, fs, io, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{Acceptor, ProducesTickets},
    sign::{CertifiedKey, SingleCertAndKey},
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::handshakes::Handshakes;
use crate::{
    reloadable::reloadable,
    traffic::{counters::ClientCounters, validity::Validity},
    units::OutOfRange,
};

/// The ALPN identifier of HTTP/2 (RFC 9113 §3.1).
pub const H2: &[u8] = b"h2";

/// `[tls]`: TLS for clients. Off without a certificate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// PEM file with the certificate chain, the server's own first; empty: plain HTTP.
    pub certificate: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
    /// How often the two files are checked for changes.
    #[serde(with = "humantime_serde")]
    pub watch: Duration,
    /// Longest handshake.
    #[serde(with = "humantime_serde")]
    pub handshake_timeout: Duration,
    /// Handshakes at once, counted from the ClientHello; beyond that, the address with the most loses its oldest.
    pub max_handshakes: u64,
}

reloadable!(Settings {
    certificate: NextConnection,
    key: NextConnection,
    watch: AtOnce,
    handshake_timeout: NextConnection,
    max_handshakes: NextConnection,
});

impl Settings {
    /// Whether TLS is configured.
    pub fn is_on(&self) -> bool {
        !self.certificate.as_os_str().is_empty()
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that makes no sense.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        OutOfRange::unless(
            self.is_on() != self.key.as_os_str().is_empty(),
            "tls.key",
            "set where tls.certificate is, and only there",
            format!("`{}`", self.key.display()),
        )?;
        OutOfRange::unless_between("tls.watch", second / 10, self.watch, hour)?;
        OutOfRange::unless_between(
            "tls.handshake_timeout",
            second / 100,
            self.handshake_timeout,
            hour,
        )?;
        OutOfRange::unless(
            (1..=1_000_000).contains(&self.max_handshakes),
            "tls.max_handshakes",
            "1 to 1000000",
            self.max_handshakes,
        )
    }
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{key} {path}: {source}")]
    File {
        /// The setting that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file does not contain what it should.
    #[error("{key} {path} holds no usable PEM {what}: {detail}")]
    Pem {
        /// The setting that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should contain.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// Certificate and key do not match, or the key type is not supported.
    #[error("tls.certificate {certificate} with tls.key {key}: {source}")]
    Pair {
        /// The certificate file.
        certificate: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What the library says.
        source: rustls::Error,
    },
    /// No random numbers, or rustls refused its own default settings.
    #[error("TLS cannot be set up: {0}")]
    Library(#[from] rustls::Error),
}

/// A certificate and its key, as read from their files.
#[derive(Clone)]
pub struct Pair {
    files: [Vec<u8>; 2],
    certified: Arc<CertifiedKey>,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pair")
    }
}

impl Pair {
    /// Reads both files and checks that they match.
    ///
    /// # Errors
    ///
    /// [`CertificateError`], with the file. Nothing of the key is ever shown.
    pub fn read(settings: &Settings) -> Result<Self, CertificateError> {
        let read = |key: &'static str, path: &PathBuf| {
            fs::read(path).map_err(|source| CertificateError::File {
                key,
                path: path.clone(),
                source,
            })
        };
        let chain = read("tls.certificate", &settings.certificate)?;
        let key = read("tls.key", &settings.key)?;
        let bad_chain = |detail: String| CertificateError::Pem {
            key: "tls.certificate",
            path: settings.certificate.clone(),
            what: "certificate",
            detail,
        };
        let certificates = CertificateDer::pem_slice_iter(&chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| bad_chain(error.to_string()))?;
        if certificates.is_empty() {
            let has_key = PrivateKeyDer::from_pem_slice(&chain).is_ok();
            let swapped = has_key && CertificateDer::from_pem_slice(&key).is_ok();
            let detail = match (swapped, has_key) {
                (true, _) => "it holds a private key, and tls.key a certificate: they are swapped",
                (false, true) => "it holds a private key",
                (false, false) => "no PEM block in it",
            };
            return Err(bad_chain(detail.to_owned()));
        }
        let private =
            PrivateKeyDer::from_pem_slice(&key).map_err(|error| CertificateError::Pem {
                key: "tls.key",
                path: settings.key.clone(),
                what: "private key",
                detail: error.to_string(),
            })?;
        let certified = CertifiedKey::from_der(certificates, private, &ring::default_provider())
            .map_err(|source| CertificateError::Pair {
                certificate: settings.certificate.clone(),
                key: settings.key.clone(),
                source,
            })?;
        Ok(Pair {
            files: [chain, key],
            certified: Arc::new(certified),
        })
    }

    /// The validity period of the server's certificate; none if it cannot be parsed.
    pub fn validity(&self) -> Option<Validity> {
        Validity::of(self.certified.cert.first()?)
    }

    /// Whether both pairs were read from equal content.
    pub fn is(&self, other: &Pair) -> bool {
        self.files == other.files
    }
}

/// The TLS server that all workers share. A new certificate applies to new handshakes; connections keep theirs.
#[derive(Debug)]
pub struct Tls {
    config: ArcSwap<ServerConfig>,
    /// Session ticket keys: kept when the certificate changes, so that sessions can still be resumed.
    tickets: Arc<dyn ProducesTickets>,
    /// Connections whose ClientHello is not complete yet. They cost a socket each.
    silent: Handshakes,
    /// Connections in the handshake proper.
    shaking: Handshakes,
}

impl Tls {
    /// With this certificate; `http2`: offers HTTP/2 by ALPN.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Library`] if there are no random numbers.
    pub fn new(pair: &Pair, http2: bool) -> Result<Self, CertificateError> {
        let tickets = ring::Ticketer::new()?;
        let config = config(pair, http2, Arc::clone(&tickets))?;
        Ok(Tls {
            config: ArcSwap::from_pointee(config),
            tickets,
            silent: Handshakes::default(),
            shaking: Handshakes::default(),
        })
    }

    /// Replaces the certificate.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Library`] if rustls refuses its own default settings.
    pub fn renew(&self, pair: &Pair, http2: bool) -> Result<(), CertificateError> {
        let config = config(pair, http2, Arc::clone(&self.tickets))?;
        self.config.store(Arc::new(config));
        Ok(())
    }

    /// Frees a connection when the limit is reached: cancels a handshake of a client that has sent nothing, or one in progress.
    /// Returns whether there was one.
    pub fn make_room(&self, counters: &ClientCounters) -> bool {
        let made = self.silent.evict() || self.shaking.evict();
        if made {
            counters.handshakes_refused.increment();
        }
        made
    }

    /// Performs the handshake. None, and counted, if it fails, times out, or is cancelled to make room.
    pub async fn accept(
        &self,
        io: TcpStream,
        from: IpAddr,
        settings: &Settings,
        counters: &ClientCounters,
    ) -> Option<Box<TlsStream<TcpStream>>> {
        let shaken = self.shake(io, from, settings, counters);
        let why = match tokio::time::timeout(settings.handshake_timeout, shaken).await {
            Ok(Ok(stream)) => return Some(Box::new(stream)),
            Ok(Err(Failed::Evicted)) => return None,
            Ok(Err(Failed::Tls(error))) => error.to_string(),
            Err(_) => format!("not done within {:?}", settings.handshake_timeout),
        };
        counters.handshakes_failed.increment();
        tracing::debug!(why, "a client's TLS handshake failed");
        None
    }

    async fn shake(
        &self,
        io: TcpStream,
        from: IpAddr,
        settings: &Settings,
        counters: &ClientCounters,
    ) -> Result<TlsStream<TcpStream>, Failed> {
        let mut silent = self.silent.begin(from);
        let said = tokio::select! {
            said = LazyConfigAcceptor::new(Acceptor::default(), io) => said?,
            () = silent.evicted() => return Err(Failed::Evicted),
        };
        // From here on a handshake costs memory and CPU time: their number is limited.
        let mut shaking = self.shaking.begin(from);
        drop(silent);
        let counted = Counted::begin(counters);
        if counted.at_once > settings.max_handshakes {
            counters.handshakes_refused.increment();
            if !self.shaking.evict() {
                return Err(Failed::Evicted);
            }
        }
        tokio::select! {
            done = said.into_stream(self.config.load_full()) => Ok(done?),
            () = shaking.evicted() => Err(Failed::Evicted),
        }
    }
}

/// Why a handshake failed.
enum Failed {
    /// It was cancelled to make room.
    Evicted,
    /// The client left, or does not speak TLS.
    Tls(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Failed::Tls(error)
    }
}

/// Counts a handshake while this lives.
struct Counted<'a> {
    counters: &'a ClientCounters,
    at_once: u64,
}

impl<'a> Counted<'a> {
    fn begin(counters: &'a ClientCounters) -> Self {
        let at_once = counters.handshakes.up();
        Counted { counters, at_once }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.counters.handshakes.down();
    }
}

fn config(
    pair: &Pair,
    http2: bool,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let resolver = SingleCertAndKey::from(Arc::clone(&pair.certified));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(resolver));
    config.ticketer = tickets;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if http2 {
        config.alpn_protocols.insert(0, H2.to_vec());
    }
    Ok(config)
}
