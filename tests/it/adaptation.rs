//! The service adapts while it runs: class, rate and level change, requests feel it, and no transfer is cut.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use fileproxy::{
    settings::Settings,
    traffic::{level::Level, sample::Outcome},
    units::Rate,
};

use crate::support::{
    client::Client,
    origin::{Origin, ok, response},
    proxy::Proxy,
    sockets, until,
};

/// Judged quickly.
fn quick(s: &mut Settings) {
    s.quality.window = Duration::from_secs(1);
    s.quality.hold = 2;
    s.rate_limit.window = Duration::from_millis(200);
}

fn quality(proxy: &Proxy) -> String {
    proxy.stats()["network_quality"]["quality"]
        .as_str()
        .unwrap_or("unknown")
        .to_owned()
}

#[test]
fn the_class_follows_the_origin_and_requests_get_its_timeouts() {
    let delay = Arc::new(AtomicU64::new(0));
    let slow = Arc::clone(&delay);
    let origin = Origin::answering(move |request| {
        if request.target() == b"/never" {
            std::thread::sleep(Duration::from_secs(2));
        } else {
            std::thread::sleep(Duration::from_millis(slow.load(SeqCst)));
        }
        ok("")
    });
    let proxy = Proxy::before(&origin, |s| {
        quick(s);
        s.classes.good.exchange_timeout = Duration::from_secs(19);
        s.classes.very_poor.exchange_timeout = Duration::from_millis(1200);
    });
    let mut client = proxy.client();
    assert_eq!(quality(&proxy), "unknown");
    until("the class is good", || {
        client.get("/");
        (quality(&proxy) == "good").then_some(())
    });
    delay.store(400, SeqCst);
    until("the class is very_poor", || {
        client.patient().get("/");
        (quality(&proxy) == "very_poor").then_some(())
    });
    let health = proxy.json("/health");
    assert_eq!(health["origins"][0]["quality"], "very_poor");
    let retunes = proxy.stats()["retunes"].clone();
    let retune = retunes
        .as_array()
        .unwrap()
        .iter()
        .find(|retune| retune["what"] == "class")
        .expect("a retune of the class");
    assert_eq!(retune["from"], "good");
    assert!(!retune["why"].as_str().unwrap().is_empty());
    // The class's own timeout is in force: at good this one would be waited for.
    assert_eq!(client.patient().get("/never").status, 504);

    delay.store(0, SeqCst);
    until("the class is good again", || {
        client.patient().get("/");
        (quality(&proxy) == "good").then_some(())
    });
}

#[test]
fn a_failing_origin_lowers_the_rate_and_who_would_wait_too_long_gets_503() {
    let failing = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&failing);
    let origin = Origin::answering(move |_| {
        if fails.load(SeqCst) {
            response("500 Oh", "", "")
        } else {
            ok("")
        }
    });
    let proxy = Proxy::before(&origin, |s| {
        quick(s);
        s.rate_limit.min = Rate::new(2.0).unwrap();
        s.rate_limit.max = Rate::new(40.0).unwrap();
        s.levels.high.connect_timeout = Some(Duration::from_millis(100));
    });
    let mut client = proxy.client();
    assert_eq!(proxy.stats()["rate_limiter"]["enabled"], true);
    let turned = until("the rate falls and somebody is turned away", || {
        let answer = client.patient().get("/");
        let rate = proxy.published().origin().gate.rate().per_second();
        (answer.status == 503 && rate < 40.0).then_some(answer)
    });
    turned.problem();
    assert!(turned.field("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    proxy.until_rejected();
    let stats = proxy.stats();
    assert!(
        stats["performance_optimizer"]["current_rate_limit"]
            .as_u64()
            .unwrap()
            < 40
    );
    assert!(
        stats["retunes"]
            .as_array()
            .unwrap()
            .iter()
            .any(|retune| retune["what"] == "rate")
    );
    failing.store(false, SeqCst);
    let low = proxy.published().origin().gate.rate().per_second();
    until("the rate rises again", || {
        client.patient().get("/");
        (proxy.published().origin().gate.rate().per_second() > low).then_some(())
    });
}

/// Some clients ask for so many targets each, all at once.
fn ask(proxy: &Proxy, clients: &[u8], targets: impl Fn(u8) -> Vec<String> + Sync) {
    std::thread::scope(|scope| {
        for &client in clients {
            let targets = &targets;
            scope.spawn(move || {
                let own = IpAddr::from([127, 0, 0, client]);
                let mut asking = Client::from(own, proxy.address());
                for target in targets(client) {
                    asking.patient().get(&target);
                }
            });
        }
    });
}

/// A proxy that judges quickly, before an origin whose targets with `bad` in them fail.
fn before_some_that_fail(change: impl FnOnce(&mut Settings)) -> (Origin, Proxy) {
    let origin = Origin::answering(|request| {
        let target = request.target();
        match target.windows(3).any(|part| part == b"bad") {
            true => response("500 Oh", "", ""),
            false => ok(""),
        }
    });
    let proxy = Proxy::before(&origin, |s| {
        quick(s);
        s.rate_limit.min = Rate::new(2.0).unwrap();
        change(s);
    });
    (origin, proxy)
}

fn lowest_rate(proxy: &Proxy) -> f64 {
    let stats = proxy.stats();
    let retunes = stats["retunes"].as_array().unwrap();
    let rates = retunes.iter().filter(|retune| retune["what"] == "rate");
    rates
        .map(|retune| retune["to"].as_str().unwrap())
        .map(|rate| rate.trim_end_matches("/s").parse().unwrap())
        .fold(
            proxy.published().origin().gate.rate().per_second(),
            f64::min,
        )
}

#[test]
fn what_one_path_or_one_askinggets_wrong_takes_nothing_from_others() {
    type Targets = fn(u8) -> Vec<String>;
    let mixed: [(&[u8], Targets); 4] = [
        // One broken path, also where all have one address.
        (&[1; 5], |_| {
            let of = |n| format!("/{}", if n % 2 == 0 { "ok" } else { "bad" });
            (0..120).map(of).collect()
        }),
        // One dead channel among six.
        (&[1, 2, 3, 4], |client| {
            let of = |n: u32| match n % 6 {
                0 => format!("/bad/{client}-{n}.ts"),
                channel => format!("/ch{channel}/{n}.ts"),
            };
            (0..180).map(of).collect()
        }),
        // One client that asks for much that is broken.
        (&[1, 2, 3], |client| {
            let of = |n: u32| match client {
                1 => format!("/{n}/bad"),
                _ => format!("/film/{n}"),
            };
            (0..180).map(of).collect()
        }),
        // The same behind one address with everybody else.
        (&[1; 4], |_| {
            let of = |n: u32| match n % 3 {
                0 => format!("/api/bad?{n}"),
                _ => format!("/film/{n}"),
            };
            (0..180).map(of).collect()
        }),
    ];
    for (clients, targets) in mixed {
        let (_origin, proxy) = before_some_that_fail(|_| {});
        ask(&proxy, clients, targets);
        let asked = clients.len() as u64 * targets(clients[0]).len() as u64;
        until("all are judged", || {
            let summary = proxy.published().summary.load();
            let judged = &summary.of(proxy.published().origin().id).judged;
            (judged.all.requests == asked).then_some(())
        });
        assert_eq!(lowest_rate(&proxy), 1000.0);
    }
}

#[test]
fn an_origin_that_fails_on_many_targets_is_asked_less() {
    let (_origin, proxy) = before_some_that_fail(|_| {});
    ask(&proxy, &[1, 2, 3], |_| {
        let of = |n| format!("/{}/{n}", if n % 2 == 0 { "bad" } else { "bad-too" });
        (0..100).map(of).collect()
    });
    until("the rate falls", || {
        (proxy.published().origin().gate.rate().per_second() < 800.0).then_some(())
    });
}

#[test]
fn where_one_askingalone_is_heard_its_rate_falls_and_another_is_answered_at_once() {
    let (_origin, proxy) = before_some_that_fail(|s| {
        s.rate_limit.max = Rate::new(40.0).unwrap();
        s.levels.high.connect_timeout = Some(Duration::from_millis(100));
    });
    let mut hostile = proxy.client();
    let mut asked = 0;
    until("the hostile one is turned away", || {
        asked += 1;
        let answer = hostile.patient().get(&format!("/{asked}/bad"));
        (answer.status == 503).then_some(())
    });
    let mut other = Client::from([127, 0, 0, 2].into(), proxy.address());
    for _ in 0..10 {
        assert_eq!(other.get("/ok").status, 200);
    }
}

/// Twenty polls at once of one client, and what three others ask for. `poll` tells which.
fn long_polls_speak_for_nobody_else(poll: fn(u64) -> String) {
    let slow = Duration::from_millis(400);
    let origin = Origin::answering(move |request| {
        if request.target().starts_with(b"/poll") {
            std::thread::sleep(slow);
        }
        ok("")
    });
    let proxy = Proxy::before(&origin, quick);
    let asked = |count| {
        until("all are counted", || {
            let summary = proxy.published().summary.load();
            (summary.of(proxy.published().origin().id).pace.seen >= count).then_some(())
        });
    };
    for round in 1..=6 {
        let targets = |n| vec![format!("/a/{n}"), format!("/b/{n}")];
        ask(&proxy, &[2, 3, 4], targets);
        asked((round - 1) * 26 + 6);
        let next = AtomicU64::new(0);
        ask(&proxy, &[1; 20], |_| vec![poll(next.fetch_add(1, SeqCst))]);
        asked(round * 26);
        assert_eq!(quality(&proxy), "good");
        let (median, _) = proxy
            .published()
            .origin()
            .concurrency
            .seen()
            .expect("a judgement");
        assert!(median < slow / 2, "no queue at the origin: {median:?}");
    }
}

#[test]
fn long_polls_of_one_target_speak_for_nobody_else() {
    long_polls_speak_for_nobody_else(|_| "/poll".to_owned());
}

#[test]
fn long_polls_of_one_client_for_many_targets_speak_for_nobody_else() {
    long_polls_speak_for_nobody_else(|n| format!("/poll/{n}"));
    long_polls_speak_for_nobody_else(|n| format!("/poll/{n}/next"));
}

#[test]
fn at_low_nobody_is_limited() {
    let origin = Origin::saying(ok(""));
    let proxy = Proxy::before(&origin, |s| {
        s.optimization.level = Level::Low;
        s.rate_limit.min = Rate::new(1.0).unwrap();
        s.rate_limit.max = Rate::new(1.0).unwrap();
    });
    let mut client = proxy.client();
    for _ in 0..200 {
        assert_eq!(client.get("/").status, 200);
    }
    let limiter = &proxy.stats()["rate_limiter"];
    assert_eq!(
        (&limiter["enabled"], &limiter["rejected"]),
        (&false.into(), &0.into())
    );
}

#[test]
fn who_asks_within_the_wait_is_delayed_and_served() {
    let origin = Origin::saying(ok(""));
    let proxy = Proxy::before(&origin, |s| {
        s.rate_limit.min = Rate::new(20.0).unwrap();
        s.rate_limit.max = Rate::new(20.0).unwrap();
        s.levels.high.connect_timeout = Some(Duration::from_secs(15));
    });
    let mut client = proxy.client();
    for _ in 0..40 {
        assert_eq!(client.patient().get("/").status, 200);
    }
    assert!(proxy.stats()["rate_limiter"]["delayed"].as_u64().unwrap() > 0);
}

#[test]
fn a_level_set_in_the_middle_of_a_transfer_cuts_nothing_and_holds_for_the_next() {
    let origin = Origin::following(|connection| {
        while let Some(request) = connection.request() {
            if request.target() == b"/film" {
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst");
                connection.wait();
                connection.send("other");
            } else {
                connection.send(ok("next"));
            }
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut film = proxy.client();
    film.send("GET /film HTTP/1.1\r\nhost: proxy\r\n\r\n");
    film.head();
    assert_eq!(film.exactly(5), b"first");

    proxy.set_level("low");
    assert_eq!(proxy.published().origin().tuning.load().level, Level::Low);
    let mut next = proxy.client();
    assert_eq!(next.get("/").text(), "next");
    // Low: the system's own options, on the socket of a client that came after it.
    let socket = sockets::between(Some(proxy.address()), next.socket.local_addr().unwrap());
    assert!(!socket.unwrap().tcp_nodelay().unwrap());

    proxy.set_level("medium");
    origin.open_gate();
    assert_eq!(film.exactly(5), b"other");
    assert_eq!(film.get("/").text(), "next", "the connection goes on, too");
    proxy.until_outcomes(Outcome::Completed, 3);
    let levels: Vec<_> = proxy.stats()["retunes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|retune| retune["what"] == "level")
        .map(|retune| retune["to"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(levels, ["low", "medium"]);
}

#[test]
fn what_the_stats_say_is_what_happened() {
    let origin = Origin::answering(|request| match &*request.target() {
        b"/404" => response("404 Not Found", "", "none"),
        b"/500" => response("500 Oh", "", "oh"),
        _ => ok(vec![0; 1000]),
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    for target in ["/", "/", "/", "/404", "/500"] {
        client.get(target);
    }
    proxy.until_outcomes(Outcome::Completed, 3);
    proxy.until_outcomes(Outcome::Refused, 1);
    proxy.until_outcomes(Outcome::OriginFailed, 1);
    let stats = proxy.stats();
    let metrics = &stats["performance_optimizer"]["metrics"];
    assert_eq!(
        metrics["total_requests"], 5,
        "operators' requests do not count"
    );
    assert_eq!(metrics["error_count"], 1, "a 404 is no error");
    assert_eq!(metrics["error_rate"], "20.00%");
    assert_eq!(metrics["total_bytes_transferred"], 3006);
}
