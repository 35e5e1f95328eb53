//! The running proxy: start, reload, drain, stop.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use actix_rt::task::JoinHandle;
use actix_server::ServerHandle;
use arc_swap::ArcSwap;

use super::{
    certificate::Certificate,
    pulse::{Pulse, Stalled},
    reload::{Reloader, Source},
    sockets::{Closing, ListenAddresses, Sockets},
    systemd,
    workers::{WorkerSetup, serve},
};
use crate::{
    actors::{self, Actors, NotStarted},
    api::{AdminToken, Feed, reload::Reloads},
    path::{
        collector::CollectorError,
        listener::{Inherited, ListenError},
        origin::tls::TlsError,
        policy::{InForce, Policy},
        tls::CertificateError,
        trace::Traces,
    },
    settings::Settings,
    store::{Store, disk::OpenError},
    traffic::published::Published,
};

/// The longest time between accepting a connection and its worker receiving it.
const HANDED_OVER: Duration = Duration::from_millis(200);
/// How long the drain waits for a busy worker.
const TURN: Duration = Duration::from_secs(2);

/// Name of the group of origins: there is one group with one origin.
const GROUP: &str = "default";

/// The running proxy. Dropping it does not stop it: use [`Application::drain`] or [`Application::stop`].
pub struct Application {
    addresses: ListenAddresses,
    is_tls: bool,
    published: Arc<Published>,
    actors: Actors,
    token: AdminToken,
    policy: InForce,
    reloads: Reloads,
    pulse: Pulse,
    traces: Option<Traces>,
    handle: ServerHandle,
    served: JoinHandle<io::Result<()>>,
    closing: Closing,
}

/// Why the proxy does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is not available.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The TLS settings for the origin are invalid.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The certificate for clients is invalid.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The trace exporter cannot be set up.
    #[error(transparent)]
    Collector(#[from] CollectorError),
    /// The store's directory cannot be used.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The actors cannot be started.
    #[error(transparent)]
    Actors(#[from] NotStarted),
    /// Any other system error.
    #[error("the server could not be started: {0}")]
    Server(#[from] io::Error),
}

impl Application {
    /// Opens the sockets, starts the actors and serves. Call it inside an actix system. A reload reads the same settings again.
    ///
    /// # Errors
    ///
    /// [`StartError`], with a message that says what to do.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let same = settings.clone();
        let source = Box::new(move || Ok(same.clone()));
        Self::start_from(settings, source, Inherited::default())
    }

    /// As [`Application::start`], with settings for reloads from `source`, and with sockets `inherited` from systemd instead of
    /// those in the settings.
    ///
    /// # Errors
    ///
    /// [`StartError`], with a message that says what to do.
    pub fn start_from(
        settings: Settings,
        source: Source,
        inherited: Inherited,
    ) -> Result<Self, StartError> {
        let sockets = Sockets::open(&settings.server, &settings.admin, inherited)?;
        let addresses = sockets.addresses();
        let (sockets, closing) = sockets.into_all();
        let workers = settings.server.worker_count();
        let for_actors = settings.for_actors();
        let published = Arc::new(for_actors.published(settings.optimization.level, workers));
        let store = Store::new(settings.store.clone(), GROUP, published.started);
        if let Some(disk) = settings.store.on_disk() {
            store.shelf.open_disk(&disk)?;
        }
        // Nothing has set it before.
        _ = published.store.set(Arc::clone(&store));
        let policy = Policy::new(settings.policy_settings(), Arc::clone(&published))?;
        let policy = Arc::new(ArcSwap::from_pointee(policy));
        let certificate = Certificate::of(&settings, &published)?;
        let tls = certificate.as_ref().map(Certificate::tls);
        let is_tls = tls.is_some();
        let actors = actors::start(&for_actors, Arc::clone(&published))?;
        let token = AdminToken::of(&settings.admin)?;
        let (reloads, asked) = Reloads::channel();
        let pulse = Pulse::new(workers);
        let reloader = Reloader {
            source,
            certificate,
            settings: settings.clone(),
            policy: Arc::clone(&policy),
            actors: actors.clone(),
            token: token.clone(),
        };
        let monitor = settings.monitor.clone();
        let traces = Traces::start(&settings.traces)?;
        let server = serve(
            sockets,
            workers,
            WorkerSetup {
                settings: Arc::new(settings),
                published: Arc::clone(&published),
                actors: actors.clone(),
                policy: Arc::clone(&policy),
                store,
                token: token.clone(),
                reloads: reloads.clone(),
                pulse: pulse.clone(),
                tls,
                open: Arc::default(),
                feed: Feed::start(&monitor, Arc::clone(&published)),
                traces: traces.clone(),
            },
        )?;
        actix_rt::spawn(reloader.run(asked));
        let handle = server.handle();
        Ok(Application {
            addresses,
            is_tls,
            published,
            actors,
            token,
            policy,
            reloads,
            pulse,
            traces,
            handle,
            served: actix_rt::spawn(server),
            closing,
        })
    }

    /// The addresses for clients: at least one.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses.public
    }

    /// An address of the operators' endpoints.
    pub fn operators(&self) -> SocketAddr {
        self.addresses.operators()
    }

    /// The URL of the dashboard for a browser on this machine; none if browsers refuse all ports.
    pub fn monitor(&self) -> Option<String> {
        self.addresses.monitor(self.is_tls)
    }

    /// The token of the admin endpoints.
    pub fn token(&self) -> Arc<String> {
        self.token.reveal()
    }

    /// The published state.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// The actors.
    pub fn actors(&self) -> &Actors {
        &self.actors
    }

    /// Reloads the settings and logs what changed. `who` is for the log.
    pub async fn reload(&self, who: &str) {
        if self.reloads.ask(who.to_owned()).await.is_none() {
            tracing::warn!(who, "no reload could be done: others wait for theirs");
        }
    }

    /// Notifies systemd that the process serves, and feeds its watchdog from then on.
    pub fn announce(&self) {
        systemd::ready();
        systemd::feed(self.pulse.clone(), Arc::clone(&self.published));
    }

    /// Checks that every worker and actor has run within `patience`.
    ///
    /// # Errors
    ///
    /// [`Stalled`]: one has not.
    pub fn turns(&self, patience: Duration) -> Result<(), Stalled> {
        self.pulse.check(&self.published, patience)
    }

    /// Drains: `/health` answers 503 for `server.drain_notice`, then no connections are accepted, and running transfers may take
    /// `server.drain_timeout`.
    pub async fn drain(mut self) {
        systemd::stopping();
        self.published.drain();
        let notice = self.policy.load().server.drain_notice;
        let requests = self.published.clients.requests.get();
        tracing::info!(requests, ?notice, "draining: /health says 503 now");
        tokio::time::sleep(notice).await;
        std::mem::take(&mut self.closing).close().await;
        self.handle.pause().await;
        // A worker that stops would drop accepted connections that have not reached it yet.
        tokio::time::sleep(HANDED_OVER).await;
        self.pulse.until_all_turned(TURN).await;
        self.handle.stop(true).await;
        let cut = self.published.clients.requests.get();
        tracing::info!(cut, "drained");
        self.stop().await;
    }

    /// Stops at once: transfers are cut.
    pub async fn stop(self) {
        self.handle.stop(false).await;
        _ = self.served.await;
        self.actors.stop().await;
        if let Some(store) = self.published.store.get() {
            let store = Arc::clone(store);
            // Blocks until pending writes are done.
            _ = tokio::task::spawn_blocking(move || {
                store.shelf.disk().is_none_or(|disk| disk.close())
            })
            .await;
        }
        if let Some(traces) = self.traces {
            // Blocks until the collector has answered.
            _ = tokio::task::spawn_blocking(move || traces.stop()).await;
        }
    }
}
