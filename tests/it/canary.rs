//! A canary of levels, as an operator runs one: clients with addresses of their own, and a fleet with a real Redis.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use fileproxy::{
    actors::{ActorName, Fault},
    settings::Settings,
    traffic::{
        canary::{
            Percent,
            split::{Bucket, Group, Split},
        },
        level::Level,
        sample::Outcome,
    },
};
use serde_json::{Value, json};

use crate::support::{
    client::Client,
    eventually,
    instance::{Instance, TOKEN},
    origin::{Origin, ok, response},
    proxy::Proxy,
    redis_server::RedisServer,
    sockets, until,
};

const CANARY: &str = "fileproxy:canary";

/// Loopback addresses that are in a canary of so many percent, and others that are not.
fn addresses(percent: i64) -> [Vec<IpAddr>; 2] {
    let split = Split::default();
    split.set(1, Percent::try_from(percent).unwrap());
    let all = (2..250).map(|n| IpAddr::from(Ipv4Addr::new(127, 0, 0, n)));
    let (inside, outside) = all.partition(|ip| split.group(Bucket::of(*ip)) == Group::Candidate);
    [inside, outside]
}

fn asked(proxy: &Proxy, body: &str) -> Value {
    let response = proxy.post_level(body);
    assert_eq!(response.status, 200, "{response:?}");
    serde_json::from_slice(&response.body).unwrap()
}

/// How long each level waits for the head tells the levels apart: the 504 names it.
fn telling(s: &mut Settings) {
    s.optimization.level = Level::Low;
    s.levels.low.exchange_timeout = Some(Duration::from_millis(111));
    s.levels.medium.exchange_timeout = Some(Duration::from_millis(222));
    s.levels.high.exchange_timeout = Some(Duration::from_millis(333));
}

fn silent() -> Origin {
    Origin::following(|connection| {
        connection.head();
        connection.wait();
    })
}

/// Which level this connection's next request has, as [`telling`] tells it.
fn level_of(client: &mut Client, lines: &str) -> &'static str {
    let problem = client.patient().get_with("/", lines).problem();
    let detail = problem["detail"].as_str().unwrap();
    match detail {
        _ if detail.contains("111ms") => "low",
        _ if detail.contains("222ms") => "medium",
        _ if detail.contains("333ms") => "high",
        _ => panic!("{problem}"),
    }
}

#[test]
fn a_share_of_the_clients_gets_the_candidates_tuning_and_keeps_it() {
    let origin = silent();
    let proxy = Proxy::before(&origin, telling);
    let [inside, outside] = addresses(10);
    let level = |ip: IpAddr| level_of(&mut Client::from(ip, proxy.address()), "");
    assert_eq!(level(inside[0]), "low");

    let answer = asked(&proxy, r#"{"level": "high", "percent": 10}"#);
    assert_eq!(answer["level"], "low", "the rest keeps it");
    assert_eq!(answer["canary"], json!({"level": "high", "percent": 10}));
    assert_eq!(answer["before"]["connections"], 100);
    assert_eq!(answer["after"]["connections"], 200);
    for _ in 0..2 {
        assert_eq!(level(inside[0]), "high");
        assert_eq!(level(inside[1]), "high");
        assert_eq!(level(outside[0]), "low");
    }
    let shown = proxy.json("/admin/optimization");
    assert_eq!(shown["level"], "low");
    assert_eq!(shown["canary"]["percent"], 10);

    // More of them, and those of before among them.
    asked(&proxy, r#"{"level": "high", "percent": 50}"#);
    assert_eq!(level(inside[0]), "high");
    let [half, rest] = addresses(50);
    let new = half.iter().find(|ip| outside.contains(ip)).unwrap();
    assert_eq!(level(*new), "high");
    assert_eq!(level(rest[0]), "low");

    let answer = asked(&proxy, r#"{"level": "high", "percent": 100}"#);
    assert_eq!(
        (&answer["level"], &answer["canary"]),
        (&json!("high"), &Value::Null)
    );
    assert_eq!(level(rest[0]), "high");
    assert_eq!(proxy.stats()["canary"], Value::Null);

    let changes: Vec<_> = proxy.stats()["retunes"]
        .as_array()
        .unwrap()
        .iter()
        // This origin answers nothing.
        .filter(|r| r["what"] != "origin")
        .map(|r| (r["what"].clone(), r["from"].clone(), r["to"].clone()))
        .collect();
    let change = |what: &str, from: &str, to: &str| (json!(what), json!(from), json!(to));
    assert_eq!(
        changes,
        [
            change("canary", "none", "high for 10 %"),
            change("canary", "high for 10 %", "high for 50 %"),
            change("level", "low", "high"),
            change("canary", "high for 50 %", "none"),
        ]
    );
}

#[test]
fn zero_takes_the_candidate_back_at_once_and_is_seen_after() {
    let origin = silent();
    let proxy = Proxy::before(&origin, telling);
    let [inside, _] = addresses(50);
    let mut client = Client::from(inside[0], proxy.address());
    asked(&proxy, r#"{"level": "medium", "percent": 50}"#);
    assert_eq!(level_of(&mut client, ""), "medium");

    let answer = asked(&proxy, r#"{"level": "medium", "percent": 0}"#);
    assert_eq!(answer["canary"], Value::Null);
    assert_eq!(level_of(&mut client, ""), "low", "on the same connection");
    let canary = &proxy.stats()["canary"];
    assert_eq!(canary["candidate"], Value::Null);
    assert_eq!(
        canary["last_rollback"]["reason"],
        "asked for at the admin endpoint"
    );
    assert!(
        canary["last_rollback"]["at"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );

    asked(&proxy, r#"{"level": "low"}"#);
    assert_eq!(proxy.stats()["canary"], Value::Null, "a clean slate");
}

#[test]
fn who_asks_through_a_trusted_proxy_is_in_the_canary_by_its_own_address() {
    let origin = silent();
    let proxy = Proxy::before(&origin, |s| {
        telling(s);
        s.server.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    });
    asked(&proxy, r#"{"level": "high", "percent": 50}"#);
    let [inside, outside] = addresses(50);
    let mut through = proxy.client();
    for (lines, level) in [
        (format!("x-forwarded-for: {}\r\n", inside[0]), "high"),
        (format!("x-forwarded-for: {}\r\n", outside[0]), "low"),
        // what a client says itself stands before what our proxy says
        (
            format!("x-forwarded-for: {}, {}\r\n", inside[0], outside[0]),
            "low",
        ),
        (
            format!(
                "x-forwarded-for: {}, {}, 127.0.0.1\r\n",
                outside[0], inside[0]
            ),
            "high",
        ),
        (
            format!(
                "x-forwarded-for: {}, nonsense, {}\r\n",
                outside[0], inside[0]
            ),
            "high",
        ),
    ] {
        assert_eq!(level_of(&mut through, &lines), level, "{lines}");
    }
    // A stranger cannot say who it is.
    let lines = format!("x-forwarded-for: {}\r\n", inside[0]);
    let mut stranger = Client::from(outside[0], proxy.address());
    assert_eq!(level_of(&mut stranger, &lines), "low");
}

#[test]
fn sockets_have_the_options_of_their_clients_level_and_what_is_shared_stays() {
    let origin = Origin::answering(|_| ok("here"));
    let proxy = Proxy::before(&origin, telling);
    asked(&proxy, r#"{"level": "high", "percent": 50}"#);
    let [inside, outside] = addresses(50);
    let nodelay = |ip: IpAddr| {
        let mut client = Client::from(ip, proxy.address());
        assert_eq!(client.get("/").text(), "here");
        let peer = client.socket.local_addr().unwrap();
        let socket = sockets::between(Some(proxy.address()), peer).unwrap();
        socket.tcp_nodelay().unwrap()
    };
    assert!(nodelay(inside[0]));
    assert!(!nodelay(outside[0]));
    let stats = proxy.stats();
    assert_eq!(stats["origin_pool"]["limit_per_host"], 30);
    assert_eq!(stats["rate_limiter"]["enabled"], false);
    assert_eq!(stats["performance_optimizer"]["optimization_level"], "low");
}

#[test]
fn both_groups_are_counted_side_by_side() {
    let origin = Origin::answering(|_| ok(vec![0; 1000]));
    let proxy = Proxy::before(&origin, |s| s.optimization.level = Level::Low);
    assert_eq!(proxy.stats()["canary"], Value::Null);
    let [inside, outside] = addresses(50);
    Client::from(inside[0], proxy.address()).get("/before");
    proxy.until_outcomes(Outcome::Completed, 1);
    asked(&proxy, r#"{"level": "high", "percent": 50}"#);
    assert_eq!(
        proxy.stats()["canary"]["groups"]["candidate"]["total_requests"],
        0
    );
    for ip in &inside[..3] {
        Client::from(*ip, proxy.address()).get("/");
    }
    for ip in &outside[..4] {
        let mut client = Client::from(*ip, proxy.address());
        client.get("/");
        client.get("/");
    }
    let canary = until("all are counted", || {
        let canary = proxy.stats()["canary"].clone();
        let counted = |group: &str| canary["groups"][group]["counted_requests"].as_u64();
        (counted("candidate")? + counted("stable")? == 11).then_some(canary)
    });
    assert_eq!(canary["candidate"], json!({"level": "high", "percent": 50}));
    assert_eq!(canary["last_rollback"], Value::Null);
    let (stable, candidate) = (&canary["groups"]["stable"], &canary["groups"]["candidate"]);
    assert_eq!(
        (&stable["total_requests"], &candidate["total_requests"]),
        (&json!(8), &json!(3))
    );
    assert_eq!(candidate["total_bytes_transferred"], 3000);
    assert_eq!(stable["outcomes"]["completed"], 8);
    for number in [
        "p50_response_time_ms",
        "p95_response_time_ms",
        "window_seconds",
    ] {
        assert!(stable[number].as_f64().unwrap() > 0.0, "{stable}");
    }
    assert_eq!(
        (&stable["clients"], &candidate["clients"]),
        (&json!(4), &json!(3))
    );
    for measure in ["error_rate", "p50_ms", "p95_ms", "goodput_mbps"] {
        let difference = &canary["difference"][measure];
        assert!(difference["value"].is_number(), "{measure}: {canary}");
        assert!(difference.get("low").is_some() && difference.get("high").is_some());
    }
    assert_eq!(canary["difference"]["error_rate"]["value"], 0.0);
    for measure in ["error_rate", "p50_ms", "p95_ms", "goodput_mbps"] {
        let of = |group: &Value| group[measure].as_f64().unwrap();
        let value = canary["difference"][measure]["value"].as_f64().unwrap();
        assert!(
            (value - (of(candidate) - of(stable))).abs() < 0.002,
            "{measure}: {canary}"
        );
    }

    // Another share: the groups begin anew.
    asked(&proxy, r#"{"level": "high", "percent": 60}"#);
    let groups = &proxy.stats()["canary"]["groups"];
    assert_eq!(groups["stable"]["total_requests"], 0);
}

#[test]
fn a_candidate_that_is_worse_is_taken_back_by_itself_and_nothing_is_cut() {
    let origin = Origin::following(|connection| {
        while let Some(request) = connection.head() {
            if request.target() == b"/film" {
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\none ");
                connection.wait();
                connection.send("other");
            } else {
                std::thread::sleep(Duration::from_millis(15));
                if !connection.send(ok("")) {
                    return;
                }
            }
        }
    });
    let proxy = Proxy::before(&origin, |s| {
        s.optimization.level = Level::Low;
        s.levels.high.exchange_timeout = Some(Duration::from_millis(5));
        s.canary.min_samples = 20;
    });
    let [inside, outside] = addresses(50);
    let mut film = Client::from(outside[0], proxy.address());
    film.send("GET /film HTTP/1.1\r\nhost: proxy\r\n\r\n");
    let head = film.head();
    assert_eq!(film.exactly(4), b"one ");

    asked(&proxy, r#"{"level": "high", "percent": 50}"#);
    let canary = until("it is taken back", || {
        for ip in inside[..10].iter().chain(&outside[..10]) {
            Client::from(*ip, proxy.address()).get("/");
        }
        let canary = proxy.stats()["canary"].clone();
        canary["candidate"].is_null().then_some(canary)
    });
    let reason = canary["last_rollback"]["reason"].as_str().unwrap();
    // an answer that was there before the timer is served
    assert!(
        reason.starts_with("error rate ") && reason.contains(" instead of 0.00 %"),
        "{reason}"
    );
    assert_eq!(proxy.published().origin().tuning.load().level, Level::Low);
    let last = proxy.stats()["retunes"]
        .as_array()
        .unwrap()
        .last()
        .unwrap()
        .clone();
    assert_eq!(last["what"], "canary");
    assert_eq!(last["to"], "none");
    assert_eq!(last["why"], format!("rolled back: {reason}"));
    assert_eq!(
        Client::from(inside[0], proxy.address()).get("/").status,
        200
    );

    origin.open_gate();
    assert_eq!(film.exactly(5), b"other");
    assert!(String::from_utf8(head).unwrap().starts_with("HTTP/1.1 200"));
}

#[test]
fn a_retune_of_the_class_reaches_the_candidate_too() {
    let slow = Arc::new(AtomicBool::new(false));
    let waits = Arc::clone(&slow);
    let origin = Origin::answering(move |_| {
        if waits.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(320));
        }
        response("200 OK", "", "")
    });
    let proxy = Proxy::before(&origin, |s| {
        s.optimization.level = Level::Low;
        s.quality.window = Duration::from_secs(1);
        s.quality.hold = 2;
        s.classes.very_poor.idle_read = Duration::from_secs(77);
    });
    asked(&proxy, r#"{"level": "high", "percent": 10}"#);
    slow.store(true, SeqCst);
    until("the class is very_poor", || {
        proxy.get("/");
        (proxy.stats()["network_quality"]["quality"] == "very_poor").then_some(())
    });
    let published = proxy.published().origin();
    assert_eq!(
        published.candidate.load().idle_read,
        Duration::from_secs(77)
    );
    assert_eq!(published.tuning.load().idle_read, Duration::from_secs(60));
}

#[actix_rt::test]
async fn what_is_no_percentage_or_does_not_fit_is_refused_and_changes_nothing() {
    let instance = Instance::start();
    for body in [
        r#"{"level": "low", "percent": 101}"#,
        r#"{"level": "low", "percent": -1}"#,
        r#"{"level": "low", "percent": 10.5}"#,
        r#"{"level": "low", "percent": "10"}"#,
        r#"{"level": "low", "percent": null}"#,
        r#"{"level": "low", "percent": [1]}"#,
        r#"{"level": "low", "percent": 1e99}"#,
    ] {
        let (status, problem) = instance.post(Some(TOKEN), body).await;
        let detail = problem["detail"].as_str().unwrap();
        assert_eq!(status, 400, "{body}");
        assert!(detail.ends_with("is not a percentage: give a whole number from 0 to 100"));
    }
    let (status, problem) = instance.post(Some(TOKEN), r#"{"percent": 10}"#).await;
    assert_eq!(status, 400, "{problem}");
    for (body, said) in [
        (
            r#"{"level": "high", "percent": 10}"#,
            "the level is high already",
        ),
        (
            r#"{"level": "high", "percent": 0}"#,
            "high is the level of all clients",
        ),
    ] {
        let (status, problem) = instance.post(Some(TOKEN), body).await;
        assert_eq!(status, 409, "{body}");
        assert!(
            problem["detail"].as_str().unwrap().starts_with(said),
            "{problem}"
        );
    }
    for token in [None, Some("wrong")] {
        let (status, _) = instance
            .post(token, r#"{"level": "low", "percent": 10}"#)
            .await;
        assert_eq!(status, 401);
    }
    let stats = instance.stats().await;
    assert_eq!(stats["canary"], Value::Null);
    assert_eq!(stats["retunes"], json!([]));

    let (status, _) = instance
        .post(Some(TOKEN), r#"{"level": "low", "percent": 1}"#)
        .await;
    assert_eq!(status, 200);
    let (status, problem) = instance
        .post(Some(TOKEN), r#"{"level": "medium", "percent": 0}"#)
        .await;
    assert_eq!(status, 409);
    assert_eq!(problem["detail"], "the candidate that runs is low for 1 %");
    instance.stop().await;
}

#[actix_rt::test]
async fn the_canary_outlives_the_actors_that_run_it() {
    let instance = Instance::start();
    instance
        .post(Some(TOKEN), r#"{"level": "low", "percent": 50}"#)
        .await;
    let [inside, outside] = addresses(50);
    instance
        .report_from(inside[0], Outcome::Completed, 5, 10)
        .await;
    instance
        .report_from(outside[0], Outcome::Completed, 5, 20)
        .await;
    let counted = async || {
        let groups = instance.stats().await["canary"]["groups"].clone();
        [
            groups["stable"]["total_requests"].clone(),
            groups["candidate"]["total_requests"].clone(),
        ]
    };
    eventually("both are counted", || async {
        (counted().await == [20, 10]).then_some(())
    })
    .await;
    for (actor, name) in [
        (ActorName::Tuner, "tuner"),
        (ActorName::MetricsWindow, "metrics_window"),
    ] {
        instance.actors.inject(actor, Fault::Panic);
        eventually("the actor is started anew", || async {
            (instance.health().await["actors"][name]["restarts"] == 1).then_some(())
        })
        .await;
    }
    assert_eq!(instance.stats().await["canary"]["candidate"]["percent"], 50);
    assert_eq!(counted().await, [20, 10]);
    instance.stop().await;
}

/// Lets clients of both groups report requests, those in the canary failed ones.
async fn fail_inside(instance: &Instance) {
    let [inside, outside] = addresses(50);
    for (inside, outside) in inside.iter().zip(outside).take(20) {
        instance
            .report_from(*inside, Outcome::OriginBroken, 5, 15)
            .await;
        instance
            .report_from(outside, Outcome::Completed, 5, 15)
            .await;
    }
}

async fn until_candidate(instance: &Instance, candidate: Value) {
    eventually(&format!("candidate {candidate}"), || async {
        (instance.get("/admin/optimization").await.1["canary"] == candidate).then_some(())
    })
    .await;
}

#[actix_rt::test]
async fn a_fleet_has_one_canary_and_a_rollback_on_one_reaches_all() {
    let redis = RedisServer::start().await;
    let (one, other) = (
        Instance::before_redis(&redis.url()),
        Instance::before_redis(&redis.url()),
    );
    one.until_redis("connected").await;
    other.until_redis("connected").await;
    let half = json!({"level": "low", "percent": 50});
    one.post(Some(TOKEN), &half.to_string()).await;
    until_candidate(&other, half.clone()).await;
    let newcomer = Instance::before_redis(&redis.url());
    until_candidate(&newcomer, half).await;
    assert_eq!(newcomer.level().await, "high");

    fail_inside(&other).await;
    for instance in [&one, &other, &newcomer] {
        until_candidate(instance, Value::Null).await;
        let canary = instance.stats().await["canary"].clone();
        let reason = canary["last_rollback"]["reason"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(
            reason.starts_with("error rate 100.00 % instead of 0.00 %"),
            "{reason}"
        );
        assert_eq!(instance.level().await, "high");
    }
    let late = Instance::before_redis(&redis.url());
    eventually("a late one knows of it", || async {
        (!late.stats().await["canary"]["last_rollback"].is_null()).then_some(())
    })
    .await;

    // Promoted on one, so on all, and nothing is left behind.
    one.post(Some(TOKEN), r#"{"level": "medium", "percent": 10}"#)
        .await;
    until_candidate(&late, json!({"level": "medium", "percent": 10})).await;
    late.post(Some(TOKEN), r#"{"level": "medium", "percent": 100}"#)
        .await;
    for instance in [one, other, newcomer, late] {
        instance.until_level("medium").await;
        until_candidate(&instance, Value::Null).await;
        assert_eq!(instance.stats().await["canary"], Value::Null);
        instance.stop().await;
    }
    assert_eq!(redis.cli(&["EXISTS", CANARY]), "0");
}

/// An instance that shared a canary, lost its Redis and rolled back by itself.
async fn cut_off(redis: &RedisServer) -> Instance {
    let one = Instance::before_redis(&redis.url());
    one.until_redis("connected").await;
    one.post(Some(TOKEN), r#"{"level": "low", "percent": 50}"#)
        .await;
    eventually("it is kept", || async {
        (redis.cli(&["EXISTS", CANARY]) == "1").then_some(())
    })
    .await;
    redis.cli(&["CONFIG", "SET", "requirepass", "shut"]);
    redis.cli(&[
        "-a", "shut", "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes",
    ]);
    redis.cli(&["-a", "shut", "CLIENT", "KILL", "TYPE", "pubsub"]);
    one.until_redis("disconnected").await;
    fail_inside(&one).await;
    until_candidate(&one, Value::Null).await;
    one
}

#[actix_rt::test]
async fn a_rollback_by_one_that_was_cut_off_does_not_undo_what_the_fleet_did_since() {
    let redis = RedisServer::start().await;
    let one = cut_off(&redis).await;
    // Meanwhile the rest of the fleet went on to another share.
    let held = redis.cli(&["-a", "shut", "GET", CANARY]);
    let mut moved: Value = serde_json::from_str(&held).unwrap();
    moved["stage"] = json!(1);
    moved["candidate"]["percent"] = json!(60);
    let moved = moved.to_string();
    redis.cli(&["-a", "shut", "SET", CANARY, &moved]);
    redis.cli(&["-a", "shut", "CONFIG", "SET", "requirepass", ""]);
    one.until_redis("connected").await;
    until_candidate(&one, json!({"level": "low", "percent": 60})).await;
    assert_eq!(redis.cli(&["GET", CANARY]), moved);
    one.stop().await;
}

#[actix_rt::test]
async fn a_rollback_while_redis_is_away_is_kept_once_it_is_back() {
    let mut redis = RedisServer::start().await;
    let one = cut_off(&redis).await;
    redis.cli(&["-a", "shut", "CONFIG", "SET", "requirepass", ""]);
    eventually("the rollback is in redis", || async {
        redis
            .cli(&["GET", CANARY])
            .contains("error rate 100.00 %")
            .then_some(())
    })
    .await;
    assert_eq!(one.level().await, "high");

    // Came back empty: what is known is put back.
    redis.restart().await;
    eventually("it is put back", || async {
        redis
            .cli(&["GET", CANARY])
            .contains("error rate 100.00 %")
            .then_some(())
    })
    .await;
    one.stop().await;
}

#[actix_rt::test]
async fn what_is_no_canary_in_redis_is_left_alone() {
    let redis = RedisServer::start().await;
    let one = Instance::before_redis(&redis.url());
    one.until_redis("connected").await;
    let half = json!({"level": "low", "percent": 50});
    one.post(Some(TOKEN), &half.to_string()).await;
    eventually("it is kept", || async {
        (redis.cli(&["EXISTS", CANARY]) == "1").then_some(())
    })
    .await;
    for nonsense in [
        "nonsense",
        r#"{"stage":1,"candidate":{"level":"ultra","percent":50}}"#,
    ] {
        redis.cli(&["SET", CANARY, nonsense]);
        redis.cli(&["PUBLISH", "fileproxy:level", "x"]);
        redis.beats(1).await;
        assert_eq!(one.get("/admin/optimization").await.1["canary"], half);
    }
    one.post(Some(TOKEN), r#"{"level": "low", "percent": 0}"#)
        .await;
    eventually("it is set again", || async {
        redis
            .cli(&["GET", CANARY])
            .contains("last_rollback")
            .then_some(())
    })
    .await;
    one.stop().await;
}

#[actix_rt::test]
async fn a_redis_that_takes_no_scripts_keeps_no_rollback_but_what_the_fleet_does_is_heard() {
    let redis = RedisServer::start().await;
    redis.cli(&["ACL", "SETUSER", "default", "-eval"]);
    let one = Instance::before_redis(&redis.url());
    one.until_redis("connected").await;
    let half = r#"{"level": "low", "percent": 50}"#;
    one.post(Some(TOKEN), half).await;
    eventually("it is kept", || async {
        (redis.cli(&["EXISTS", CANARY]) == "1").then_some(())
    })
    .await;
    fail_inside(&one).await;
    until_candidate(&one, Value::Null).await;
    // The candidate that is still in Redis is not taken up again.
    redis.beats(1).await;
    until_candidate(&one, Value::Null).await;
    redis.cli(&["SET", "fileproxy:level", "medium"]);
    redis.cli(&["DEL", CANARY]);
    one.until_level("medium").await;
    one.stop().await;
}
