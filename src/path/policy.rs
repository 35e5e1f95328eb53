//! The settings in force for connections and requests.
//!
//! They are replaced as a whole by a reload. A connection keeps those it was accepted with, a request those it arrived with:
//! nothing changes during a transfer.

use std::sync::Arc;

use actix_http::header::HeaderValue;
use arc_swap::ArcSwap;

use super::{
    connection_limits::ConnectionLimits,
    http2, line,
    origin::{self, shared::Shared, tls::TlsError},
    server, tcp, tls, transfers, upgrades, upload,
};
use crate::traffic::published::Published;

/// The policy in force, as all workers see it.
pub type InForce = Arc<ArcSwap<Policy>>;

/// The settings that connections and requests keep to. A reload replaces the whole; what is under way keeps the one that it
/// began with.
#[derive(Debug)]
pub struct Policy {
    /// `[server]`: limits for clients.
    pub server: server::Settings,
    /// `[tcp]`: which TCP options are set.
    pub tcp: Arc<tcp::Settings>,
    /// `[lines]`: socket options for clients with a poor line.
    pub lines: Arc<line::Settings>,
    /// `[tls]`: limits for TLS handshakes.
    pub tls: tls::Settings,
    /// `[http2]`: limits of HTTP/2.
    pub http2: http2::settings::Settings,
    /// `[upgrades]`: limits for connections that speak another protocol, and their permits.
    pub upgrades: (upgrades::Settings, Arc<upgrades::UpgradePermits>),
    /// The origin, as all workers share it.
    pub origin: Arc<Shared>,
    /// The Host to send to the origin, if it is not the client's.
    pub host: Option<HeaderValue>,
    /// Whether each request writes an access line.
    pub access_log: bool,
    /// Whether the access line contains User-Agent, Referer and the HTTP version.
    pub access_details: bool,
}

/// The settings that a policy is built from.
#[derive(Clone, Copy, Debug)]
pub struct PolicySettings<'a> {
    /// `[server]`
    pub server: &'a server::Settings,
    /// `[tcp]`
    pub tcp: &'a tcp::Settings,
    /// `[lines]`
    pub lines: &'a line::Settings,
    /// `[tls]`
    pub tls: &'a tls::Settings,
    /// `[http2]`
    pub http2: &'a http2::settings::Settings,
    /// `[upgrades]`
    pub upgrades: &'a upgrades::Settings,
    /// `[origin]`
    pub origin: &'a origin::Settings,
    /// `[transfers]`
    pub transfers: &'a transfers::Settings,
    /// Whether each request writes an access line.
    pub access_log: bool,
    /// Whether the access line contains User-Agent, Referer and the HTTP version.
    pub access_details: bool,
}

impl Policy {
    /// The first policy of the process.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if the TLS settings for the origin are invalid.
    pub fn new(settings: PolicySettings<'_>, published: Arc<Published>) -> Result<Self, TlsError> {
        let (tcp, transfers) = (settings.tcp.clone(), settings.transfers.clone());
        let permits = Arc::new(upgrades::UpgradePermits::new(Arc::clone(&published)));
        let state = Arc::clone(published.origins.first());
        let origin = Shared::new(settings.origin.clone(), tcp, transfers, state)?;
        Ok(Self::with(settings, Arc::new(origin), permits))
    }

    /// The policy after a reload. Idle origin connections are kept, unless settings of theirs changed.
    ///
    /// # Errors
    ///
    /// [`TlsError`] if the TLS settings for the origin are invalid; this policy then stays in force.
    pub fn next(&self, settings: PolicySettings<'_>) -> Result<Self, TlsError> {
        let origin = self
            .origin
            .renewed(settings.origin, settings.tcp, settings.transfers)?;
        Ok(Self::with(
            settings,
            origin.map_or_else(|| Arc::clone(&self.origin), Arc::new),
            Arc::clone(&self.upgrades.1),
        ))
    }

    fn with(
        settings: PolicySettings<'_>,
        origin: Arc<Shared>,
        permits: Arc<upgrades::UpgradePermits>,
    ) -> Self {
        Policy {
            server: settings.server.clone(),
            tcp: Arc::new(settings.tcp.clone()),
            lines: Arc::new(settings.lines.clone()),
            tls: settings.tls.clone(),
            http2: settings.http2.clone(),
            upgrades: (settings.upgrades.clone(), permits),
            origin,
            host: settings.origin.host_header(),
            access_log: settings.access_log,
            access_details: settings.access_details,
        }
    }

    /// Limits for a client connection.
    pub fn connection_limits(&self) -> ConnectionLimits {
        ConnectionLimits {
            max_head: self.server.max_head.as_u64() as usize,
            head: self.server.head_timeout,
            idle: self.server.keep_alive,
            send: self.server.send_timeout,
            log: self.access_log,
        }
    }

    /// Limits for a request's body.
    pub fn upload_limits(&self) -> upload::Limits {
        upload::Limits {
            idle: self.server.body_timeout,
            rate: self.server.body_min_rate.as_u64(),
            grace: self.server.body_grace,
        }
    }
}
