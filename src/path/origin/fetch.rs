//! The way of one request at the origin: slot, connection, request, response head; once more if a kept connection
//! turns out dead.

use std::{
    rc::{Rc, Weak},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use actix_http::{
    Method, StatusCode, Uri,
    header::{self, HeaderMap, HeaderValue},
    uri::{Authority, Parts, PathAndQuery, Scheme},
};
use awc::FrozenClientRequest;

use super::{
    Settings,
    connect::{ConnectError, Target},
    connection::Connection,
    exchange::{Answered, Exchange, HeadError, Lend},
    lately::Lately,
    parallel::Memory,
    pool::{OpenSocket, Pool, Sockets},
    resolver::Resolver,
    resume::Replay,
    send::send,
    slots::{NoSlot, Slot, Slots},
    source::{Source, Widened},
    tls::Tls,
    warm::keep_warm,
};
use crate::{
    path::{
        framing::Framing,
        range::{self, Continuation},
        tcp, transfers,
        upload::Upload,
    },
    traffic::{canary::split::Bucket, published::Published, tuning::Tuning},
};

/// A large answer waits for small ones that come up to this part of the exchange timeout later.
const LARGE_WAIT: u32 = 4;
/// How often the limit on exchanges at once is looked at while no request comes.
const FOLLOW: Duration = Duration::from_millis(500);

/// What all workers share of the origin.
#[derive(Clone, Debug)]
pub struct Shared {
    settings: Arc<Settings>,
    options: Arc<tcp::Settings>,
    transfers: Arc<transfers::Settings>,
    lately: Arc<Lately>,
    tls: Option<Tls>,
    slots: Arc<Slots>,
    sockets: Arc<Sockets>,
    published: Arc<Published>,
}

impl Shared {
    /// Prepares the origin's side.
    ///
    /// # Errors
    ///
    /// [`TlsError`](super::tls::TlsError) where the TLS settings do not hold.
    pub fn new(
        settings: Settings,
        options: tcp::Settings,
        transfers: transfers::Settings,
        published: Arc<Published>,
    ) -> Result<Self, super::tls::TlsError> {
        let tls = settings
            .url
            .is_https()
            .then(|| Tls::new(&settings.tls, settings.url.host()))
            .transpose()?;
        let tuning = published.tuning.load();
        let counters = Arc::clone(&published.counters);
        Ok(Shared {
            slots: Arc::new(Slots::new(
                tuning.connections_at_once(),
                Arc::clone(&counters),
            )),
            sockets: Arc::new(Sockets::new(counters)),
            settings: Arc::new(settings),
            options: Arc::new(options),
            lately: Arc::new(Lately::new(&transfers, published.started)),
            transfers: Arc::new(transfers),
            tls,
            published: Arc::clone(&published),
        })
    }

    /// The same origin by other settings: what is open and in use counts on. None where nothing changed.
    ///
    /// # Errors
    ///
    /// [`TlsError`](super::tls::TlsError) where the TLS settings do not hold.
    pub fn renewed(
        &self,
        settings: &Settings,
        options: &tcp::Settings,
        transfers: &transfers::Settings,
    ) -> Result<Option<Self>, super::tls::TlsError> {
        // The file may hold other certificates than before.
        let rereads = settings.url.is_https() && !settings.tls.ca_file.as_os_str().is_empty();
        let same_transfers = *self.transfers == *transfers;
        if *self.settings == *settings && *self.options == *options && same_transfers && !rereads {
            return Ok(None);
        }
        let fresh = Self::new(
            settings.clone(),
            options.clone(),
            transfers.clone(),
            Arc::clone(&self.published),
        )?;
        let lately = if same_transfers {
            Arc::clone(&self.lately)
        } else {
            fresh.lately
        };
        Ok(Some(Shared {
            slots: Arc::clone(&self.slots),
            sockets: Arc::clone(&self.sockets),
            lately,
            ..fresh
        }))
    }
}

/// The origin, as one worker sees it.
pub struct Origin {
    shared: Shared,
    client: awc::Client,
    pool: Rc<Pool>,
    resolver: Resolver,
    authority: Authority,
}

/// A request, ready for the origin.
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Its target, as it came.
    pub target: Option<PathAndQuery>,
    /// Its fields, Host among them, ready to be sent.
    pub headers: HeaderMap,
    /// Its body.
    pub upload: Option<Upload>,
    /// Whose it is: what continues the response follows the tuning of that client.
    pub bucket: Bucket,
}

/// A response head and the source of its body.
pub struct Fetched {
    /// The status.
    pub status: StatusCode,
    /// The fields as they came.
    pub headers: HeaderMap,
    /// How the body is delimited.
    pub framing: Framing,
    /// Where the body comes from.
    pub source: Source,
    /// What fetches the rest, where the first response is only a part of the body.
    pub widened: Option<Widened>,
    /// From the request sent to the head received.
    pub ttfb: Duration,
}

/// A request that was answered.
pub(super) struct Sent {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) answered: Answered,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No origin connection came free in time.
    #[error(transparent)]
    NoSlot(#[from] NoSlot),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The response head is missing or broken.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// awc could not send the request or read the head.
    #[error("{0}")]
    Client(String),
    /// The exchange took too long.
    #[error("no response head within {0:?}")]
    Timeout(Duration),
    /// The request's own body failed.
    #[error("the request body ended early")]
    Upload,
}

impl Origin {
    /// The origin for the worker on this thread.
    pub fn start(shared: &Shared) -> Rc<Self> {
        let connector = awc::Connector::new().connector(Lend).limit(0);
        let client = awc::Client::builder()
            .connector(connector)
            .disable_timeout()
            .disable_redirects()
            .no_default_headers()
            .finish();
        let authority = shared.settings.url.authority();
        let origin = Rc::new(Origin {
            client,
            pool: Pool::start(Arc::clone(&shared.sockets), Arc::clone(&shared.published)),
            resolver: Resolver::new(shared.settings.url.host()),
            // The URL was checked when it was read.
            authority: authority
                .parse()
                .unwrap_or_else(|_| Authority::from_static("origin")),
            shared: shared.clone(),
        });
        actix_rt::spawn(keep_warm(Rc::downgrade(&origin)));
        actix_rt::spawn(follow_limit(Rc::downgrade(&origin)));
        origin
    }

    /// As many slots as may be now. They are everybody's, in a canary or not.
    fn set_slots(&self) {
        let published = &self.shared.published;
        let most = published.tuning.load().connections_at_once();
        self.shared.slots.set(published.concurrency.limit(most));
    }

    /// The origin's settings.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Takes a slot, sends the request and waits for the response head.
    ///
    /// # Errors
    ///
    /// [`FetchError`], with its cause.
    pub async fn fetch(
        self: &Rc<Self>,
        request: Request,
        tuning: &Tuning,
        deadline: Instant,
    ) -> Result<Fetched, FetchError> {
        let is_get = request.method == Method::GET && request.upload.is_none();
        let head = self.request(request.method, request.target, request.headers)?;

        // A retune is in force from the next request on.
        let published = &self.shared.published;
        self.set_slots();
        let handicap = self.handicap(&head, tuning);
        let slot = self.shared.slots.take(handicap, deadline).await?;
        let first_part = self.first_part(&head, is_get, tuning);
        let asked_for_a_part = first_part.is_some();
        let (sent, whole) = match first_part {
            Some(part) => self.fetch_first_part(&head, part, tuning, deadline).await?,
            None => (
                self.exchange(&head, request.upload, tuning, deadline)
                    .await?,
                None,
            ),
        };
        let Sent {
            mut status,
            mut headers,
            answered,
        } = sent;
        let Answered {
            head: framed,
            sent,
            received,
            connection,
            ..
        } = answered;
        let continuation = is_get
            .then(|| Continuation::of(status, &headers, framed.framing))
            .flatten();
        let mut framing = framed.framing;
        if let Some(whole) = whole {
            // The client gets what it would get of one plain GET.
            range::as_whole(&mut headers, whole);
            (status, framing) = (StatusCode::OK, Framing::Length(whole));
        }
        if is_get
            && status == StatusCode::OK
            && let Framing::Length(length) = framing
        {
            // An origin that did not give a part when it was asked for one has none, whatever it offers.
            let offered = !asked_for_a_part && continuation.is_some() && range::offered(&headers);
            let ranges = whole.is_some() || offered;
            published.sizes.learn(kind_of(&head), length, ranges);
        }
        let mut source = Source::new(connection, framed, slot, Rc::clone(&self.pool));
        if status == StatusCode::PARTIAL_CONTENT {
            source.expect(range::length(&headers));
        }
        let mut widened = None;
        if tuning.resume
            && (!source.is_here() || whole.is_some())
            && let Some(continuation) = continuation
        {
            self.earn_stalls();
            let lately = &self.shared.lately;
            lately.resumes.earn(self.shared.transfers.resume_share);
            let replay = Replay::new(Rc::clone(self), head, request.bucket);
            if let (Some(end), Some(reach)) = (whole, continuation.end())
                && reach < end
            {
                widened = Some(Widened {
                    replay: Rc::clone(&replay),
                    whole: continuation.clone(),
                    reach,
                    end,
                });
            }
            source.resume_by(replay, continuation);
            if widened.is_some() {
                source.is_a_part();
            }
        }
        let ttfb = received.saturating_duration_since(sent);
        published.concurrency.answers.add(ttfb);
        Ok(Fetched {
            status,
            headers,
            framing,
            source,
            widened,
            ttfb,
        })
    }

    /// The range to begin with, where the body is known to be large enough to come over several connections, and its
    /// line is one on which that lately was worth it. Else a whole body would be asked for, and most of it thrown away.
    fn first_part(
        &self,
        head: &FrozenClientRequest,
        is_get: bool,
        tuning: &Tuning,
    ) -> Option<HeaderValue> {
        let asks_for_less = || {
            head.headers().contains_key(header::RANGE)
                || head.headers().contains_key(header::IF_RANGE)
        };
        let several = is_get && tuning.parallel && tuning.resume && self.usual_width() > 1;
        if !several || !self.wants_several() || asks_for_less() {
            return None;
        }
        let settings = &self.shared.transfers;
        let expected = self.shared.published.sizes.expect(kind_of(head))?;
        if !expected.ranges || expected.bytes < settings.parallel_least.as_u64() {
            return None;
        }
        let last = settings.parallel_segment.as_u64().saturating_sub(1);
        HeaderValue::from_str(&format!("bytes=0-{last}")).ok()
    }

    /// Asks for the first part of a body, and with it for the length of the whole. Where what comes is not the first
    /// part of something that can be continued, it is asked for again, the plain way.
    async fn fetch_first_part(
        &self,
        head: &FrozenClientRequest,
        part: HeaderValue,
        tuning: &Tuning,
        deadline: Instant,
    ) -> Result<(Sent, Option<u64>), FetchError> {
        let mut fields = head.headers().clone();
        fields.insert(header::RANGE, part);
        let asking = self.frozen(head.get_method().clone(), head.get_uri().clone(), fields)?;
        let counters = &self.shared.published.counters.origin;
        let sent = self.exchange(&asking, None, tuning, deadline).await?;
        match sent.status {
            StatusCode::PARTIAL_CONTENT => {
                let framing = sent.answered.head.framing;
                let most = self.shared.transfers.parallel_segment.as_u64();
                let whole = Continuation::of(sent.status, &sent.headers, framing)
                    .filter(|_| !range::digests_content(&sent.headers))
                    .and_then(|first| first.begins_whole(most));
                if let Some(whole) = whole {
                    counters.first_parts.increment();
                    return Ok((sent, Some(whole)));
                }
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {}
            // The whole, or none of it.
            _ => return Ok((sent, None)),
        }
        tracing::debug!(status = %sent.status, "a first part was not what was asked for, asking for the whole");
        drop(sent);
        self.exchange(head, None, tuning, deadline)
            .await
            .map(|sent| (sent, None))
    }

    /// How much later than others it goes: one that will bring more than most waits for the small ones, but not for
    /// ever.
    fn handicap(&self, head: &FrozenClientRequest, tuning: &Tuning) -> Duration {
        if !tuning.concurrency_limit {
            return Duration::ZERO;
        }
        let sizes = &self.shared.published.sizes;
        let asked = head.headers().get(header::RANGE).and_then(range::asked);
        let is_large = asked
            .or_else(|| Some(sizes.expect(kind_of(head))?.bytes))
            .is_some_and(|bytes| sizes.is_large(bytes));
        if is_large {
            tuning.exchange_timeout / LARGE_WAIT
        } else {
            Duration::ZERO
        }
    }

    /// A request that can be sent more than once.
    pub(super) fn request(
        &self,
        method: Method,
        target: Option<PathAndQuery>,
        headers: HeaderMap,
    ) -> Result<FrozenClientRequest, FetchError> {
        self.frozen(method, self.uri(target), headers)
    }

    fn frozen(
        &self,
        method: Method,
        uri: Uri,
        headers: HeaderMap,
    ) -> Result<FrozenClientRequest, FetchError> {
        // Else awc adds an Accept-Encoding of its own.
        let mut head = self.client.request(method, uri).no_decompress();
        *head.headers_mut() = headers;
        head.freeze()
            .map_err(|error| FetchError::Client(error.to_string()))
    }

    /// Sends a request on a kept or a new connection and waits for the response head. An idempotent request without
    /// body is sent once more if the kept connection it went out on turns out dead.
    ///
    /// # Errors
    ///
    /// [`FetchError`], with its cause.
    pub(super) async fn exchange(
        &self,
        head: &FrozenClientRequest,
        mut upload: Option<Upload>,
        tuning: &Tuning,
        deadline: Instant,
    ) -> Result<Sent, FetchError> {
        let replayable = upload.is_none() && is_idempotent(head.get_method());
        let to_head = head.get_method() == Method::HEAD;
        let max_head = self.shared.settings.max_head.as_u64() as usize;
        let mut kept = self.pool.take();
        loop {
            let connection = match kept.take() {
                Some(connection) => connection,
                // Boxed: it is seldom taken, and large; every request would carry room for it.
                None => Box::pin(self.connect(tuning, deadline)).await?,
            };
            let reused = connection.reused;
            let exchange = Exchange::new(connection, to_head, max_head);
            match send(
                head,
                &exchange,
                upload.take(),
                tuning.exchange_timeout,
                deadline,
            )
            .await
            {
                Ok((status, headers)) => {
                    let gone = || FetchError::Client("the response head is gone".to_owned());
                    return exchange
                        .into_answered()
                        .map(|answered| Sent {
                            status,
                            headers,
                            answered,
                        })
                        .ok_or_else(gone);
                }
                Err(FetchError::Head(HeadError::Broken(_)))
                    if reused && replayable && !exchange.answered() =>
                {
                    self.shared.published.counters.origin.retries.increment();
                    tracing::debug!(
                        "a kept origin connection was dead, the request goes out once more"
                    );
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What the actors say.
    pub(super) fn published(&self) -> &Arc<Published> {
        &self.shared.published
    }

    /// What continues broken bodies.
    pub(super) fn transfers(&self) -> &transfers::Settings {
        &self.shared.transfers
    }

    /// This worker's connections.
    pub(super) fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// Whether the origin can bear one more request for the rest of a body that broke.
    pub(super) fn spend(&self) -> bool {
        self.shared.lately.resumes.spend(Instant::now())
    }

    /// A request for the rest was worth it, or this part of it.
    pub(super) fn refund(&self, part: f64) {
        self.shared.lately.resumes.earn(part);
    }

    /// One more request: some of them may be followed by a second one for what stalls.
    pub(super) fn earn_stalls(&self) {
        let share = self.shared.transfers.stall_budget;
        self.shared.lately.stalls.earn(share);
    }

    /// Whether the origin can bear a second connection for a body that stalls.
    pub(super) fn spend_on_stall(&self) -> bool {
        self.shared.lately.stalls.spend(Instant::now())
    }

    /// A slot that nobody needs just now.
    pub(super) fn try_slot(&self) -> Option<Slot> {
        self.shared.slots.try_take()
    }

    /// Room for the parts of bodies.
    pub(super) fn memory(&self) -> &Arc<Memory> {
        &self.shared.lately.memory
    }

    /// Over how many connections a body was worth fetching last.
    pub(super) fn usual_width(&self) -> usize {
        self.shared.lately.width.load(Relaxed)
    }

    /// A body is fetched over so many connections.
    pub(super) fn use_width(&self, width: usize) {
        self.shared.lately.width.store(width, Relaxed);
    }

    /// After how long a width shows what it is worth: a few round trips.
    pub(super) fn width_period(&self) -> Duration {
        (self.shared.lately.line().1 * 4).clamp(Duration::from_millis(400), Duration::from_secs(4))
    }

    /// Looks at the line to the origin.
    pub(super) fn look(&self, connection: &Connection) {
        self.shared
            .lately
            .look(connection, &self.shared.published.origin_line);
    }

    /// Whether the line to the origin is one on which several connections carry more than one.
    pub(super) fn wants_several(&self) -> bool {
        self.shared.lately.line().0 >= self.shared.transfers.parallel_from
    }

    /// A body came at this pace, in bytes per second.
    pub(super) fn gave(&self, pace: f64) {
        self.shared.lately.pace.add(pace);
    }

    /// The pace in bytes per second under which a body stalls: a small share of what the origin gave lately, and
    /// never more than the absolute floor. Where nothing is known, silence alone is a stall.
    pub(super) fn stall_floor(&self) -> f64 {
        let settings = &self.shared.transfers;
        let floor = settings.stall_floor.as_u64() as f64;
        self.shared.lately.pace.get().map_or(1.0, |pace| {
            (pace * settings.stall_share).clamp(1.0, floor.max(1.0))
        })
    }

    async fn connect(&self, tuning: &Tuning, deadline: Instant) -> Result<Connection, FetchError> {
        // The sockets are everybody's, too.
        let limit = self.shared.published.tuning.load().connections_at_once();
        let reserved =
            tokio::time::timeout_at(deadline.into(), self.shared.sockets.reserve(limit)).await;
        let open = reserved.map_err(|_| NoSlot { limit })?;
        let mut connection = self.open(open, tuning, deadline).await?;
        self.pool.lend(&mut connection);
        Ok(connection)
    }

    /// Opens a connection that nobody needs yet; none where there is no room for it.
    pub(super) async fn open_spare(&self) -> Result<Option<Connection>, FetchError> {
        let tuning = self.shared.published.tuning.load_full();
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
        let counters = &self.shared.published.counters.origin;
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
        target.connect(open).await.map_err(|error| {
            counters.connect_failures.increment();
            error.into()
        })
    }

    /// The URI for awc. It is always http: TLS is the connection's own matter.
    fn uri(&self, target: Option<PathAndQuery>) -> Uri {
        let base = self.shared.settings.url.base();
        let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
        let slash = if target.as_str().starts_with('?') {
            "/"
        } else {
            ""
        };
        let mut parts = Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(
            if (base.is_empty() && slash.is_empty()) || target.as_str() == "*" {
                target
            } else {
                // Both halves were valid by themselves.
                PathAndQuery::try_from(format!("{base}{slash}{target}")).unwrap_or(target)
            },
        );
        Uri::from_parts(parts).unwrap_or_default()
    }
}

/// Lets in who waits once the limit has grown, though no further request comes.
async fn follow_limit(origin: Weak<Origin>) {
    loop {
        tokio::time::sleep(FOLLOW).await;
        let Some(origin) = origin.upgrade() else {
            return;
        };
        origin.set_slots();
    }
}

/// What the sizes are kept by: the target, and the codings that the client takes. A body that is coded on the fly has
/// another size, and no ranges.
fn kind_of(head: &FrozenClientRequest) -> (&str, Option<&[u8]>) {
    let target = head.get_uri().path_and_query();
    let codings = head.headers().get(header::ACCEPT_ENCODING);
    (
        target.map_or("/", PathAndQuery::as_str),
        codings.map(HeaderValue::as_bytes),
    )
}

/// Methods that may be repeated (RFC 9110 §9.2.2).
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}
