//! The whole proxy, on a port and a thread of its own.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use fileproxy::{
    app::Application,
    path::listener::Inherited,
    settings::Settings,
    traffic::{published::Published, sample::Outcome},
};
use serde_json::Value;

use super::{
    DEADLINE,
    client::{Client, Response},
};

pub const TOKEN: &str = "the-admin-token";

/// What a proxy can stand before.
pub trait Upstream {
    /// The URL that the proxy is given.
    fn url(&self) -> String;
}

impl Upstream for &str {
    fn url(&self) -> String {
        (*self).to_owned()
    }
}

impl Upstream for String {
    fn url(&self) -> String {
        self.clone()
    }
}

impl Upstream for fileproxy::demo::origin::Origin {
    fn url(&self) -> String {
        self.url()
    }
}

/// What the proxy's thread is asked to do.
enum Ask {
    Drain,
    Stop,
}

/// A running proxy. Dropped, it ends at once.
pub struct Proxy {
    addresses: Vec<SocketAddr>,
    operators: SocketAddr,
    published: Arc<Published>,
    settings: Arc<Mutex<Settings>>,
    ask: tokio::sync::mpsc::UnboundedSender<Ask>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy before `origin`, with the settings changed as the test likes.
    pub fn before(origin: &impl Upstream, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::base().unwrap();
        settings.server.listen = "127.0.0.1:0".parse().unwrap();
        // The usual port is for one process.
        settings.admin.local = None;
        settings.server.workers = 2;
        settings.server.drain_notice = Duration::ZERO;
        settings.server.drain_timeout = Duration::from_secs(20);
        settings.origin.url = origin.url().parse().unwrap();
        settings.metrics.tick = Duration::from_millis(50);
        // Connections that no request asked for would disturb the counts.
        settings.quality.probe = Duration::ZERO;
        settings.admin.token = TOKEN.into();
        settings.log.access = false;
        // Each request goes to the origin, unless a test is about the store.
        settings.levels.high.store = false;
        change(&mut settings);
        settings.check().unwrap();

        let found = Arc::new(Mutex::new(settings.clone()));
        let source = Arc::clone(&found);

        let (started, start) = mpsc::sync_channel(1);
        let (ask, mut asked) = tokio::sync::mpsc::unbounded_channel();
        let thread = thread::Builder::new()
            .name("proxy".into())
            .spawn(move || {
                actix_rt::System::new().block_on(async {
                    let source = move || {
                        let found = source.lock().unwrap().clone();
                        found.check().map(|()| found)
                    };
                    let app =
                        Application::start_from(settings, Box::new(source), Inherited::default())
                            .unwrap();
                    started
                        .send((
                            app.addresses().to_vec(),
                            app.operators(),
                            Arc::clone(app.published()),
                        ))
                        .unwrap();
                    match asked.recv().await {
                        Some(Ask::Drain) => tokio::select! {
                            () = app.drain() => {}
                            _ = asked.recv() => {}
                        },
                        _ => app.stop().await,
                    }
                });
            })
            .unwrap();
        let (addresses, operators, published) =
            start.recv_timeout(DEADLINE).expect("the proxy must start");
        Proxy {
            addresses,
            operators,
            published,
            settings: found,
            ask,
            thread: Some(thread),
        }
    }

    /// Where it listens first.
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the operators' endpoints are.
    pub fn operators(&self) -> SocketAddr {
        self.operators
    }

    /// A new connection to the operators' address.
    pub fn operator(&self) -> Client {
        Client::to(self.operators)
    }

    /// What actors and path share.
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// A new connection to it.
    pub fn client(&self) -> Client {
        Client::to(self.address())
    }

    /// One GET on a connection of its own.
    pub fn get(&self, target: &str) -> Response {
        self.client().get(target)
    }

    /// The JSON of an endpoint.
    pub fn json(&self, target: &str) -> Value {
        serde_json::from_slice(&self.operator().get(target).body).unwrap()
    }

    /// `GET /stats`.
    pub fn stats(&self) -> Value {
        self.json("/stats")
    }

    /// Sets the level as an operator does, and waits until it is in force.
    pub fn set_level(&self, level: &str) -> Response {
        let response = self.post_level(&format!(r#"{{"level": "{level}"}}"#));
        assert_eq!(response.status, 200, "{response:?}");
        response
    }

    /// Asks the admin endpoint with this body.
    pub fn post_level(&self, body: &str) -> Response {
        let mut client = self.operator();
        client.send(format!(
            "POST /admin/optimization HTTP/1.1\r\nhost: proxy\r\nauthorization: Bearer {TOKEN}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        ));
        client.response()
    }

    /// Changes what a reload finds, and asks for one as an operator does.
    pub fn reload(&self, change: impl FnOnce(&mut Settings)) -> Response {
        change(&mut self.settings.lock().unwrap());
        self.reload_by(TOKEN)
    }

    /// Asks for a reload with this token.
    pub fn reload_by(&self, token: &str) -> Response {
        let mut client = self.operator();
        client.send(format!(
            "POST /admin/reload HTTP/1.1\r\nhost: proxy\r\nauthorization: Bearer {token}\r\n\
             content-length: 0\r\n\r\n"
        ));
        client.response()
    }

    /// How many requests ended so. Samples come in batches: ask with [`until`](super::until).
    pub fn outcomes(&self, outcome: Outcome) -> u64 {
        let summary = self.published.summary.load();
        let at = Outcome::ALL.iter().position(|o| *o == outcome).unwrap();
        summary.total.outcomes[at]
    }

    /// Waits until so many requests ended so.
    pub fn until_outcomes(&self, outcome: Outcome, count: u64) {
        super::until(&format!("{count} x {}", outcome.as_str()), || {
            (self.outcomes(outcome) >= count).then_some(())
        });
        assert_eq!(self.outcomes(outcome), count, "{}", outcome.as_str());
    }

    /// Waits until the rate limit has turned somebody away, as /stats tells it.
    pub fn until_rejected(&self) {
        super::until("somebody is turned away", || {
            (self.stats()["rate_limiter"]["rejected"].as_u64()? > 0).then_some(())
        });
    }

    /// Begins to drain, as SIGTERM does.
    pub fn drain(&self) {
        self.ask.send(Ask::Drain).unwrap();
    }

    /// Waits until it has ended by itself; how long that took.
    pub fn until_ended(&mut self) -> Duration {
        let began = Instant::now();
        let thread = self.thread.take().unwrap();
        super::until("the proxy ends", || thread.is_finished().then_some(()));
        thread.join().unwrap();
        began.elapsed()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        _ = self.ask.send(Ask::Stop);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || thread::panicking(),
                "the proxy's thread panicked"
            );
        }
    }
}
