//! Two origins in one process: what is learnt of one, and decided for it, says nothing of the other. Settings name only one so
//! far; the inside does not know that.

use std::{
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_http::{Method, header::HeaderMap, uri::PathAndQuery};
use fileproxy::{
    path::{
        network::Network,
        origin::{Origin, fetch::Request, shared::Shared},
    },
    settings::Settings,
    traffic::{
        canary::split::Bucket,
        level::Level,
        origin::{NamedOrigin, OriginState},
        sample::Outcome,
    },
};

use crate::support::{
    eventually,
    instance::{Instance, TOKEN, settings},
    origin::{self, ok},
};

fn second(url: &str) -> NamedOrigin {
    NamedOrigin {
        name: "second".to_owned(),
        url: url.to_owned(),
    }
}

fn with_a_second() -> Instance {
    Instance::with(|settings| settings.others = vec![second("http://127.0.0.1:10")])
}

#[actix_rt::test]
async fn the_class_of_one_is_not_that_of_the_other() {
    let instance = with_a_second();
    let stats = eventually("the second is very_poor", || async {
        instance.report_of(0, Outcome::Completed, 4, 10).await;
        instance.report_of(1, Outcome::Completed, 900, 10).await;
        let stats = instance.stats().await;
        let is =
            |name: &str, class: &str| stats["origins"][name]["network_quality"]["quality"] == class;
        (is("default", "good") && is("second", "very_poor")).then_some(stats)
    })
    .await;
    assert_eq!(stats["network_quality"]["quality"], "good");
    let published = &instance.published;
    let idle = |origin: &Arc<OriginState>| origin.tuning.load().connect_timeout;
    let timeouts: Vec<_> = published.origins.iter().map(idle).collect();
    assert!(timeouts[0] < timeouts[1], "{timeouts:?}");
    let change = stats["retunes"].as_array().unwrap();
    let change = change.iter().find(|change| change["what"] == "class");
    assert_eq!(change.unwrap()["origin"], "second");
    instance.stop().await;
}

#[actix_rt::test]
async fn errors_of_one_slow_down_only_requests_to_it() {
    let instance = with_a_second();
    instance.report_of(0, Outcome::Completed, 1, 100).await;
    instance.report_of(1, Outcome::OriginTimeout, 1, 100).await;
    let stats = eventually("the second's rate falls", || async {
        let stats = instance.stats().await;
        let of = |name: &str| stats["origins"][name]["rate_limiter"]["rate_per_second"].clone();
        (of("second") == 800.0).then(|| (of("default"), stats.clone()))
    })
    .await;
    assert_eq!(stats.0, 1000.0);
    let requests = |name: &str, what: &str| stats.1["origins"][name][what].clone();
    assert_eq!(requests("default", "errors"), 0);
    assert_eq!(requests("second", "errors"), 100);
    assert_eq!(requests("second", "requests"), 100);
    instance.stop().await;
}

#[actix_rt::test]
async fn health_tells_which_one_is_away() {
    let instance = with_a_second();
    instance.report_of(0, Outcome::Completed, 1, 1).await;
    instance.report_of(1, Outcome::ConnectFailed, 1, 3).await;
    let health = eventually("the second is away", || async {
        let health = instance.health().await;
        let status = |n: usize| health["origins"][n]["status"].clone();
        (status(0) == "reachable" && status(1) == "unreachable").then_some(health)
    })
    .await;
    assert_eq!(health["origins"][1]["name"], "second");
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["reason"], "second: the origin cannot be reached");
    instance.stop().await;
}

#[actix_rt::test]
async fn metrics_name_the_origin() {
    let instance = with_a_second();
    instance.report_of(1, Outcome::ConnectFailed, 1, 3).await;
    eventually("each has its samples", || async {
        let metrics = metrics(&instance).await;
        let has = |line: &str| metrics.lines().any(|is| is == line);
        (has("fileproxy_origin_up{origin=\"default\"} 1")
            && has("fileproxy_origin_up{origin=\"second\"} 0")
            && has("fileproxy_origin_errors_total{origin=\"second\"} 3")
            && has("fileproxy_origin_class{origin=\"second\",class=\"unknown\"} 1"))
        .then_some(())
    })
    .await;
    instance.stop().await;
}

async fn metrics(instance: &Instance) -> String {
    let mut response = awc::Client::default()
        .get(format!("{}/metrics", instance.url))
        .send()
        .await
        .unwrap();
    String::from_utf8(response.body().await.unwrap().to_vec()).unwrap()
}

#[actix_rt::test]
async fn a_level_is_in_force_towards_both() {
    let instance = with_a_second();
    let (status, _) = instance.post(Some(TOKEN), r#"{"level": "low"}"#).await;
    assert_eq!(status, 200);
    for origin in instance.published.origins.iter() {
        assert_eq!(origin.tuning.load().level, Level::Low);
        eventually("its rate limit is off", || async {
            (!origin.gate.is_on()).then_some(())
        })
        .await;
    }
    instance.stop().await;
}

/// Asks an origin for a path, and reads the body.
async fn ask(origin: &Rc<Origin>, path: &'static str) -> Vec<u8> {
    let bucket = Bucket::of([127, 0, 0, 1].into());
    let tuning = origin.state().tuning_for(bucket).load_full();
    let request = Request {
        method: Method::GET,
        target: PathAndQuery::from_static(path),
        headers: HeaderMap::new(),
        upload: None,
        informed: None,
        bucket,
        network: Network::NONE,
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut fetched = origin.fetch(request, &tuning, deadline).await.unwrap();
    let mut body = Vec::new();
    while let Some(piece) = std::future::poll_fn(|cx| fetched.source.poll_piece(cx, &tuning)).await
    {
        body.extend_from_slice(&piece.unwrap());
    }
    body
}

#[actix_rt::test]
async fn each_has_its_own_connections_slots_and_counts() {
    let servers = [
        origin::Origin::saying(ok("of the first")),
        origin::Origin::saying(ok("of the second")),
    ];
    let urls = servers
        .each_ref()
        .map(|server| format!("http://{}", server.address()));
    let mut for_actors = settings();
    for_actors.origin.url.clone_from(&urls[0]);
    for_actors.others = vec![second(&urls[1])];
    let published = for_actors.published(Level::High, 1);
    let base = Settings::base().unwrap();
    let origins: Vec<_> = std::iter::zip(published.origins.iter(), &urls)
        .map(|(state, url)| {
            let mut settings = base.origin.clone();
            settings.url = url.parse().unwrap();
            let (tcp, transfers) = (base.tcp.clone(), base.transfers.clone());
            let shared = Shared::new(settings, tcp, transfers, Arc::clone(state)).unwrap();
            Origin::start(&shared)
        })
        .collect();
    for _ in 0..3 {
        assert_eq!(ask(&origins[0], "/a").await, b"of the first");
    }
    assert_eq!(ask(&origins[1], "/a").await, b"of the second");
    let counted = published.origins.iter().map(|origin| {
        let counters = &origin.counters;
        counters.reuses.get() + counters.connects.get() - counters.spares.get()
    });
    assert_eq!(counted.collect::<Vec<_>>(), [3, 1]);
    assert_eq!([servers[0].hits(), servers[1].hits()], [3, 1]);
}
