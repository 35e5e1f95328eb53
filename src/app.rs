//! The one place that wires everything: bind, start the actors, serve, drain.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix_http::HttpService;
use actix_rt::{net::TcpStream, task::JoinHandle};
use actix_server::{GracefulShutdownSignal, Server, ServerHandle};
use actix_service::{ServiceFactory, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::{App, dev::AppConfig, middleware::Condition};
use tracing_actix_web::TracingLogger;

use crate::{
    actors::{self, Actors, NotStarted},
    api::{self, AdminToken},
    path::{
        client::Client,
        client_stream::{self, ClientStream},
        handler::{self, Worker},
        headers,
        listener::{self, ListenError},
        origin::{Origin, fetch::Shared, tls::TlsError},
        upload,
    },
    settings::Settings,
    telemetry::RequestSpan,
    traffic::published::Published,
};

/// How much of a response actix-http gathers before it writes.
const WRITE_BUFFER: usize = 32 * 1024;
/// How long a connection may take to close in order.
const DISCONNECT: Duration = Duration::from_secs(5);
/// Refused connections that may linger beside the allowed ones, for each worker.
const REFUSED: usize = 1024;

/// The running proxy.
pub struct Application {
    address: SocketAddr,
    published: Arc<Published>,
    actors: Actors,
    token: AdminToken,
    notice: Duration,
    handle: ServerHandle,
    served: JoinHandle<io::Result<()>>,
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
    /// The actors.
    #[error(transparent)]
    Actors(#[from] NotStarted),
    /// Anything else that the system says.
    #[error("the server could not be started: {0}")]
    Server(#[from] io::Error),
}

impl Application {
    /// Binds, starts the actors and serves. Call it inside an actix system.
    ///
    /// # Errors
    ///
    /// [`StartError`], in words that say what to do.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let listener = listener::listen(settings.server.listen, settings.server.backlog)?;
        let address = listener.local_addr()?;
        let workers = settings.server.worker_count();
        let actor_settings = actors::Settings {
            tables: settings.tables(),
            metrics: settings.metrics.clone(),
            quality: settings.quality.clone(),
            rate_limit: settings.rate_limit.clone(),
            concurrency: settings.concurrency.clone(),
            redis: settings.redis.clone(),
            canary: settings.canary.clone(),
            supervision: settings.supervision.clone(),
            origin: settings.origin.url.to_string(),
        };
        let published = Arc::new(actor_settings.published(settings.optimization.level, workers));
        let origin = Shared::new(
            settings.origin.clone(),
            settings.tcp.clone(),
            settings.transfers.clone(),
            Arc::clone(&published),
        )?;
        let actors = actors::start(&actor_settings, Arc::clone(&published))?;
        let token = AdminToken::of(&settings.admin)?;
        let notice = settings.server.drain_notice;
        let server = serve(
            listener,
            workers,
            Site {
                settings: Arc::new(settings),
                published: Arc::clone(&published),
                actors: actors.clone(),
                origin,
                token: token.clone(),
            },
        )?;
        let handle = server.handle();
        Ok(Application {
            address,
            published,
            actors,
            token,
            notice,
            handle,
            served: actix_rt::spawn(server),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The token that the admin endpoint asks for.
    pub fn token(&self) -> &str {
        self.token.as_str()
    }

    /// What actors and path share.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// The actors.
    pub fn actors(&self) -> &Actors {
        &self.actors
    }

    /// Goes out of service: /health says 503 first, then nothing more is accepted, and what is under way may end.
    pub async fn drain(self) {
        self.published.drain();
        let requests = self.published.counters.clients.requests.get();
        tracing::info!(requests, notice = ?self.notice, "draining: /health says 503 now");
        tokio::time::sleep(self.notice).await;
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
    }
}

/// What every worker needs to begin.
#[derive(Clone)]
struct Site {
    settings: Arc<Settings>,
    published: Arc<Published>,
    actors: Actors,
    origin: Shared,
    token: AdminToken,
}

fn serve(listener: TcpListener, workers: usize, site: Site) -> io::Result<Server> {
    let settings = Arc::clone(&site.settings);
    let connections = usize::try_from(settings.server.max_connections).unwrap_or(usize::MAX);
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(connections.saturating_add(REFUSED))
        .shutdown_timeout(settings.server.drain_timeout.as_secs())
        .disable_signals();
    let draining = builder.graceful_shutdown_signal();
    Ok(builder
        .listen("fileproxy", listener, move || {
            connection(site.clone(), draining.clone())
        })?
        .run())
}

/// What happens to an accepted socket: options, limits, HTTP.
fn connection(
    site: Site,
    draining: GracefulShutdownSignal,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = (), InitError = ()> {
    let settings = Arc::clone(&site.settings);
    let published = Arc::clone(&site.published);
    let limits = client_stream::Limits {
        max_head: settings.server.max_head.as_u64() as usize,
        head: settings.server.head_timeout,
        idle: settings.server.keep_alive,
        send: settings.server.send_timeout,
        connections: settings.server.max_connections,
    };
    let tcp = settings.tcp.clone();
    let lines = Arc::new(settings.lines.clone());
    let http = HttpService::build()
        .keep_alive(settings.server.keep_alive)
        // The stream itself watches over heads, the first and the later ones.
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(DISCONNECT)
        // The stream itself ends what a client that left had asked for.
        .h1_allow_half_closed(true)
        .h1_write_buffer_size(WRITE_BUFFER)
        .graceful_shutdown_signal(move || {
            let draining = draining.clone();
            async move { draining.notified().await }
        })
        .on_connect_ext(|io: &ClientStream, data| {
            data.insert(Rc::clone(io.client()));
        })
        .finish(map_config(app(site), |()| AppConfig::default()));
    fn_service(move |io: TcpStream| {
        let stream = io.peer_addr().map(|peer| {
            let trusted = headers::is_trusted(peer.ip(), &settings.server.trusted_proxies);
            let tuning = published
                .tuning_for(Client::bucket_of(peer, trusted))
                .load();
            if tuning.tcp_options
                && let Err(error) = tcp.apply(&io, tuning.tcp_buffers)
            {
                tracing::debug!(%error, "a client's socket refused an option");
            }
            let quickack = tuning.tcp_options && tcp.quickack;
            ClientStream::new(
                io,
                peer,
                trusted,
                limits,
                quickack,
                Arc::clone(&lines),
                Arc::clone(&published),
            )
        });
        async move {
            // A client that is gone already has no address.
            let stream = stream.map_err(|_| ())?;
            let peer = stream.client().peer;
            Ok::<_, ()>((stream, actix_http::Protocol::Http1, Some(peer)))
        }
    })
    .and_then(
        http.map_err(|error| tracing::debug!(%error, "a client's connection ended with an error")),
    )
}

/// The operators' endpoints, and the origin behind every other path.
fn app(
    site: Site,
) -> App<
    impl ServiceFactory<
        actix_web::dev::ServiceRequest,
        Config = (),
        Response = actix_web::dev::ServiceResponse<impl actix_web::body::MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let settings = Arc::clone(&site.settings);
    let worker = Rc::new(Worker {
        origin: Origin::start(&site.origin),
        reporter: site.actors.reporter(),
        published: Arc::clone(&site.published),
        upload_limits: upload::Limits {
            idle: settings.server.body_timeout,
            rate: settings.server.body_min_rate.as_u64(),
            grace: settings.server.body_grace,
        },
        trusted_proxies: settings.server.trusted_proxies.clone().into(),
        host: Worker::host_of(&settings.origin),
        access_log: settings.log.access,
    });
    let operators = api::State {
        published: site.published,
        actors: site.actors,
        token: site.token,
    };
    App::new()
        .configure(move |endpoints| api::configure(endpoints, operators))
        .default_service(fn_service(move |request| {
            handler::forward(request, Rc::clone(&worker))
        }))
        .wrap(Condition::new(
            settings.cors.enabled,
            settings.cors.middleware(),
        ))
        .wrap(TracingLogger::<RequestSpan>::new())
}
