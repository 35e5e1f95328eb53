//! One worker's connections to the origin: opens them, keeps idle ones, and sends requests over them.

use std::{rc::Rc, sync::Arc, time::Instant};

use actix_http::{Method, header};
use awc::FrozenClientRequest;
use tokio::time::timeout_at;

use super::{
    connect::Target,
    connection::Connection,
    exchange::{Answered, Exchange},
    fetch_error::FetchError,
    head_error::HeadError,
    pool::Pool,
    resolver::Resolver,
    send::send,
    shared::Shared,
    slots::NoSlot,
    sockets::OpenSocket,
};
use crate::{
    path::{client::Client, upload::Upload},
    traffic::{origin::OriginState, tuning::Tuning},
};

/// What accompanies a request: its body, and the client for interim responses.
#[derive(Default)]
pub(super) struct Beside {
    /// The request's body.
    pub(super) upload: Option<Upload>,
    /// The client that receives interim responses; none if they are dropped.
    pub(super) informed: Option<Rc<Client>>,
}

/// One worker's connections to the origin.
pub(super) struct Connector {
    shared: Shared,
    pool: Rc<Pool>,
    resolver: Resolver,
}

impl Connector {
    /// No connection yet.
    pub(super) fn new(shared: &Shared) -> Rc<Self> {
        Rc::new(Connector {
            pool: Pool::start(Arc::clone(&shared.sockets), Arc::clone(&shared.state)),
            resolver: Resolver::new(shared.settings.url.host(), shared.anew.clone()),
            shared: shared.clone(),
        })
    }

    /// The idle connections.
    pub(super) fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// What is measured and decided of the origin.
    pub(super) fn state(&self) -> &OriginState {
        &self.shared.state
    }

    /// Sends a request on an idle or a new connection and waits for the response head. An idempotent request without a body is
    /// repeated once if the idle connection turns out to be closed (RFC 9110 §9.2.2).
    ///
    /// # Errors
    ///
    /// [`FetchError`], with its cause.
    pub(super) async fn exchange(
        &self,
        head: &FrozenClientRequest,
        beside: Beside,
        tuning: &Tuning,
        deadline: Instant,
    ) -> Result<Answered, FetchError> {
        let Beside {
            mut upload,
            informed,
        } = beside;
        let replayable = upload.is_none() && is_idempotent(head.get_method());
        let to_head = head.get_method() == Method::HEAD;
        let max_head = self.shared.settings.max_head.as_u64() as usize;
        let mut kept = self.pool.take();
        loop {
            let connection = match kept.take() {
                Some(connection) => connection,
                // Boxed, because it is rare and large; otherwise every request would reserve space for it.
                None => Box::pin(self.connect(tuning, deadline)).await?,
            };
            let reused = connection.reused;
            let declared_forbidden_body = connection.declared_forbidden_body;
            let exchange = Exchange::new(
                connection,
                (to_head, head.headers().get(header::UPGRADE).cloned()),
                informed.clone(),
                max_head,
            );
            let sent = send(
                head,
                exchange.clone(),
                upload.take(),
                tuning.exchange_timeout,
                deadline,
            );
            match sent.await {
                Err(FetchError::Head(HeadError::Broken(_)))
                    if reused && replayable && !exchange.answered() =>
                {
                    self.shared.state.counters.retries.increment();
                    tracing::debug!(
                        "a kept origin connection was dead, the request goes out once more"
                    );
                }
                // Not a response, but the body of the previous response, which must not have one.
                Err(FetchError::Head(HeadError::Malformed(_)))
                    if reused && replayable && declared_forbidden_body =>
                {
                    self.shared.state.counters.retries.increment();
                    tracing::debug!(
                        "the origin sent a body behind an answer without one, the request goes out once more"
                    );
                }
                sent => return sent,
            }
        }
    }

    /// Opens a connection for one request; at the limit, waits until another one is closed.
    async fn connect(&self, tuning: &Tuning, deadline: Instant) -> Result<Connection, FetchError> {
        // The limit of the stable group, because the sockets are shared by all clients.
        let limit = self.shared.state.tuning.load().connections_at_once();
        let reserved = timeout_at(deadline.into(), self.shared.sockets.reserve(limit)).await;
        let open = reserved.map_err(|_| NoSlot { limit })?;
        let mut connection = self.open(open, tuning, deadline).await?;
        self.pool.lend(&mut connection);
        Ok(connection)
    }

    /// Opens a connection in advance; none if the limit is reached.
    pub(super) async fn open_spare(&self) -> Result<Option<Connection>, FetchError> {
        let tuning = self.shared.state.tuning.load_full();
        let limit = tuning.connections_at_once();
        let Some(open) = self.shared.sockets.try_reserve(limit) else {
            return Ok(None);
        };
        let deadline = Instant::now() + tuning.connect_timeout;
        self.open(open, &tuning, deadline).await.map(Some)
    }

    async fn open(
        &self,
        open: OpenSocket,
        tuning: &Tuning,
        deadline: Instant,
    ) -> Result<Connection, FetchError> {
        let url = &self.shared.settings.url;
        let counters = &self.shared.state.counters;
        let target = Target {
            resolver: &self.resolver,
            host: url.host(),
            port: url.port(),
            tls: self.shared.tls.as_ref(),
            options: tuning
                .tcp_options
                .then_some((&*self.shared.options, tuning.tcp_buffers)),
            dns_cache: tuning.dns_cache,
            connect_timeout: tuning.connect_timeout,
            deadline,
        };
        counters.connects.increment();
        let connection = target.connect(open).await.inspect_err(|_| {
            counters.connect_failures.increment();
        })?;
        self.shared.look(&connection);
        Ok(connection)
    }
}

/// Methods that may be repeated (RFC 9110 §9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}
