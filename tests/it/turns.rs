//! Who goes to the origin when not all can, and what is ready for those who come.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    time::Duration,
};

use super::support::{
    certificate::Certificate,
    origin::{Connection, Origin, Request, response},
    proxy::Proxy,
    until,
};

/// Answers by the target: `/hold...` when the test opens the gate, `/large...` with much, the rest with little.
fn answer(connection: &mut Connection, request: &Request) -> bool {
    let target = String::from_utf8(request.target()).unwrap();
    if target.starts_with("/hold") {
        connection.wait();
    }
    let len = if target.starts_with("/large") {
        300_000
    } else {
        100
    };
    connection.send(response("200 OK", "", vec![b'x'; len]))
}

fn origin() -> Origin {
    Origin::following(|connection| {
        while let Some(request) = connection.request() {
            if !answer(connection, &request) {
                return;
            }
        }
    })
}

fn one_at_a_time(settings: &mut fileproxy::settings::Settings) {
    settings.levels.high.connections_per_host = 1;
    settings.origin.waiting_connections = 0;
}

fn targets(origin: &Origin) -> Vec<String> {
    origin
        .requests()
        .iter()
        .map(|request| String::from_utf8(request.target()).unwrap())
        .collect()
}

fn waiting(proxy: &Proxy) -> u64 {
    proxy.stats()["concurrency"]["waiting"].as_u64().unwrap()
}

/// Lets requests queue in this order behind one that holds the only slot, and tells the order the origin saw.
fn order(
    change: impl FnOnce(&mut fileproxy::settings::Settings),
    queue: &[(&str, Duration)],
) -> Vec<String> {
    let origin = origin();
    let proxy = Proxy::before(&origin, |settings| {
        one_at_a_time(settings);
        change(settings);
    });
    // What they are like becomes known.
    for target in ["/small", "/large", "/small", "/small"] {
        assert_eq!(proxy.get(target).status, 200);
    }
    let before = origin.hits();
    let mut holding = proxy.client();
    holding.send("GET /hold HTTP/1.1\r\nhost: p\r\n\r\n");
    until("the slot is held", || {
        (origin.hits() > before).then_some(())
    });
    let mut clients = Vec::new();
    for (n, (target, pause)) in queue.iter().enumerate() {
        std::thread::sleep(*pause);
        let mut client = proxy.client();
        client.send(format!("GET {target} HTTP/1.1\r\nhost: p\r\n\r\n"));
        until("it waits", || (waiting(&proxy) > n as u64).then_some(()));
        clients.push(client);
    }
    assert_eq!(proxy.stats()["limited_by"], "connections");
    origin.open_gate();
    assert_eq!(holding.response().status, 200);
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(proxy.stats()["limited_by"], "nothing");
    targets(&origin).split_off(before + 1)
}

const AT_ONCE: Duration = Duration::ZERO;

#[test]
fn small_ones_go_first() {
    let queue = [
        ("/large", AT_ONCE),
        ("/small", AT_ONCE),
        ("/large", AT_ONCE),
        ("/small?new", AT_ONCE),
    ];
    assert_eq!(
        order(|_| {}, &queue),
        ["/small", "/small?new", "/large", "/large"]
    );
}

#[test]
fn a_large_one_that_waited_long_goes_before_small_ones_that_come_later() {
    let queue = [
        ("/large", AT_ONCE),
        ("/small?a", AT_ONCE),
        ("/small?b", Duration::from_millis(1500)),
    ];
    let quick = |settings: &mut fileproxy::settings::Settings| {
        settings.quality.probe = Duration::ZERO;
        for class in [
            &mut settings.classes.good,
            &mut settings.classes.medium,
            &mut settings.classes.poor,
            &mut settings.classes.very_poor,
        ] {
            class.exchange_timeout = Duration::from_secs(4); // a quarter of it is what large ones wait
        }
    };
    assert_eq!(order(quick, &queue), ["/small?a", "/large", "/small?b"]);
}

#[test]
fn a_small_range_of_a_large_file_is_small() {
    let origin = origin();
    let proxy = Proxy::before(&origin, one_at_a_time);
    for target in ["/small", "/large", "/small", "/small"] {
        assert_eq!(proxy.get(target).status, 200);
    }
    let before = origin.hits();
    let mut holding = proxy.client();
    holding.send("GET /hold HTTP/1.1\r\nhost: p\r\n\r\n");
    until("the slot is held", || {
        (origin.hits() > before).then_some(())
    });
    let mut clients = Vec::new();
    for (n, range) in ["", "range: bytes=0-99\r\n"].into_iter().enumerate() {
        let mut client = proxy.client();
        client.send(format!("GET /large HTTP/1.1\r\nhost: p\r\n{range}\r\n"));
        until("it waits", || (waiting(&proxy) > n as u64).then_some(()));
        clients.push(client);
    }
    origin.open_gate();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    let ranges: Vec<_> = origin.requests()[before + 1..]
        .iter()
        .map(|request| request.field("range").is_some())
        .collect();
    assert_eq!(ranges, [true, false]);
}

#[test]
fn switched_off_they_go_as_they_came() {
    let queue = [
        ("/large", AT_ONCE),
        ("/small", AT_ONCE),
        ("/large?b", AT_ONCE),
    ];
    let off = |settings: &mut fileproxy::settings::Settings| {
        settings.levels.high.small_first = false;
    };
    assert_eq!(order(off, &queue), ["/large", "/small", "/large?b"]);
}

/// An origin that works on one request after the other: what comes at once queues in it, first in, first out.
fn queueing() -> Origin {
    let (desk, waiting) = mpsc::channel::<mpsc::Sender<()>>();
    std::thread::spawn(move || {
        for done in waiting {
            std::thread::sleep(Duration::from_millis(10));
            _ = done.send(());
        }
    });
    Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let (done, served) = mpsc::channel();
            desk.send(done).unwrap();
            served.recv().unwrap();
            if request.target() == b"/long" {
                // The head at once, and the body when the test opens the gate.
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n");
                connection.wait();
                connection.send("x");
            } else if !connection.send(response("200 OK", "", "x")) {
                return;
            }
        }
    })
}

/// Keeps the origin busy until its limit has fallen; the limit.
fn cut(proxy: &Proxy) -> u64 {
    // How fast it is alone.
    for _ in 0..60 {
        assert_eq!(proxy.get("/x").status, 200);
    }
    let busy = AtomicBool::new(true);
    std::thread::scope(|scope| {
        for _ in 0..40 {
            scope.spawn(|| {
                let mut client = proxy.client();
                while busy.load(SeqCst) {
                    assert_eq!(client.patient().get("/x").status, 200);
                }
            });
        }
        let limit = until("the limit falls", || {
            let stats = proxy.stats();
            let limit = stats["concurrency"]["limit"].as_u64().unwrap();
            (limit <= 16 && stats["limited_by"] == "concurrency").then_some(limit)
        });
        busy.store(false, SeqCst);
        limit
    })
}

fn adaptive(settings: &mut fileproxy::settings::Settings) {
    settings.concurrency.min = 3;
    settings.concurrency.slack = Duration::ZERO;
    settings.concurrency.window = Duration::from_secs(2);
    settings.metrics.tick = Duration::from_millis(100);
    settings.levels.high.connections_per_host = 24;
    // Else silent bodies go on without.
    settings.origin.waiting_connections = 0;
    // All ask for the same.
}

#[test]
fn long_bodies_that_hold_all_exchanges_do_not_keep_everybody_out() {
    let origin = queueing();
    let proxy = Proxy::before(&origin, adaptive);
    cut(&proxy);
    until("it is quiet", || {
        (proxy.stats()["concurrency"]["in_use"] == 0).then_some(())
    });
    let mut clients = Vec::new();
    until("one has to wait", || {
        let (hits, waited) = (origin.hits(), waiting(&proxy));
        assert!(waited > 0 || clients.len() < 24, "the limit is not in use");
        let mut client = proxy.client();
        client.send("GET /long HTTP/1.1\r\nhost: p\r\n\r\n");
        clients.push(client);
        until("it is there or waits", || {
            (origin.hits() > hits || waiting(&proxy) > waited).then_some(())
        });
        if waiting(&proxy) > 0 {
            // Those who were answered may still let it in.
            std::thread::sleep(Duration::from_millis(500));
        }
        (waiting(&proxy) > 0).then_some(())
    });
    let waits = clients.last_mut().unwrap();
    assert!(waits.patient().head().starts_with(b"HTTP/1.1 200"));
    origin.open_gate();
}

#[test]
fn exchanges_that_would_queue_at_the_origin_wait_in_the_proxy_and_nobody_is_turned_away() {
    let origin = queueing();
    let proxy = Proxy::before(&origin, adaptive);
    let limit = cut(&proxy);
    assert!(limit >= 3);
    let stats = proxy.stats();
    let told = stats["retunes"].as_array().unwrap();
    assert!(
        told.iter().any(|retune| retune["what"] == "concurrency"
            && retune["why"].as_str().unwrap().contains("take longer")),
        "{told:?}"
    );
    assert_eq!(stats["rate_limiter"]["rejected"], 0);
    assert_eq!(stats["concurrency"]["most"], 24);
}

#[test]
fn connections_that_a_burst_needed_are_opened_again_before_the_next_one() {
    let origin = origin();
    let proxy = Proxy::before(&origin, |settings| {
        settings.server.workers = 1;
        settings.quality.probe = Duration::ZERO;
    });
    let mut clients: Vec<_> = (0..5).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET /hold HTTP/1.1\r\nhost: p\r\n\r\n");
    }
    until("all are there", || (origin.hits() == 5).then_some(()));
    origin.open_gate();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(origin.connections(), 5);
    origin.close_all();
    until("five are open again", || {
        (origin.open() == 5 && proxy.stats()["origin_pool"]["idle"] == 5).then_some(())
    });
    assert_eq!(proxy.stats()["origin_pool"]["spares"], 5);
    let connections = origin.connections();
    for client in &mut clients {
        client.send("GET /small HTTP/1.1\r\nhost: p\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    assert_eq!(origin.connections(), connections, "no handshake was needed");
}

#[test]
fn spare_connections_last_over_tls_too() {
    let certificate = Certificate::new();
    let tls = Some(Arc::clone(&certificate.server));
    let origin = Origin::on("127.0.0.1:0", tls, |connection| {
        while let Some(request) = connection.request() {
            if !answer(connection, &request) {
                return;
            }
        }
    });
    let proxy = Proxy::before(&origin, |settings| {
        settings.server.workers = 1;
        settings.origin.tls.ca_file = certificate.ca_file();
    });
    let mut clients: Vec<_> = (0..3).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET /hold HTTP/1.1\r\nhost: p\r\n\r\n");
    }
    until("all are there", || (origin.hits() == 3).then_some(()));
    origin.open_gate();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    origin.close_all();
    until("three are open again", || {
        (proxy.stats()["origin_pool"]["spares"].as_u64()? >= 3).then_some(())
    });
    // The origin's session tickets have come by now.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(proxy.stats()["origin_pool"]["idle"], 3);
    assert_eq!(origin.connections(), 6);
}

#[test]
fn who_waits_is_let_in_by_a_higher_limit_though_nobody_else_comes() {
    let origin = origin();
    let proxy = Proxy::before(&origin, one_at_a_time);
    let mut clients: Vec<_> = (0..3).map(|_| proxy.client()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /hold?{n} HTTP/1.1\r\nhost: p\r\n\r\n"));
    }
    until("one holds the slot", || {
        (waiting(&proxy) == 2).then_some(())
    });
    proxy.set_level("medium");
    until("all are there", || (origin.hits() == 3).then_some(()));
    origin.open_gate();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
}

#[test]
fn an_origin_that_closes_what_is_not_used_is_not_asked_again_and_again() {
    let origin = Origin::following(|connection| {
        // The first ones are kept until the test closes them; later ones at most a moment.
        if connection.number < 3 {
            while let Some(request) = connection.request() {
                if !answer(connection, &request) {
                    return;
                }
            }
        }
    });
    let proxy = Proxy::before(&origin, |settings| {
        settings.server.workers = 1;
        settings.quality.probe = Duration::ZERO;
    });
    let mut clients: Vec<_> = (0..3).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET /hold HTTP/1.1\r\nhost: p\r\n\r\n");
    }
    until("all are there", || (origin.hits() == 3).then_some(()));
    origin.open_gate();
    for client in &mut clients {
        assert_eq!(client.response().status, 200);
    }
    origin.close_all();
    until("they were tried", || {
        (origin.connections() > 3).then_some(())
    });
    std::thread::sleep(Duration::from_secs(4));
    assert!(
        origin.connections() <= 3 + 3,
        "{} connections",
        origin.connections()
    );
}
