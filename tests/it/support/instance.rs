//! Actors and endpoints behind a real server on port 0. `/report/<outcome>/<origin ms>` reports samples, as the path
//! does; everything else says that it is the origin's.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::{App, HttpRequest, HttpServer, dev::ServerHandle, web};
use awc::Client;
use fileproxy::{
    actors::{self, Actors, Supervision, redis_pool},
    api::{self, AdminToken},
    settings::Settings,
    traffic::{
        canary::{self, split::Bucket},
        concurrency,
        keys::Keys,
        level::Level,
        origin::NamedOrigin,
        origin_id::OriginId,
        published::Published,
        quality, rate,
        sample::{Outcome, Sample},
        tuning::Tables,
        window,
    },
    units::Rate,
};
use serde_json::Value;

use super::eventually;

pub const TOKEN: &str = "the-admin-token";

/// The default tables, without what needs the path.
pub fn tables() -> Tables {
    let mut tables = Settings::base().unwrap().tables();
    let high = &mut tables.levels.high;
    (high.resume, high.parallel, high.follow_lines) = (false, false, false);
    tables
}

/// Settings with quick ticks.
pub fn settings() -> actors::Settings {
    actors::Settings {
        tables: tables(),
        metrics: window::Settings {
            tick: Duration::from_millis(50),
            window: Duration::from_secs(60),
        },
        quality: quality::Settings {
            window: Duration::from_secs(5),
            hold: 3,
            min_samples: 5,
            margin: 0.1,
            probe: Duration::ZERO,
        },
        rate_limit: rate::Settings {
            min: Rate::new(10.0).unwrap(),
            max: Rate::new(1000.0).unwrap(),
            initial: None,
            queue: 1000,
            window: Duration::from_secs(10),
        },
        concurrency: concurrency::Settings {
            min: 8,
            tolerance: 2.0,
            slack: Duration::from_millis(10),
            window: Duration::from_secs(60),
        },
        redis: redis_pool::Settings {
            url: redis_pool::Target::None,
            prefix: "fileproxy".into(),
            heartbeat: Duration::from_millis(500),
            timeout: Duration::from_millis(500),
        },
        canary: canary::Settings {
            window: Duration::from_secs(600),
            min_samples: 200,
            min_clients: 5,
            max_slowdown: 0.2,
            risk: 0.01,
        },
        supervision: Supervision {
            patience: Duration::from_secs(2),
        },
        origin: NamedOrigin {
            name: "default".into(),
            url: "http://user:secret@127.0.0.1:9".into(),
        },
        others: Vec::new(),
    }
}

pub struct Instance {
    pub actors: Actors,
    pub published: Arc<Published>,
    pub url: String,
    client: Client,
    server: ServerHandle,
}

impl Instance {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    /// With Redis at this URL.
    pub fn before_redis(url: &str) -> Self {
        Self::with(|settings| settings.redis.url = redis_pool::Target::parse(url).unwrap())
    }

    pub fn with(change: impl FnOnce(&mut actors::Settings)) -> Self {
        let mut settings = settings();
        change(&mut settings);
        let published = Arc::new(settings.published(Level::High, 1));
        let actors = actors::start(&settings, published.clone()).unwrap();
        let state = api::State {
            published: published.clone(),
            actors: actors.clone(),
            token: AdminToken::of(&api::admin::Settings {
                token: TOKEN.into(),
                ..Default::default()
            })
            .unwrap(),
            reloads: api::reload::Reloads::channel().0,
            feed: api::Feed::start(
                &api::feed::Settings {
                    streams: 2,
                    history: Duration::from_secs(60),
                },
                published.clone(),
            ),
        };
        let factory = {
            let actors = actors.clone();
            move || {
                let reporter = web::Data::new(actors.reporter());
                let published = web::Data::from(state.published.clone());
                let state = state.clone();
                App::new()
                    .configure(|cfg| api::configure(cfg, state))
                    .app_data(reporter)
                    .app_data(published)
                    .route("/report/{outcome}/{millis}/{count}", web::to(report))
                    .default_service(web::to(|request: HttpRequest| async move {
                        format!("the origin's: {}", request.uri())
                    }))
            }
        };
        let server = HttpServer::new(factory)
            .workers(1)
            .disable_signals()
            .bind("127.0.0.1:0")
            .unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix_rt::spawn(server);
        Self {
            actors,
            published,
            url,
            client: Client::builder().timeout(Duration::from_secs(10)).finish(),
            server: handle,
        }
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        let mut response = self
            .client
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap();
        let body = response.body().await.unwrap();
        (
            response.status().as_u16(),
            serde_json::from_slice(&body).unwrap_or_default(),
        )
    }

    pub async fn health(&self) -> Value {
        self.get("/health").await.1
    }

    pub async fn stats(&self) -> Value {
        self.get("/stats").await.1
    }

    pub async fn set_level(&self, level: &str) -> (u16, Value) {
        self.post(Some(TOKEN), &format!(r#"{{"level": "{level}"}}"#))
            .await
    }

    pub async fn post(&self, token: Option<&str>, body: &str) -> (u16, Value) {
        let mut request = self.client.post(format!("{}/admin/optimization", self.url));
        if let Some(token) = token {
            request = request.insert_header(("authorization", format!("Bearer {token}")));
        }
        let mut response = request.send_body(body.to_owned()).await.unwrap();
        let body = response.body().await.unwrap();
        (
            response.status().as_u16(),
            serde_json::from_slice(&body).unwrap_or_default(),
        )
    }

    /// Reports so many requests, as a worker does.
    pub async fn report(&self, outcome: Outcome, origin_millis: u64, count: u64) {
        let client = Ipv4Addr::LOCALHOST.into();
        self.report_from(client, outcome, origin_millis, count)
            .await;
    }

    /// The same, as requests of this client.
    pub async fn report_from(&self, client: IpAddr, outcome: Outcome, millis: u64, count: u64) {
        let path = format!(
            "/report/{}/{millis}/{count}?client={client}",
            outcome.as_str()
        );
        self.client
            .get(format!("{}{path}", self.url))
            .send()
            .await
            .unwrap();
    }

    /// The same, as requests that belong to another origin than the first.
    pub async fn report_of(&self, origin: u32, outcome: Outcome, millis: u64, count: u64) {
        let outcome = outcome.as_str();
        let client = Ipv4Addr::LOCALHOST;
        let path = format!("/report/{outcome}/{millis}/{count}?client={client}&origin={origin}");
        let url = format!("{}{path}", self.url);
        self.client.get(url).send().await.unwrap();
    }

    pub async fn level(&self) -> String {
        self.stats().await["performance_optimizer"]["optimization_level"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    pub async fn until_level(&self, level: &str) {
        eventually(&format!("level {level}"), || async {
            (self.level().await == level).then_some(())
        })
        .await;
    }

    pub async fn until_redis(&self, status: &str) {
        eventually(&format!("redis {status}"), || async {
            (self.health().await["redis"]["status"] == status).then_some(())
        })
        .await;
    }

    pub async fn stop(self) {
        self.server.stop(false).await;
        self.actors.stop().await;
    }
}

/// Whose requests are reported.
#[derive(serde::Deserialize)]
struct From {
    client: IpAddr,
    #[serde(default)]
    target: String,
    #[serde(default)]
    origin: u32,
}

async fn report(
    path: web::Path<(String, u64, u64)>,
    from: web::Query<From>,
    reporter: web::Data<actors::Reporter>,
    published: web::Data<Published>,
) -> String {
    let (outcome, millis, count) = path.into_inner();
    let outcome = Outcome::ALL
        .into_iter()
        .find(|o| o.as_str() == outcome)
        .unwrap();
    let took = Duration::from_millis(millis);
    let head = !matches!(outcome, Outcome::ConnectFailed | Outcome::OriginTimeout);
    for _ in 0..count {
        reporter.report(Sample {
            ended: Instant::now(),
            outcome,
            origin_ttfb: head.then_some(took),
            ttfb: Some(took),
            total: took,
            bytes: 1000,
            origin: OriginId(from.origin),
            keys: Keys::of(&from.target, None, from.client),
            canary: published.split.membership(Bucket::of(from.client)),
        });
    }
    String::new()
}
