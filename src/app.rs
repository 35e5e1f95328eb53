//! The one place that wires everything: bind, start the actors, serve, drain.

use std::{
    cell::RefCell,
    io,
    net::{SocketAddr, TcpListener},
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use actix_http::{ConnectionType, HttpService, Protocol};
use actix_rt::{net::TcpStream, task::JoinHandle};
use actix_server::{GracefulShutdownSignal, Server, ServerHandle};
use actix_service::{Service as _, ServiceFactory, fn_factory, fn_service, map_config};
use actix_web::{
    App,
    dev::{AppConfig, ServiceRequest},
    middleware::Condition,
};
use arc_swap::ArcSwap;
use tracing_actix_web::TracingLogger;

pub mod browser;
mod certificate;
pub mod pulse;
pub mod reload;
mod sockets;
mod systemd;

use certificate::Certificate;
use pulse::{Pulse, Stalled};
use reload::{Reloader, Source};
use sockets::{Closing, Places, Serves, Sockets};

use crate::{
    actors::{self, Actors, NotStarted},
    api::{self, AdminToken, Feed, reload::Reloads},
    path::{
        client_stream::ClientStream,
        collector::CollectorError,
        entrance::{Arrived, Entrance},
        handler::{self, Worker},
        listener::{Inherited, ListenError},
        origin::tls::TlsError,
        policy::{InForce, Policy},
        tls::{CertificateError, Tls},
        trace::Traces,
    },
    settings::Settings,
    store::Store,
    telemetry::RequestSpan,
    traffic::published::Published,
};

/// The name of the group of origins: there is one, of one.
const GROUP: &str = "default";
/// How much of a response actix-http gathers before it writes.
const WRITE_BUFFER: usize = 32 * 1024;
/// How long a connection may take to close in order.
const DISCONNECT: Duration = Duration::from_secs(5);
/// How long a request may be on its way when the process begins to drain: on a connection just accepted (with TLS it may
/// shake hands first), or on a kept one whose client has not read yet that it closes.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// How long a connection may be on its way from the socket to its worker.
const HANDED_OVER: Duration = Duration::from_millis(200);
/// How long a busy worker may take to turn once more.
const TURN: Duration = Duration::from_secs(2);
/// Refused connections that may linger beside the allowed ones, for each worker.
const REFUSED: usize = 1024;
/// Connections over those of the clients that the operators' own address takes.
const OPERATORS: u64 = 256;

/// The running proxy.
pub struct Application {
    places: Places,
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
    /// The port.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// TLS to the origin.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// TLS to clients.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The way to the collector of traces.
    #[error(transparent)]
    Collector(#[from] CollectorError),
    /// The actors.
    #[error(transparent)]
    Actors(#[from] NotStarted),
    /// Anything else that the system says.
    #[error("the server could not be started: {0}")]
    Server(#[from] io::Error),
}

impl Application {
    /// Binds, starts the actors and serves. Call it inside an actix system. A reload finds these settings again.
    ///
    /// # Errors
    ///
    /// [`StartError`], in words that say what to do.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let same = settings.clone();
        let source = Box::new(move || Ok(same.clone()));
        Self::start_from(settings, source, Inherited::default())
    }

    /// The same; a reload takes its settings from `source`, and where a socket was `inherited`, no other is opened.
    ///
    /// # Errors
    ///
    /// [`StartError`], in words that say what to do.
    pub fn start_from(
        settings: Settings,
        source: Source,
        inherited: Inherited,
    ) -> Result<Self, StartError> {
        let sockets = Sockets::open(&settings.server, &settings.admin, inherited)?;
        let places = sockets.places();
        let (sockets, closing) = sockets.into_all();
        let workers = settings.server.worker_count();
        let for_actors = settings.for_actors();
        let published = Arc::new(for_actors.published(settings.optimization.level, workers));
        let store = Store::new(settings.store.clone(), GROUP, published.started);
        let policy = Policy::new(settings.terms(), Arc::clone(&published))?;
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
            Site {
                settings: Arc::new(settings),
                published: Arc::clone(&published),
                actors: actors.clone(),
                policy: Arc::clone(&policy),
                store,
                token: token.clone(),
                reloads: reloads.clone(),
                pulse: pulse.clone(),
                tls,
                feed: Feed::start(&monitor, Arc::clone(&published)),
                traces: traces.clone(),
            },
        )?;
        actix_rt::spawn(reloader.run(asked));
        let handle = server.handle();
        Ok(Application {
            places,
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

    /// Where it listens for clients: at least one address.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.places.public
    }

    /// Where the operators' endpoints are: on one of the addresses, if they are on several.
    pub fn operators(&self) -> SocketAddr {
        self.places.operators()
    }

    /// The dashboard's link for a browser on this machine; none where browsers refuse the ports of all addresses.
    pub fn monitor(&self) -> Option<String> {
        self.places.monitor(self.is_tls)
    }

    /// The token that the admin endpoint asks for.
    pub fn token(&self) -> Arc<String> {
        self.token.reveal()
    }

    /// What actors and path share.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// The actors.
    pub fn actors(&self) -> &Actors {
        &self.actors
    }

    /// Has the settings read again. The log says what came of it.
    pub async fn reload(&self, who: &str) {
        if self.reloads.ask(who.to_owned()).await.is_none() {
            tracing::warn!(who, "no reload could be done: others wait for theirs");
        }
    }

    /// Tells systemd that the process serves, and from then on that it turns.
    pub fn announce(&self) {
        systemd::ready();
        systemd::feed(self.pulse.clone(), Arc::clone(&self.published));
    }

    /// Whether workers and actors turned within `patience`.
    ///
    /// # Errors
    ///
    /// [`Stalled`]: what did not.
    pub fn turns(&self, patience: Duration) -> Result<(), Stalled> {
        self.pulse.check(&self.published, patience)
    }

    /// Goes out of service: /health says 503 first, then nothing more is accepted, and what is under way may end.
    pub async fn drain(mut self) {
        systemd::stopping();
        self.published.drain();
        let notice = self.policy.load().server.drain_notice;
        let requests = self.published.counters.clients.requests.get();
        tracing::info!(requests, ?notice, "draining: /health says 503 now");
        tokio::time::sleep(notice).await;
        std::mem::take(&mut self.closing).close().await;
        self.handle.pause().await;
        // A worker that goes out of service drops what was accepted for it and has not reached it.
        tokio::time::sleep(HANDED_OVER).await;
        self.pulse.until_all_turned(TURN).await;
        self.handle.stop(true).await;
        let cut = self.published.counters.clients.requests.get();
        tracing::info!(cut, "drained");
        self.stop().await;
    }

    /// Ends at once.
    pub async fn stop(self) {
        self.handle.stop(false).await;
        _ = self.served.await;
        self.actors.stop().await;
        if let Some(traces) = self.traces {
            // it waits for the collector
            _ = tokio::task::spawn_blocking(move || traces.stop()).await;
        }
    }
}

/// What every worker needs to begin.
#[derive(Clone)]
struct Site {
    settings: Arc<Settings>,
    published: Arc<Published>,
    actors: Actors,
    policy: InForce,
    store: Arc<Store>,
    token: AdminToken,
    reloads: Reloads,
    pulse: Pulse,
    tls: Option<Arc<Tls>>,
    feed: Arc<Feed>,
    traces: Option<Traces>,
}

fn serve(
    sockets: impl Iterator<Item = (TcpListener, Serves)>,
    workers: usize,
    site: Site,
) -> io::Result<Server> {
    let settings = Arc::clone(&site.settings);
    let connections = usize::try_from(settings.server.max_connections).unwrap_or(usize::MAX);
    let mut builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(connections.saturating_add(REFUSED))
        .shutdown_timeout(settings.server.drain_timeout.as_secs())
        .disable_signals();
    let draining = builder.graceful_shutdown_signal();
    for (socket, serves) in sockets {
        let name = match serves {
            Serves::Both | Serves::Files => "fileproxy",
            Serves::Operators => "operators",
        };
        let (site, draining) = (site.clone(), draining.clone());
        builder = builder.listen(name, socket, move || {
            connection(site.clone(), serves, draining.clone())
        })?;
    }
    Ok(builder.run())
}

thread_local! {
    /// The worker of this thread, for each of its sockets: whoever comes in shares its connections to the origin.
    static WORKER: RefCell<Weak<Worker>> = const { RefCell::new(Weak::new()) };
}

/// The worker of this thread. It beats from its first socket on.
fn worker(site: &Site) -> Rc<Worker> {
    WORKER.with_borrow_mut(|known| {
        known.upgrade().unwrap_or_else(|| {
            site.pulse.join();
            let (policy, published) = (Arc::clone(&site.policy), Arc::clone(&site.published));
            let tracer = site.traces.as_ref().map(Traces::tracer);
            let reporter = site.actors.reporter();
            let store = Arc::clone(&site.store);
            let worker = Rc::new(Worker::new(policy, reporter, published, store, tracer));
            *known = Rc::downgrade(&worker);
            worker
        })
    })
}

/// What happens to an accepted socket: options, limits, TLS, HTTP.
fn connection(
    site: Site,
    serves: Serves,
    draining: GracefulShutdownSignal,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = (), InitError = ()> {
    let server = &site.settings.server;
    let entrance = Entrance {
        policy: Arc::clone(&site.policy),
        published: Arc::clone(&site.published),
        tls: site.tls.clone().filter(|_| serves != Serves::Operators),
        // An operator gets in when clients have taken every connection.
        connections: match serves {
            Serves::Operators => server.max_connections.saturating_add(OPERATORS),
            Serves::Both | Serves::Files => server.max_connections,
        },
    };
    let leaving = draining.clone();
    let http1 = HttpService::build()
        .keep_alive(server.keep_alive)
        // The stream itself watches over heads, the first and the later ones.
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(DISCONNECT)
        // The stream itself ends what a client that left had asked for.
        .h1_allow_half_closed(true)
        .h1_write_buffer_size(WRITE_BUFFER)
        .graceful_shutdown_signal(move || {
            let leaving = leaving.clone();
            async move {
                leaving.notified().await;
                tokio::time::sleep(ON_ITS_WAY).await;
            }
        })
        .on_connect_ext(|io: &ClientStream, data| {
            data.insert(Rc::clone(io.client()));
        });
    // One for both protocols.
    let worker = (serves != Serves::Operators).then(|| worker(&site));
    let app = move || {
        map_config(app(site.clone(), serves, worker.clone()), |()| {
            AppConfig::default()
        })
    };
    let (http1, http2) = (Rc::new(http1.finish(app())), Rc::new(app()));
    fn_factory(move || {
        let (http1, http2) = (Rc::clone(&http1), Rc::clone(&http2));
        let (entrance, draining) = (entrance.clone(), draining.clone());
        async move {
            let http1 = Rc::new(http1.new_service(()).await.map_err(|_| ())?);
            let http2 = Rc::new(http2.new_service(()).await?);
            Ok::<_, ()>(fn_service(move |io: TcpStream| {
                let (http1, http2) = (Rc::clone(&http1), Rc::clone(&http2));
                let (entrance, draining) = (entrance.clone(), draining.clone());
                async move {
                    match entrance.let_in(io).await {
                        None => {}
                        Some(Arrived::Http1(stream)) => {
                            let peer = Some(stream.client().peer);
                            let served = http1.call((stream, Protocol::Http1, peer)).await;
                            if let Err(error) = served {
                                tracing::debug!(%error, "a client's connection ended with an error");
                            }
                        }
                        // Boxed: it is large, and every connection would carry room for it.
                        Some(Arrived::Http2(guest)) => {
                            Box::pin(guest.serve(&*http2, draining.notified())).await;
                        }
                    }
                    Ok(())
                }
            }))
        }
    })
}

/// The operators' endpoints, and the origin behind every other path; or one of the two. A worker serves the origin's.
fn app(
    site: Site,
    serves: Serves,
    worker: Option<Rc<Worker>>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = actix_web::dev::ServiceResponse<impl actix_web::body::MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let settings = Arc::clone(&site.settings);
    let published = Arc::clone(&site.published);
    let operators = api::State {
        published: site.published,
        actors: site.actors,
        token: site.token,
        reloads: site.reloads,
        feed: site.feed,
    };
    App::new()
        .configure(move |endpoints| {
            if serves != Serves::Files {
                api::configure(endpoints, operators);
            }
        })
        .default_service(fn_service(move |request: ServiceRequest| {
            let worker = worker.clone();
            async move {
                match worker {
                    Some(worker) => handler::forward(request, worker).await,
                    None => {
                        let nothing = api::nothing_here(request.request());
                        Ok(request.into_response(nothing))
                    }
                }
            }
        }))
        .wrap(Condition::new(
            settings.cors.enabled,
            settings.cors.middleware(),
        ))
        .wrap(TracingLogger::<RequestSpan>::new())
        .wrap_fn(move |request, service| {
            let answered = service.call(request);
            let published = Arc::clone(&published);
            async move {
                let mut response = answered.await?;
                if published.is_draining() {
                    // The client's next request is for the process after this one.
                    let head = response.response_mut().head_mut();
                    head.set_connection_type(ConnectionType::Close);
                }
                Ok(response)
            }
        })
}
