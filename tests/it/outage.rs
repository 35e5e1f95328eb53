//! An origin that is away, or was never there: everything that tells of it says so, and nothing goes on saying `good`.

use std::{net::TcpListener, time::Duration};

use serde_json::Value;

use crate::support::{
    browser::Browser,
    origin::{Origin, ok},
    proxy::Proxy,
    until,
};

/// Whether the class is unknown in /health, /stats and /metrics; nothing where they do not agree (yet).
fn unknown(proxy: &Proxy) -> Option<bool> {
    let metrics = proxy.get("/metrics").text();
    let of = |class: &str| {
        metrics.contains(&format!(
            "fileproxy_origin_class{{origin=\"default\",class=\"{class}\"}} 1"
        ))
    };
    let told = [
        origin_of(proxy)["quality"].is_null(),
        proxy.stats()["network_quality"]["quality"].is_null(),
        of("unknown"),
        !of("good"),
    ];
    let first = told[0];
    told.iter().all(|is| *is == first).then_some(first)
}

fn nobody() -> String {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", free.local_addr().unwrap())
}

fn origin_of(proxy: &Proxy) -> Value {
    proxy.json("/health")["origins"][0].clone()
}

#[test]
fn after_the_first_failed_request_health_is_degraded_at_once() {
    // No tick comes in the time of this test.
    let proxy = Proxy::before(&nobody(), |s| s.metrics.tick = Duration::from_secs(60));
    assert_eq!(proxy.json("/health")["status"], "healthy");
    assert_eq!(origin_of(&proxy)["status"], "unknown");
    assert_eq!(origin_of(&proxy)["quality"], Value::Null);
    assert_eq!(proxy.get("/film").status, 502);
    let health = proxy.json("/health");
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["http_client"]["status"], "degraded");
    assert_eq!(
        health["reason"],
        "no connection to the origin has come about yet"
    );
}

#[test]
fn while_the_origin_is_away_nothing_says_good_and_the_dashboard_says_it_large() {
    let origin = Origin::answering(|_| ok("film"));
    let address = origin.address();
    let proxy = Proxy::before(&origin, |_| {});
    assert_eq!(unknown(&proxy), Some(true));
    assert_eq!(proxy.get("/film").text(), "film");
    until("it is there", || {
        proxy.get("/film");
        (unknown(&proxy) == Some(false)).then_some(())
    });
    let browser = Browser::start(1280, 900);
    browser.open(&format!("http://{}/monitor", proxy.operators()));
    browser.until_text("#now", "good");
    let hidden = "return document.querySelector('#away').hidden";
    assert_eq!(browser.run(hidden), true);

    drop(origin);
    until("it is away", || {
        assert_ne!(proxy.get("/film").status, 200);
        (unknown(&proxy) == Some(true)).then_some(())
    });
    assert_eq!(proxy.json("/health")["status"], "degraded");
    let event = |to: &str| {
        let stats = proxy.stats();
        let retunes = stats["retunes"].as_array().unwrap();
        let found = retunes
            .iter()
            .find(|retune| retune["what"] == "origin" && retune["to"] == to);
        found.cloned()
    };
    assert_eq!(event("unreachable").unwrap()["from"], "reachable");
    browser.until_text("#away", "Origin away");
    browser.until_text("#now", "cannot be reached");
    browser.until_text("#retunes", "unreachable");
    let largest = "const size = (of) => parseFloat(getComputedStyle(of).fontSize); \
                   const away = size(document.querySelector('#away')); \
                   return [...document.querySelectorAll('body *')].every((other) => size(other) <= away)";
    assert_eq!(browser.run(largest), true);
    let last = "return document.querySelector('#charts figure .plot').getAttribute('aria-label')";
    browser.until(
        "the chart has a gap",
        &format!("{last}.includes('unknown')"),
    );

    let _again = Origin::on(&address.to_string(), None, |connection| {
        while connection.request().is_some() {
            connection.send(ok("film"));
        }
    });
    until("it is back", || {
        proxy.get("/film");
        (unknown(&proxy) == Some(false)).then_some(())
    });
    assert_eq!(event("reachable").unwrap()["from"], "unreachable");
    browser.until("the word is gone", hidden);
}
