//! What a client must keep to, and the clear answer that it gets if it does not.

use std::{
    io::Write as _,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    thread,
    time::Duration,
};

use bytesize::ByteSize;
use fileproxy::{
    traffic::{level::Level, sample::Outcome},
    units::Rate,
};

use crate::support::{
    client::{Client, End, Ending},
    origin::{Origin, ok},
    proxy::Proxy,
    until, until_within,
};

fn count(proxy: &Proxy, which: &str) -> u64 {
    proxy.stats()["workers"][which].as_u64().unwrap()
}

fn fine() -> Origin {
    Origin::answering(|request| ok(request.target()))
}

/// The answer to bytes after which the connection ends.
fn refused(client: &mut Client, status: u16) -> serde_json::Value {
    let answer = client.response();
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.ending, Ending::Whole);
    let problem = answer.problem();
    assert!(client.closes(), "more than one answer");
    problem
}

#[test]
fn a_head_that_is_too_long_is_answered_431_and_counted() {
    let origin = fine();
    let proxy = Proxy::before(&origin, |s| s.server.max_head = ByteSize::kib(8));
    let mut client = proxy.client();
    client.send(format!(
        "GET / HTTP/1.1\r\nhost: proxy\r\nx-long: {}\r\n\r\n",
        "x".repeat(9000)
    ));
    let problem = refused(&mut client, 431);
    assert!(problem["detail"].as_str().unwrap().contains("8192"));
    assert_eq!(count(&proxy, "bad_heads"), 1);
    assert_eq!(origin.hits(), 0);
    assert_eq!(proxy.get("/next").text(), "/next");
}

#[test]
fn a_header_of_10_mb_is_answered_431_and_no_reset_overtakes_the_answer() {
    let origin = fine();
    let proxy = Proxy::before(&origin, |_| {});
    for _ in 0..3 {
        let mut client = proxy.client();
        client.send("GET / HTTP/1.1\r\nhost: proxy\r\nx-long: ");
        // All of it, before the answer is looked at.
        client.send(vec![b'x'; 10_000_000]);
        client.send("\r\n\r\n");
        refused(&mut client, 431);
    }
    assert_eq!(count(&proxy, "bad_heads"), 3);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_target_of_10_mb_is_answered_431_too() {
    let origin = fine();
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send("GET /");
    client.send(vec![b'x'; 10_000_000]);
    refused(&mut client, 431);
}

#[test]
fn a_head_just_under_the_limit_passes() {
    let origin = fine();
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    for _ in 0..2 {
        let long = "x".repeat(60_000);
        let answer = client.get_with("/long", &format!("x-long: {long}\r\n"));
        assert_eq!(answer.text(), "/long");
        assert_eq!(origin.last().field("x-long").unwrap(), long);
    }
}

#[test]
fn a_later_head_that_is_too_long_is_answered_431() {
    let origin = fine();
    let proxy = Proxy::before(&origin, |s| s.server.max_head = ByteSize::kib(8));
    let mut client = proxy.client();
    client.get("/");
    client.send("GET / HTTP/1.1\r\nhost: proxy\r\nx-long: ");
    client.send(vec![b'x'; 100_000]);
    refused(&mut client, 431);
}

#[test]
fn too_many_fields_are_refused_and_counted() {
    let origin = fine();
    let proxy = Proxy::before(&origin, |_| {});
    let lines: String = (0..500).map(|n| format!("x-{n}: {n}\r\n")).collect();
    let mut client = proxy.client();
    client.send(format!("GET / HTTP/1.1\r\nhost: proxy\r\n{lines}\r\n"));
    let answer = client.response();
    assert!([400, 431].contains(&answer.status), "{answer:?}");
    answer.problem();
    assert_eq!(count(&proxy, "bad_heads"), 1);
}

fn quick_heads(s: &mut fileproxy::settings::Settings) {
    s.server.head_timeout = Duration::from_millis(300);
}

#[test]
fn a_first_head_that_trickles_is_answered_408_and_counted() {
    let origin = fine();
    let proxy = Proxy::before(&origin, quick_heads);
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: proxy\r\nx-slow: ");
    let mut sender = client.socket.try_clone().unwrap();
    // Each byte is progress, and still no head.
    let trickling = thread::spawn(move || {
        while sender.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(10));
        }
    });
    let answer = client.response();
    assert_eq!(answer.status, 408, "{answer:?}");
    answer.problem();
    client.rest();
    trickling.join().unwrap();
    assert_eq!(count(&proxy, "head_timeouts"), 1);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_later_head_that_trickles_is_answered_408() {
    let origin = fine();
    let proxy = Proxy::before(&origin, quick_heads);
    let mut client = proxy.client();
    assert_eq!(client.get("/first").text(), "/first");
    assert_eq!(client.get("/stats").status, 200);
    client.send("GET /second HTTP/1.1\r\nhost: pro");
    refused(&mut client, 408);
    assert_eq!(count(&proxy, "head_timeouts"), 1);
    assert_eq!(origin.hits(), 1);
}

#[test]
fn half_a_head_in_the_packet_of_the_request_before_gets_408_too() {
    let origin = fine();
    let proxy = Proxy::before(&origin, quick_heads);
    for before in ["/first", "/stats"] {
        let mut client = proxy.client();
        client.send(format!(
            "GET {before} HTTP/1.1\r\nhost: proxy\r\n\r\nGET /second HTTP/1.1\r\nhost: pro"
        ));
        assert_eq!(client.response().status, 200);
        refused(&mut client, 408);
    }
}

#[test]
fn an_empty_line_behind_a_body_is_no_begin_of_a_head() {
    let origin = fine();
    let proxy = Proxy::before(&origin, |s| {
        quick_heads(s);
        s.server.keep_alive = Duration::from_secs(1);
    });
    let mut client = proxy.client();
    client.send("POST /first HTTP/1.1\r\nhost: proxy\r\ncontent-length: 2\r\n\r\nhi\r\n");
    assert_eq!(client.response().text(), "/first");
    assert!(client.closes(), "idle, and nothing was asked");
    assert_eq!(count(&proxy, "head_timeouts"), 0);
}

#[test]
fn a_connection_on_which_nothing_is_asked_is_closed_without_an_answer() {
    let origin = fine();
    let proxy = Proxy::before(&origin, quick_heads);
    let mut client = proxy.client();
    assert!(client.closes());
    assert_eq!(count(&proxy, "head_timeouts"), 0);
}

#[test]
fn an_idle_connection_is_closed_without_an_answer() {
    let origin = fine();
    let proxy = Proxy::before(&origin, |s| {
        s.server.keep_alive = Duration::from_secs(1);
        s.server.head_timeout = Duration::from_secs(15);
    });
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "/");
    assert!(client.closes());
}

#[test]
fn a_connection_that_rested_goes_on_as_before_and_is_closed_when_it_is_due() {
    // After a second without a request, a connection is taken back from actix-http, and lent to it again at the next.
    let rest = Duration::from_millis(1300);
    let origin = Origin::answering(|request| ok(&request.body));
    let proxy = Proxy::before(&origin, |s| s.server.keep_alive = Duration::from_secs(3));
    let mut client = proxy.client();
    client.patient();
    assert_eq!(client.get("/").status, 200);
    thread::sleep(rest);
    client.send("POST / HTTP/1.1\r\nhost: proxy\r\ncontent-le");
    thread::sleep(rest);
    client.send("ngth: 5\r\n\r\nhel");
    thread::sleep(rest);
    client.send("lo");
    assert_eq!(client.response().text(), "hello");
    thread::sleep(rest);
    // Two in one packet.
    client.send("POST / HTTP/1.1\r\nhost: proxy\r\ncontent-length: 1\r\n\r\naGET /b HTTP/1.1\r\nhost: proxy\r\n\r\n");
    assert_eq!(client.response().text(), "a");
    assert_eq!(client.response().status, 200);
    let begun = std::time::Instant::now();
    assert!(client.closes());
    assert!(
        begun.elapsed() > Duration::from_millis(2500),
        "closed too early"
    );
    assert_eq!(origin.hits(), 4);
}

#[test]
fn an_upload_that_stalls_is_answered_408_and_counted() {
    for head in ["content-length: 100000", "transfer-encoding: chunked"] {
        let origin = fine();
        let proxy = Proxy::before(&origin, |s| {
            s.server.body_timeout = Duration::from_millis(200);
        });
        let mut client = proxy.client();
        client.send(format!(
            "PUT / HTTP/1.1\r\nhost: proxy\r\n{head}\r\n\r\n5\r\nhello\r\n"
        ));
        refused(&mut client, 408);
        proxy.until_outcomes(Outcome::ClientFault, 1);
        assert_eq!(count(&proxy, "body_timeouts"), 1);
        assert_eq!(proxy.get("/next").text(), "/next");
    }
}

#[test]
fn an_upload_that_trickles_is_answered_408() {
    let origin = fine();
    let proxy = Proxy::before(&origin, |s| {
        s.server.body_min_rate = ByteSize::mib(1);
        s.server.body_grace = Duration::from_millis(200);
    });
    let mut client = proxy.client();
    client.send("PUT / HTTP/1.1\r\nhost: proxy\r\ncontent-length: 100000\r\n\r\n");
    let mut sender = client.socket.try_clone().unwrap();
    let trickling = thread::spawn(move || {
        while sender.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(10));
        }
    });
    let answer = client.response();
    assert_eq!(answer.status, 408, "{answer:?}");
    answer.problem();
    client.rest();
    trickling.join().unwrap();
    assert_eq!(count(&proxy, "body_timeouts"), 1);
}

/// An origin of one endless file.
fn endless() -> Origin {
    Origin::following(|connection| {
        if connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n");
            let piece = vec![b'x'; 64 * 1024];
            while connection.send(&piece) {}
        }
    })
}

#[test]
fn a_reader_that_stops_is_reset_and_counted() {
    let origin = endless();
    let proxy = Proxy::before(&origin, |s| {
        s.server.send_timeout = Duration::from_millis(300);
    });
    let mut client = Client::with_little_room(proxy.address());
    client.send("GET / HTTP/1.1\r\nhost: proxy\r\n\r\n");
    client.head();
    until("the proxy gives up", || {
        (count(&proxy, "send_timeouts") == 1).then_some(())
    });
    let (_, end) = client.patient().rest();
    assert_eq!(end, End::Reset);
    proxy.until_outcomes(Outcome::ClientLeft, 1);
    until("the origin's connection is closed", || {
        (origin.open() == 0).then_some(())
    });
}

#[test]
fn a_slow_reader_that_goes_on_reading_is_kept() {
    let origin = endless();
    let proxy = Proxy::before(&origin, |s| {
        s.optimization.level = Level::Medium;
        s.server.send_timeout = Duration::from_secs(1);
    });
    let mut client = Client::with_little_room(proxy.address());
    client.send("GET / HTTP/1.1\r\nhost: proxy\r\n\r\n");
    client.head();
    // Slow for real, for three times as long as a reader that stops is given.
    for _ in 0..150 {
        client.exactly(1000);
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(count(&proxy, "send_timeouts"), 0);
    client.exactly(100_000);
}

#[test]
fn a_connection_too_many_is_answered_503_and_counted() {
    let origin = fine();
    let proxy = Proxy::before(&origin, |s| s.server.max_connections = 2);
    let mut first = proxy.client();
    let mut second = proxy.client();
    assert_eq!(first.get("/1").text(), "/1");
    assert_eq!(second.get("/2").text(), "/2");
    let mut third = proxy.client();
    third.send("GET /3 HTTP/1.1\r\nhost: proxy\r\n\r\n");
    refused(&mut third, 503);
    assert_eq!(first.get("/stats").status, 200, "those that are in go on");
    assert_eq!(proxy.published().clients.over_limit.get(), 1);
    drop((second, third));
    until("there is room again", || {
        (proxy.published().clients.open.get() <= 1).then_some(())
    });
    assert_eq!(proxy.get("/4").text(), "/4");
    assert_eq!(origin.hits(), 3);
}

#[test]
fn connections_that_ask_for_nothing_make_room_for_others_where_one_client_has_them_all() {
    let origin = fine();
    let proxy = Proxy::before(&origin, |s| s.server.max_connections = 12);
    let mut silent: Vec<_> = (0..4).map(|_| proxy.client()).collect();
    let mut begun: Vec<_> = (0..4).map(|_| proxy.client()).collect();
    for client in &mut begun {
        client.send("GET /half HTTP/1.1\r\nho");
    }
    let mut kept: Vec<_> = (0..4).map(|_| proxy.client()).collect();
    for client in &mut kept {
        assert_eq!(client.get("/kept").text(), "/kept");
    }
    for n in 0..12 {
        let mut other = Client::from([127, 0, 0, 2 + n].into(), proxy.address());
        assert_eq!(other.get("/other").text(), "/other");
        drop(other);
        until("it is gone", || {
            (proxy.published().clients.open.get() <= 12).then_some(())
        });
        silent.push(proxy.client());
    }
    let clients = &proxy.published().clients;
    assert_eq!(clients.over_limit.get(), 0);
    assert!(clients.idle_closed.get() >= 12);
}

#[test]
fn what_is_no_request_is_answered_400_and_counted() {
    let origin = fine();
    for (n, bad) in [
        &b"garbage\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a tls hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/3.0\r\nhost: proxy\r\n\r\n",
        b"GET / FTP/1.1\r\nhost: proxy\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: proxy\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: proxy\r\nx : space\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: proxy\r\nx: a\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: proxy\r\nx: a\0b\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nhost: proxy\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: proxy\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: proxy\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: proxy\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"POST / HTTP/1.1\r\nhost: proxy\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nhost: proxy\r\ncontent-length: +5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nhost: proxy\r\ncontent-length: five\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nhost: proxy\r\ncontent-length: 5, 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nhost: proxy\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: proxy\r\ntransfer-encoding: identity\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: proxy\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: proxy\r\ntransfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let proxy = Proxy::before(&origin, |_| {});
        let shown = String::from_utf8_lossy(bad);
        let mut client = proxy.client();
        // And something smuggled behind it.
        client.send([bad, b"GET /smuggled HTTP/1.1\r\nhost: proxy\r\n\r\n"].concat());
        let answer = client.response();
        assert_eq!(answer.status, 400, "{n}: {shown}: {answer:?}");
        answer.problem();
        assert!(client.closes(), "{n}: {shown}: more than one answer");
        assert_eq!(count(&proxy, "bad_heads"), 1, "{n}: {shown}");
        assert_eq!(origin.hits(), n, "{n}: {shown}: smuggled");
        assert_eq!(proxy.get("/next").text(), "/next");
    }
}

#[test]
fn a_request_without_a_host_or_with_two_is_answered_400() {
    let origin = fine();
    let proxy = Proxy::before(&origin, |_| {});
    for lines in ["", "host: a\r\nhost: b\r\n"] {
        let mut client = proxy.client();
        client.send(format!("GET / HTTP/1.1\r\n{lines}\r\n"));
        let answer = client.response();
        assert_eq!(answer.status, 400, "RFC 9112 §3.2: {answer:?}");
        answer.problem();
    }
    assert_eq!(origin.hits(), 0);
}

#[test]
fn an_upload_whose_coding_breaks_ends_its_connection_and_the_origin_never_takes_it_for_whole() {
    for body in [
        "zz\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "-1\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
    ] {
        let origin = Origin::following(|connection| {
            if connection.request().is_some() {
                connection.took(1);
                connection.send(ok("taken for whole"));
            }
        });
        let proxy = Proxy::before(&origin, |_| {});
        let mut client = proxy.client();
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: proxy\r\ntransfer-encoding: chunked\r\n\r\n{body}"
        ));
        let (answer, _) = client.rest();
        let shown = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || shown.starts_with("HTTP/1.1 400 "),
            "{body:?}: {shown}"
        );
        assert_eq!(
            shown.matches("HTTP/1.1").count(),
            usize::from(!answer.is_empty())
        );
        assert_eq!(origin.taken(), 0, "{body:?}");
        assert_eq!(proxy.get("/stats").status, 200);
    }
}

#[test]
fn an_upload_cut_by_its_client_is_never_taken_for_whole() {
    let origin = Origin::following(|connection| {
        if connection.request().is_some() {
            connection.took(1);
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    for head in ["content-length: 1000000", "transfer-encoding: chunked"] {
        let hits = origin.hits();
        let mut client = proxy.client();
        client.send(format!(
            "PUT / HTTP/1.1\r\nhost: proxy\r\n{head}\r\n\r\n8000\r\n{}\r\n",
            "x".repeat(0x8000)
        ));
        until("the upload begins", || (origin.hits() > hits).then_some(()));
        client.shut();
        until("the origin's connection closes", || {
            (origin.open() == 0).then_some(())
        });
    }
    assert_eq!(origin.taken(), 0);
}

#[test]
fn a_bad_request_behind_a_good_one_leaves_the_good_one_whole() {
    let origin = fine();
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send("GET /good HTTP/1.1\r\nhost: proxy\r\n\r\ngarbage\r\n\r\n");
    let answer = client.response();
    assert_eq!(
        (answer.text().as_str(), answer.ending),
        ("/good", Ending::Whole)
    );
    assert_eq!(client.response().status, 400);
    assert!(client.closes());
    assert_eq!(origin.hits(), 1);
}

#[test]
fn nothing_is_left_behind_by_any_of_it() {
    let origin = fine();
    let proxy = Proxy::before(&origin, quick_heads);
    for bad in ["garbage\r\n\r\n", "GET / HT", "", "GET / HTTP/1.1\r\n\r\n"] {
        let mut client = proxy.client();
        client.send(bad);
        drop(client);
    }
    let mut reset = proxy.client();
    reset.send("PUT / HTTP/1.1\r\nhost: proxy\r\ncontent-length: 10\r\n\r\nabc");
    reset.reset();
    until("all connections are gone", || {
        let published = proxy.published();
        let (clients, origin) = (&published.clients, &published.origin().counters);
        let gone = clients.open.get() == 0
            && clients.requests.get() == 0
            && origin.in_use.get() == 0
            && origin.waiting.get() == 0;
        gone.then_some(())
    });
}

#[test]
fn a_maximum_of_the_settings_that_holds_requests_back_is_named_with_what_it_would_take() {
    let origin = fine();
    let proxy = Proxy::before(&origin, |settings| {
        settings.rate_limit.min = Rate::new(10.0).unwrap();
        settings.rate_limit.max = Rate::new(40.0).unwrap();
        settings.rate_limit.initial = Some(Rate::new(40.0).unwrap());
    });
    assert!(proxy.stats()["binding_limit"].is_null());
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    proxy.get("/a");
                }
            });
        }
        let limit = until_within(Duration::from_secs(60), "it is told", || {
            let limit = proxy.stats()["binding_limit"].clone();
            (!limit.is_null()).then_some(limit)
        });
        assert_eq!(
            (limit["key"].as_str(), limit["value"].as_f64()),
            (Some("rate_limit.max"), Some(40.0))
        );
        assert!(limit["needed"].as_f64() > Some(40.0), "{limit}");
        assert_eq!(
            proxy.json("/health")["binding_limit"]["key"],
            "rate_limit.max"
        );
        over.store(true, SeqCst);
    });
    until("it is over", || {
        proxy.stats()["binding_limit"].is_null().then_some(())
    });
}
