//! The level in a real Redis, that is killed, stopped and started again.

use std::time::{Duration, Instant};

use fileproxy::actors::{ActorName, Fault};
use serde_json::Value;

use crate::support::{
    eventually,
    instance::Instance,
    redis_server::{Options, RedisServer, free_port},
};

const LEVEL: &str = "fileproxy:level";

async fn until_kept(redis: &RedisServer, level: &str) {
    eventually("the level is in redis", || async {
        (redis.cli(&["GET", LEVEL]) == level).then_some(())
    })
    .await;
}

#[actix_rt::test]
async fn health_says_that_redis_is_connected_and_how_long_a_ping_takes() {
    let redis = RedisServer::start().await;
    let instance = Instance::before_redis(&redis.url());
    instance.until_redis("connected").await;
    let health = instance.health().await;
    let latency = health["redis"]["latency_ms"].as_f64().unwrap();
    assert!(latency > 0.0 && latency < 1000.0, "{latency}");
    assert_eq!(health["redis"]["pool"]["size"], 150);
    assert_eq!(health["status"], "healthy");

    instance.set_level("low").await;
    eventually("the pool follows the level", || async {
        (instance.health().await["redis"]["pool"]["size"] == 100).then_some(())
    })
    .await;
    instance.stop().await;
}

#[actix_rt::test]
async fn a_level_reaches_every_instance_at_once_by_publication() {
    let redis = RedisServer::start().await;
    // a heartbeat that is far away: only the publication can bring it
    let slow = |s: &mut fileproxy::actors::Settings| {
        s.redis.url = fileproxy::actors::redis_pool::Target::parse(&redis.url()).unwrap();
        s.redis.heartbeat = Duration::from_secs(600);
    };
    let (one, other) = (Instance::with(slow), Instance::with(slow));
    one.until_redis("connected").await;
    other.until_redis("connected").await;
    eventually("both listen", || async {
        redis
            .cli(&["PUBSUB", "NUMSUB", LEVEL])
            .ends_with('2')
            .then_some(())
    })
    .await;

    assert_eq!(one.set_level("low").await.0, 200);
    other.until_level("low").await;
    other.set_level("medium").await;
    one.until_level("medium").await;
    assert_eq!(redis.cli(&["GET", LEVEL]), "medium");
    let why = &one.stats().await["retunes"][1]["why"];
    assert_eq!(*why, "set for all instances in redis");
    one.stop().await;
    other.stop().await;
}

#[actix_rt::test]
async fn a_restarted_instance_takes_the_kept_level_up() {
    let redis = RedisServer::start().await;
    let instance = Instance::before_redis(&redis.url());
    instance.until_redis("connected").await;
    instance.set_level("low").await;
    until_kept(&redis, "low").await;
    instance.stop().await;

    let instance = Instance::before_redis(&redis.url());
    instance.until_level("low").await;
    // Asked before, it might have been too late: what was in force at the start is in the list of changes.
    let retune = &instance.stats().await["retunes"][0];
    assert_eq!(
        (&retune["from"], &retune["to"]),
        (&"high".into(), &"low".into())
    );
    instance.stop().await;
}

#[actix_rt::test]
async fn a_level_that_an_operator_writes_into_redis_is_taken() {
    let redis = RedisServer::start().await;
    let instance = Instance::before_redis(&redis.url());
    instance.until_redis("connected").await;
    redis.cli(&["SET", LEVEL, "medium"]);
    instance.until_level("medium").await;
    // what is no level is left alone
    redis.cli(&["SET", LEVEL, "ultra"]);
    redis.cli(&["PUBLISH", LEVEL, "x"]);
    redis.cli(&["DEL", LEVEL]);
    until_kept(&redis, "medium").await;
    assert_eq!(instance.level().await, "medium");
    instance.stop().await;
}

#[actix_rt::test]
async fn each_instance_writes_a_heartbeat_that_expires() {
    let redis = RedisServer::start().await;
    let instance = Instance::before_redis(&redis.url());
    let keys = || redis.cli(&["KEYS", "fileproxy:instance:*"]);
    let key = eventually("a heartbeat", || async {
        let key = keys();
        (!key.is_empty()).then_some(key)
    })
    .await;
    let beat: Value = serde_json::from_str(&redis.cli(&["GET", &key])).unwrap();
    assert_eq!(beat["optimization_level"], "high");
    assert_eq!(beat["total_requests"], 0);
    assert_eq!(beat["origin"], "http://127.0.0.1:9");
    let left: i64 = redis.cli(&["PTTL", &key]).parse().unwrap();
    assert!((1..=1500).contains(&left), "{left}");

    // It is written again and again.
    redis.beats(2).await;
    assert_eq!(keys(), key);
    instance.stop().await;
    eventually("the heartbeat expires", || async {
        keys().is_empty().then_some(())
    })
    .await;
}

#[actix_rt::test]
async fn redis_that_dies_degrades_health_and_is_taken_back_when_it_returns() {
    let mut redis = RedisServer::start().await;
    let instance = Instance::before_redis(&redis.url());
    instance.until_redis("connected").await;
    instance.set_level("low").await;
    until_kept(&redis, "low").await;

    redis.kill();
    instance.until_redis("disconnected").await;
    let health = instance.health().await;
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["redis"]["latency_ms"], Value::Null);
    assert_eq!(instance.level().await, "low", "what was in force stays");

    redis.restart().await;
    instance.until_redis("connected").await;
    until_kept(&redis, "low").await; // it came back empty
    instance.stop().await;
}

#[actix_rt::test]
async fn a_level_set_while_redis_is_away_is_kept_once_it_is_back() {
    let mut redis = RedisServer::start().await;
    let instance = Instance::before_redis(&redis.url());
    instance.until_redis("connected").await;
    redis.kill();
    instance.until_redis("disconnected").await;

    let began = Instant::now();
    assert_eq!(instance.set_level("medium").await.0, 200);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "it did not wait for redis"
    );
    // even the actor's death does not lose it
    instance.actors.inject(ActorName::RedisPool, Fault::Panic);
    eventually("the actor is started anew", || async {
        (instance.health().await["actors"]["redis_pool"]["restarts"] == 1).then_some(())
    })
    .await;

    redis.restart().await;
    until_kept(&redis, "medium").await;
    assert_eq!(instance.level().await, "medium");
    instance.stop().await;
}

#[actix_rt::test]
async fn the_level_set_last_wins_when_redis_comes_back_empty() {
    let mut redis = RedisServer::start().await;
    let (one, other) = (
        Instance::before_redis(&redis.url()),
        Instance::before_redis(&redis.url()),
    );
    one.until_redis("connected").await;
    one.set_level("low").await;
    other.until_level("low").await;
    redis.kill();
    one.until_redis("disconnected").await;
    one.set_level("medium").await;

    redis.restart().await;
    other.until_level("medium").await;
    // several heartbeats of both: nobody brings the old one back
    redis.beats(2).await;
    assert_eq!(redis.cli(&["GET", LEVEL]), "medium");
    assert_eq!(one.level().await, "medium");
    assert_eq!(other.level().await, "medium");
    one.stop().await;
    other.stop().await;
}

#[actix_rt::test]
async fn an_instance_that_reconnects_takes_up_what_it_missed() {
    let redis = RedisServer::start().await;
    let instance = Instance::before_redis(&redis.url());
    instance.until_redis("connected").await;
    redis.cli(&["SET", LEVEL, "medium"]);
    redis.cli(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    instance.until_level("medium").await;
    instance.until_redis("connected").await;
    eventually("it listens again", || async {
        redis
            .cli(&["PUBSUB", "NUMSUB", LEVEL])
            .ends_with('1')
            .then_some(())
    })
    .await;
    instance.stop().await;
}

#[actix_rt::test]
async fn redis_that_hangs_holds_up_neither_requests_nor_levels_nor_the_actor() {
    let redis = RedisServer::start().await;
    let instance = Instance::before_redis(&redis.url());
    instance.until_redis("connected").await;

    redis.stop_answering();
    for level in ["low", "medium", "low", "medium"] {
        let began = Instant::now();
        assert_eq!(instance.set_level(level).await.0, 200);
        assert!(began.elapsed() < Duration::from_secs(2));
        assert_eq!(instance.level().await, level);
    }
    instance.until_redis("disconnected").await;
    // longer than the watchdog's patience: the actor answers it all the while
    tokio::time::sleep(Duration::from_secs(3)).await;
    let health = instance.health().await;
    assert_eq!(health["actors"]["redis_pool"]["restarts"], 0);
    assert!(
        health["redis"]["pool"]["in_use"].as_u64().unwrap() <= 3,
        "nothing piles up"
    );

    redis.go_on();
    instance.until_redis("connected").await;
    until_kept(&redis, "medium").await;
    assert_eq!(instance.level().await, "medium");
    instance.stop().await;
}

#[actix_rt::test]
async fn an_instance_that_starts_before_its_redis_connects_later() {
    let mut redis = RedisServer::start().await;
    redis.kill();
    let instance = Instance::before_redis(&redis.url());
    assert_eq!(instance.health().await["redis"]["status"], "disconnected");
    assert_eq!(instance.set_level("low").await.0, 200);
    redis.restart().await;
    instance.until_redis("connected").await;
    until_kept(&redis, "low").await;
    instance.stop().await;
}

#[actix_rt::test]
async fn a_password_and_a_database_come_from_the_url() {
    let redis = RedisServer::start_with(Options {
        password: Some("secret"),
        ..Options::default()
    })
    .await;
    let instance = Instance::before_redis(&format!("{}/3", redis.url()));
    instance.until_redis("connected").await;
    instance.set_level("low").await;
    eventually("the level is in database 3", || async {
        (redis.cli(&["-n", "3", "GET", LEVEL]) == "low").then_some(())
    })
    .await;
    instance.stop().await;

    let refused = Instance::before_redis(&redis.url().replace("secret", "wrong"));
    eventually("it was refused", || async {
        (!redis.cli(&["ACL", "LOG"]).is_empty()).then_some(())
    })
    .await;
    assert_eq!(refused.health().await["redis"]["status"], "disconnected");
    // a refusal is not for good
    redis.cli(&["CONFIG", "SET", "requirepass", "wrong"]);
    refused.until_redis("connected").await;
    refused.stop().await;
}

#[actix_rt::test]
async fn tls_to_redis_works() {
    let directory = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (
        directory.path().join("cert.pem"),
        directory.path().join("key.pem"),
    );
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let redis = RedisServer::start_with(Options {
        tls: Some((certificate, key)),
        ..Options::default()
    })
    .await;

    let instance = Instance::before_redis(&redis.url());
    instance.until_redis("connected").await;
    instance.set_level("low").await;
    until_kept(&redis, "low").await;
    instance.stop().await;

    let strict = Instance::before_redis(redis.url().trim_end_matches("#insecure"));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(
        strict.health().await["redis"]["status"],
        "disconnected",
        "an unknown certificate"
    );
    strict.stop().await;
}

#[actix_rt::test]
async fn a_cluster_keeps_and_spreads_the_level() {
    let mut redis = RedisServer::start_with(Options {
        cluster: true,
        ..Options::default()
    })
    .await;
    // a node that is not there is passed over
    let url = redis.url().replace(
        "127.0.0.1:",
        &format!("127.0.0.1:{},127.0.0.1:", free_port()),
    );
    let (one, other) = (Instance::before_redis(&url), Instance::before_redis(&url));
    one.until_redis("connected").await;
    other.until_redis("connected").await;
    one.set_level("low").await;
    other.until_level("low").await;

    redis.kill();
    one.until_redis("disconnected").await;
    one.set_level("medium").await;
    redis.restart().await;
    one.until_redis("connected").await;
    other.until_level("medium").await;
    one.stop().await;
    other.stop().await;
}
