//! The worker threads, and the services on each socket.

use std::{
    cell::RefCell,
    io,
    net::TcpListener,
    rc::{Rc, Weak},
    sync::Arc,
    time::Duration,
};

use actix_http::{HttpService, KeepAlive, Protocol};
use actix_rt::net::TcpStream;
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::{Service as _, ServiceFactory, fn_factory, fn_service, map_config};
use actix_web::{
    App,
    dev::{AppConfig, ServiceRequest},
    middleware::Condition,
};
use futures_util::FutureExt as _;
use tracing_actix_web::TracingLogger;

use super::{
    dispatch::{self, Dispatch},
    pulse::Pulse,
    sockets::Serves,
};
use crate::{
    actors::Actors,
    api::{self, AdminToken, Feed, reload::Reloads},
    path::{
        acceptor::{Accepted, Acceptor},
        client_stream::ClientStream,
        idle::Connections,
        lent_stream::{Home, LentStream},
        policy::InForce,
        tls::Tls,
        trace::Traces,
        worker::Worker,
    },
    settings::Settings,
    store::Store,
    telemetry::RequestSpan,
    traffic::published::Published,
};

/// Once actix-http has buffered so many bytes of an HTTP/1.1 response, it writes: with each piece of a body. Each connection keeps the
/// room for what was once buffered.
const WRITE_BUFFER: usize = 8 * 1024;
/// Timeout for the orderly close of an HTTP/1.1 connection.
const DISCONNECT: Duration = Duration::from_secs(5);
/// How long a request may take to arrive after the drain begins: on a connection just accepted (perhaps during its TLS handshake),
/// or on an idle one whose client has not noticed the close.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// Connections for each worker beyond `server.max_connections`: they are refused, which takes a moment.
const REFUSED: usize = 1024;
/// Connections to the operators' own address beyond `server.max_connections`.
const OPERATORS: u64 = 256;

/// What every worker thread is started with.
#[derive(Clone)]
pub struct WorkerSetup {
    pub settings: Arc<Settings>,
    pub published: Arc<Published>,
    pub actors: Actors,
    pub policy: InForce,
    pub store: Arc<Store>,
    pub token: AdminToken,
    pub reloads: Reloads,
    pub pulse: Pulse,
    pub tls: Option<Arc<Tls>>,
    pub open: Arc<Connections>,
    pub feed: Arc<Feed>,
    pub traces: Option<Traces>,
}

/// Builds the server: `workers` threads that serve the sockets until the server is stopped.
///
/// # Errors
///
/// A socket cannot be listened on.
pub fn serve(
    sockets: impl Iterator<Item = (TcpListener, Serves)>,
    workers: usize,
    setup: WorkerSetup,
) -> io::Result<Server> {
    let settings = Arc::clone(&setup.settings);
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
        let (setup, draining) = (setup.clone(), draining.clone());
        builder = builder.listen(name, socket, move || {
            connection(setup.clone(), serves, draining.clone())
        })?;
    }
    Ok(builder.run())
}

thread_local! {
    /// The worker of this thread, with its connections to the origin. Shared by all its sockets.
    static WORKER: RefCell<Weak<Worker>> = const { RefCell::new(Weak::new()) };
}

/// The worker of this thread; created for the first of its sockets, and its heartbeat starts then.
fn worker(setup: &WorkerSetup) -> Rc<Worker> {
    WORKER.with_borrow_mut(|known| {
        known.upgrade().unwrap_or_else(|| {
            setup.pulse.join();
            let (policy, published) = (Arc::clone(&setup.policy), Arc::clone(&setup.published));
            let tracer = setup.traces.as_ref().map(Traces::tracer);
            let reporter = setup.actors.reporter();
            let store = Arc::clone(&setup.store);
            let worker = Rc::new(Worker::new(policy, reporter, published, store, tracer));
            *known = Rc::downgrade(&worker);
            worker
        })
    })
}

/// The service for accepted sockets: options and limits, TLS, then HTTP/1.1 or HTTP/2.
fn connection(
    setup: WorkerSetup,
    serves: Serves,
    draining: GracefulShutdownSignal,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = (), InitError = ()> {
    let server = &setup.settings.server;
    let worker = (serves != Serves::Operators).then(|| worker(&setup));
    let leaving = draining.clone();
    let acceptor = Acceptor {
        policy: Arc::clone(&setup.policy),
        published: Arc::clone(&setup.published),
        tls: setup.tls.clone().filter(|_| serves != Serves::Operators),
        open: Arc::clone(&setup.open),
        // Operators can connect even if clients use all connections.
        connections: match serves {
            Serves::Operators => server.max_connections.saturating_add(OPERATORS),
            Serves::Both | Serves::Files => server.max_connections,
        },
        worker: worker.clone(),
        leaving: Rc::new(move || {
            let leaving = leaving.clone();
            async move {
                leaving.notified().await;
                tokio::time::sleep(ON_ITS_WAY).await;
            }
            .boxed_local()
        }),
    };
    let http1 = HttpService::build()
        // `ClientStream` closes idle connections: it answers some requests without actix-http.
        .keep_alive(KeepAlive::Os)
        // `ClientStream` has its own timeout for request heads.
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(DISCONNECT)
        // `ClientStream` detects a client that left, and ends its request.
        .h1_allow_half_closed(true)
        .h1_write_buffer_size(WRITE_BUFFER)
        .on_connect_ext(|io: &LentStream, data| {
            if let Some(client) = io.client() {
                data.insert(Rc::clone(client));
            }
        });
    let dispatch = Dispatch {
        worker,
        endpoints: serves != Serves::Files,
        cors: setup.settings.cors.enabled,
        published: Arc::clone(&setup.published),
    };
    // Shared by both protocols.
    let requests = move || {
        let (setup, dispatch) = (setup.clone(), dispatch.clone());
        fn_factory(move || {
            let dispatch = dispatch.clone();
            let app = app(setup.clone(), serves, dispatch.worker.clone());
            let app = map_config(app, |()| AppConfig::default());
            async move {
                let app = Rc::new(app.new_service(()).await?);
                Ok::<_, ()>(fn_service(move |request| dispatch.serve(&app, request)))
            }
        })
    };
    let (http1, http2) = (Rc::new(http1.finish(requests())), Rc::new(requests()));
    fn_factory(move || {
        let (http1, http2) = (Rc::clone(&http1), Rc::clone(&http2));
        let (acceptor, draining) = (acceptor.clone(), draining.clone());
        async move {
            let http1 = Rc::new(http1.new_service(()).await.map_err(|_| ())?);
            let http2 = Rc::new(http2.new_service(()).await?);
            Ok::<_, ()>(fn_service(move |io: TcpStream| {
                let (http1, http2) = (Rc::clone(&http1), Rc::clone(&http2));
                let (acceptor, draining) = (acceptor.clone(), draining.clone());
                // Boxed, the whole and its parts: otherwise every connection would reserve space for all parts at once, and twice.
                async move {
                    match Box::pin(acceptor.accept(io)).await {
                        None => {}
                        Some(Accepted::Http1(stream)) => {
                            let peer = Some(stream.client().peer);
                            let (mut waiting, home) = (Some(stream), Home::default());
                            while let Some(stream) = waiting {
                                let stream = LentStream::wait(stream, Rc::clone(&home)).await;
                                let served = http1.call((stream, Protocol::Http1, peer));
                                if let Err(error) = Box::pin(served).await {
                                    tracing::debug!(%error, "a client's connection ended with an error");
                                }
                                let back = home.take();
                                waiting = back.and_then(ClientStream::taken_back);
                            }
                        }
                        Some(Accepted::Http2(connection)) => {
                            Box::pin(connection.serve(&*http2, draining.notified())).await;
                        }
                    }
                    Ok(())
                }
                .boxed_local()
            }))
        }
    })
}

/// The application for one socket: the operators' endpoints and, if every request passes through it, the origin behind all other
/// paths. `worker` forwards to the origin; none on the operators' own address.
fn app(
    setup: WorkerSetup,
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
    let settings = Arc::clone(&setup.settings);
    let operators = api::State {
        published: setup.published,
        actors: setup.actors,
        token: setup.token,
        reloads: setup.reloads,
        feed: setup.feed,
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
                    Some(worker) => Ok(dispatch::forward(request, worker).await),
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
}
