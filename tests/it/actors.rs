//! Adaptation and supervision, through a real server.

use std::time::Duration;

use fileproxy::{
    actors::{ActorName, Fault, LevelSource},
    traffic::{level::Level, sample::Outcome},
};

use crate::support::{eventually, instance::Instance};

/// Waits until an actor was started anew so often, and works.
async fn until_restarted(instance: &Instance, actor: ActorName, restarts: u64) {
    eventually("the actor is started anew", || async {
        let health = instance.health().await;
        let actor = &health["actors"][actor.as_str()];
        (actor["restarts"] == restarts && actor["status"] == "running").then_some(())
    })
    .await;
}

async fn until_counted(instance: &Instance, requests: u64) {
    eventually("the requests are counted", || async {
        let stats = instance.stats().await;
        let metrics = &stats["performance_optimizer"]["metrics"];
        (metrics["total_requests"] == requests).then_some(())
    })
    .await;
}

#[actix_rt::test]
async fn samples_of_a_worker_show_in_the_stats() {
    let instance = Instance::start();
    instance.report(Outcome::Completed, 20, 150).await;
    instance.report(Outcome::OriginFailed, 20, 50).await;
    until_counted(&instance, 200).await;

    let stats = instance.stats().await;
    let metrics = &stats["performance_optimizer"]["metrics"];
    assert_eq!(metrics["error_count"], 50);
    assert_eq!(metrics["error_rate"], "25.00%");
    assert_eq!(metrics["avg_response_time_ms"], "20.00");
    assert_eq!(metrics["total_bytes_transferred"], 200_000);
    assert_eq!(stats["window"]["error_rate_percent"], 25.0);
    assert_eq!(stats["window"]["outcomes"]["origin_failed"], 50);
    instance.stop().await;
}

#[actix_rt::test]
async fn a_slow_origin_moves_the_class_and_the_tuning_in_force() {
    let instance = Instance::start();
    let health = instance.health().await;
    assert!(health["origins"][0]["quality"].is_null());
    assert_eq!(health["config"]["connect_timeout"], "5s");

    let health = eventually("the class is very poor", || async {
        instance.report(Outcome::Completed, 400, 10).await;
        let health = instance.health().await;
        (health["origins"][0]["quality"] == "very_poor").then_some(health)
    })
    .await;
    assert_eq!(health["config"]["connect_timeout"], "20s");
    assert_eq!(health["config"]["chunk"], "64KiB");
    assert_eq!(health["config"]["exchange_timeout_seconds"], 120);

    let stats = instance.stats().await;
    let change = &stats["retunes"][0];
    assert_eq!(
        (&change["what"], &change["from"]),
        (&"class".into(), &"good".into())
    );
    assert!(
        change["why"]
            .as_str()
            .unwrap()
            .contains("median origin response time 4"),
        "{change}"
    );
    instance.stop().await;
}

#[actix_rt::test]
async fn at_level_low_the_class_is_measured_and_changes_nothing() {
    let instance = Instance::start();
    instance.set_level("low").await;
    let health = eventually("the class is poor", || async {
        instance.report(Outcome::Completed, 200, 10).await;
        let health = instance.health().await;
        (health["origins"][0]["quality"] == "poor").then_some(health)
    })
    .await;
    assert_eq!(health["config"]["connect_timeout"], "8s");
    assert_eq!(health["config"]["exchange_timeout"], "45s");
    instance.stop().await;
}

#[actix_rt::test]
async fn errors_of_the_origin_bring_the_rate_down_and_good_answers_bring_it_up_again() {
    let instance = Instance::start();
    instance.report(Outcome::OriginTimeout, 1, 100).await;
    let rate = async |wanted: u64| {
        eventually("the rate follows", || async {
            let stats = instance.stats().await;
            (stats["performance_optimizer"]["current_rate_limit"] == wanted).then_some(stats)
        })
        .await
    };
    let stats = rate(800).await;
    assert_eq!(stats["rate_limiter"]["rate_per_second"], 800.0);
    let retunes = stats["retunes"].as_array().unwrap();
    let rate_changed = retunes.iter().find(|retune| retune["what"] == "rate");
    assert_eq!(rate_changed.unwrap()["to"], "800/s");
    instance.report(Outcome::Refused, 1, 100).await;
    rate(960).await;
    instance.stop().await;
}

#[actix_rt::test]
async fn at_level_low_the_rate_limit_is_off_and_errors_do_not_change_the_rate() {
    let instance = Instance::start();
    instance.set_level("low").await;
    eventually("the limit is off", || async {
        (!instance.published.origin().gate.is_on()).then_some(())
    })
    .await;
    instance.report(Outcome::OriginTimeout, 1, 500).await;
    until_counted(&instance, 500).await;
    instance.set_level("high").await;
    eventually("the limit is on", || async {
        instance.published.origin().gate.is_on().then_some(())
    })
    .await;
    instance.report(Outcome::Completed, 1, 10).await;
    until_counted(&instance, 510).await;
    assert_eq!(instance.published.origin().gate.rate().per_second(), 1000.0);
    instance.stop().await;
}

#[actix_rt::test]
async fn every_actor_that_panics_is_started_anew_and_shows_in_health() {
    let instance = Instance::start();
    assert_eq!(instance.health().await["status"], "healthy");
    for actor in ActorName::ALL {
        instance.actors.inject(actor, Fault::Panic);
        until_restarted(&instance, actor, 1).await;
    }
    assert_eq!(instance.health().await["status"], "degraded");
    // and once more
    instance
        .actors
        .inject(ActorName::MetricsWindow, Fault::Panic);
    until_restarted(&instance, ActorName::MetricsWindow, 2).await;
    instance.stop().await;
}

#[actix_rt::test]
async fn counts_level_class_and_rate_survive_the_actors_that_own_them() {
    let instance = Instance::start();
    instance.report(Outcome::OriginFailed, 200, 100).await;
    until_counted(&instance, 100).await;
    eventually("the class is poor", || async {
        instance.report(Outcome::OriginFailed, 200, 1).await;
        (instance.health().await["origins"][0]["quality"] == "poor").then_some(())
    })
    .await;
    instance.set_level("medium").await;
    let counted = eventually("all are counted", || async {
        let before = instance.published.summary.load().total.requests;
        tokio::time::sleep(Duration::from_millis(300)).await;
        (before == instance.published.summary.load().total.requests).then_some(before)
    })
    .await;
    let rate = instance.published.origin().gate.rate();
    assert!(rate.per_second() < 1000.0);

    for actor in ActorName::ALL {
        instance.actors.inject(actor, Fault::Panic);
        until_restarted(&instance, actor, 1).await;
    }

    instance.report(Outcome::Completed, 200, 10).await;
    until_counted(&instance, counted + 10).await;
    assert_eq!(instance.published.origin().gate.rate(), rate);
    assert_eq!(instance.level().await, "medium");
    assert_eq!(instance.health().await["origins"][0]["quality"], "poor");
    assert_eq!(instance.published.clients.samples_dropped.get(), 0);
    instance.stop().await;
}

#[actix_rt::test]
async fn an_actor_that_hangs_is_replaced_and_writes_nothing_when_it_wakes() {
    let instance = Instance::with(|s| s.supervision.patience = Duration::from_millis(500));
    instance
        .actors
        .inject(ActorName::Tuner, Fault::Hang(Duration::from_secs(3)));
    // waits behind the fault in the same mailbox
    let stale = {
        let actors = instance.actors.clone();
        actix_rt::spawn(async move { actors.set_level(Level::Low, LevelSource::Admin).await })
    };
    until_restarted(&instance, ActorName::Tuner, 1).await;
    let (status, body) = instance.set_level("medium").await;
    assert_eq!(
        (status, &body["after"]["optimization_level"]),
        (200, &"medium".into())
    );
    assert!(
        stale.await.unwrap().is_err(),
        "the caller was told to try again"
    );
    // until the hung one has woken up and found its place taken
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(instance.level().await, "medium");
    instance.stop().await;
}

#[actix_rt::test]
async fn samples_are_kept_while_the_window_is_started_anew() {
    // a watchdog that looks rarely: samples come while the window is dead
    let instance = Instance::with(|s| s.metrics.tick = Duration::from_millis(700));
    instance
        .actors
        .inject(ActorName::MetricsWindow, Fault::Panic);
    instance.report(Outcome::Completed, 1, 500).await;
    until_restarted(&instance, ActorName::MetricsWindow, 1).await;
    until_counted(&instance, 500).await;
    instance.stop().await;
}

#[actix_rt::test]
async fn an_origin_that_takes_no_connection_degrades_health_until_it_answers() {
    let instance = Instance::start();
    instance.report(Outcome::ConnectFailed, 1, 1).await;
    let health = eventually("the origin is away", || async {
        let health = instance.health().await;
        (health["origins"][0]["status"] == "unreachable").then_some(health)
    })
    .await;
    assert_eq!(health["status"], "degraded");
    instance.report(Outcome::Completed, 1, 1).await;
    eventually("the origin is back", || async {
        let health = instance.health().await;
        (health["origins"][0]["status"] == "reachable" && health["status"] == "healthy")
            .then_some(())
    })
    .await;
    instance.stop().await;
}

#[actix_rt::test]
async fn without_requests_a_probe_shows_whether_the_origin_is_there() {
    let origin = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = origin.local_addr().unwrap();
    drop(origin);
    let instance = Instance::with(|s| {
        s.origin.url = format!("http://{address}");
        s.quality.probe = Duration::from_millis(50);
    });
    let until = async |status: &str| {
        eventually(status, || async {
            (instance.health().await["origins"][0]["status"] == status).then_some(())
        })
        .await;
    };
    until("unreachable").await;
    let _origin = std::net::TcpListener::bind(address).unwrap();
    until("reachable").await;
    instance.stop().await;
}

#[actix_rt::test]
async fn stopped_actors_leave_no_thread_behind() {
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = threads();
    for _ in 0..20 {
        let instance = Instance::start();
        instance.health().await;
        instance.stop().await;
    }
    // other tests run beside this one; a leak would show as five threads a round
    eventually("the threads end", || async {
        (threads() < before + 80).then_some(())
    })
    .await;
}

#[actix_rt::test]
async fn samples_that_a_full_mailbox_cannot_take_are_counted_and_cost_no_memory() {
    let instance = Instance::with(|s| s.supervision.patience = Duration::from_secs(60));
    instance.actors.inject(
        ActorName::MetricsWindow,
        Fault::Hang(Duration::from_secs(1)),
    );
    instance.report(Outcome::Completed, 1, 100_000).await;
    eventually("each is counted or dropped", || async {
        let dropped = instance.published.clients.samples_dropped.get();
        let counted = instance.published.summary.load().total.requests;
        (dropped > 0 && counted + dropped == 100_000).then_some(())
    })
    .await;
    instance.stop().await;
}
