//! Stored responses that are given again to a request by the same bytes: what the client gets is what the whole way would give
//! it.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    thread,
    time::{Duration, SystemTime},
};

use actix_web::http::header::HttpDate;
use fileproxy::{settings::Settings, traffic::sample::Outcome};

use crate::support::{
    certificate::Certificate,
    client::{Client, Ending, Response},
    origin::{Origin, file, response},
    proxy::Proxy,
    secure::Secure,
    until,
};

/// The fields of a response that stays fresh for so many seconds.
fn fresh_for(seconds: u64) -> String {
    let date = HttpDate::from(SystemTime::now());
    format!("etag: \"v1\"\r\ndate: {date}\r\ncache-control: max-age={seconds}\r\n")
}

fn kept(settings: &mut Settings) {
    settings.levels.high.store = true;
}

/// An origin whose every answer is this body.
fn serving(body: Vec<u8>) -> Origin {
    Origin::answering(move |_| response("200 OK", &fresh_for(60), &body))
}

fn repeated(proxy: &Proxy) -> u64 {
    proxy.stats()["store"]["repeated"].as_u64().unwrap()
}

/// The fields that do not differ from one response to the next.
fn constant(response: &Response) -> Vec<(String, Option<String>)> {
    ["etag", "date", "cache-control", "content-length", "via"]
        .map(|name| (name.to_owned(), response.field(name)))
        .into()
}

#[test]
fn it_is_the_same_but_for_age_ttl_and_id() {
    let origin = serving(file(300_000));
    let proxy = Proxy::before(&origin, kept);
    let mut client = proxy.client();
    client.get("/film");
    let whole_way = client.get("/film");
    assert_eq!(repeated(&proxy), 0);
    thread::sleep(Duration::from_millis(1100));
    let again = client.get("/film");
    assert_eq!(repeated(&proxy), 1);
    assert!(again.body == file(300_000) && again.ending == Ending::Whole);
    assert_eq!(again.status, 200);
    assert_eq!(constant(&again), constant(&whole_way));
    let number = |response: &Response, name: &str, before: &str| {
        let value = response.field(name).unwrap();
        value.strip_prefix(before).unwrap().parse::<i64>().unwrap()
    };
    assert!(number(&again, "age", "") > number(&whole_way, "age", ""));
    let ttl = |response| number(response, "cache-status", "fileproxy; hit; ttl=");
    assert!(ttl(&again) < ttl(&whole_way));
    let id = |response: &Response| response.field("x-request-id").unwrap();
    assert_ne!(id(&again), id(&whole_way));
    assert_eq!(id(&again).len(), 36);
    assert_eq!(origin.hits(), 1);
}

#[test]
fn it_is_counted_like_every_other_request() {
    let origin = serving(file(1000));
    let proxy = Proxy::before(&origin, kept);
    for _ in 0..10 {
        // Connections of their own: nothing of it belongs to one.
        proxy.get("/film");
    }
    let took_it = repeated(&proxy);
    assert!(
        took_it >= 4,
        "{took_it}: one for each worker goes the whole way"
    );
    proxy.until_outcomes(Outcome::Completed, 10);
    let stats = proxy.stats();
    assert_eq!(stats["store"]["requests"]["fresh"], 9);
    assert_eq!(stats["store"]["bytes"]["served"], 10_000);
    assert_eq!(stats["workers"]["sent_bytes"], 10_000);
    assert_eq!(stats["workers"]["requests_in_flight"], 0);
    let metrics = proxy.get("/metrics").text();
    assert!(
        metrics.contains("fileproxy_responses_total{class=\"2xx\"} 1"),
        "{metrics}"
    );
}

#[test]
fn head_ranges_and_conditions_are_given_again_too() {
    let origin = serving(file(1000));
    let proxy = Proxy::before(&origin, kept);
    let mut client = proxy.client();
    client.get("/film");
    for n in 0..3 {
        let part = client.get_with("/film", "range: bytes=10-19\r\n");
        assert_eq!(
            (part.status, &*part.body),
            (206, &file(1000)[10..20]),
            "{n}"
        );
        assert_eq!(
            part.field("content-range").as_deref(),
            Some("bytes 10-19/1000")
        );
        let known = client.get_with("/film", "if-none-match: \"v1\"\r\n");
        assert_eq!((known.status, known.body.len()), (304, 0), "{n}");
        let beyond = client.get_with("/film", "range: bytes=1000-\r\n");
        assert_eq!((beyond.status, beyond.body.len()), (416, 0), "{n}");
        client.send("HEAD /film HTTP/1.1\r\nhost: proxy\r\n\r\n");
        let head = client.response_to_head();
        assert_eq!(head.field("content-length").as_deref(), Some("1000"), "{n}");
        let id = client.get_with("/film", "x-request-id: my-own\r\n");
        assert_eq!(id.field("x-request-id").as_deref(), Some("my-own"), "{n}");
    }
    assert_eq!(repeated(&proxy), 10);
    assert_eq!(origin.hits(), 1);
}

#[test]
fn a_purge_a_change_and_the_end_of_its_time_end_it() {
    let origin = Origin::answering({
        let count = AtomicUsize::new(0);
        move |_| {
            let n = count.fetch_add(1, SeqCst);
            let lines = fresh_for(3).replace("v1", &n.to_string());
            response("200 OK", &lines, format!("answer {n}").as_bytes())
        }
    });
    let proxy = Proxy::before(&origin, kept);
    let mut client = proxy.client();
    let mut get = || client.get("/film").text();
    assert_eq!([get(), get(), get()], ["answer 0"; 3]);
    assert_eq!(repeated(&proxy), 1);
    // The object goes.
    let store = proxy.published().store.get().unwrap();
    store.shelf.purge(false, SystemTime::now(), |_| true);
    assert_eq!([get(), get(), get()], ["answer 1"; 3]);
    // Its time ends.
    thread::sleep(Duration::from_millis(3100));
    assert_eq!(get(), "answer 2");
    // An unsafe method changes what it was made of (RFC 9111 §4.4).
    assert_eq!([get(), get()], ["answer 2"; 2]);
    let mut other = proxy.client();
    other.send("POST /film HTTP/1.1\r\nhost: proxy\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(other.response().text(), "answer 3");
    assert_eq!(get(), "answer 4");
}

#[test]
fn a_level_without_the_store_and_a_reload_are_in_force_at_once() {
    let origin = serving(file(1000));
    let proxy = Proxy::before(&origin, kept);
    let mut client = proxy.client();
    for _ in 0..4 {
        client.get("/film");
    }
    let before = repeated(&proxy);
    assert_eq!(before, 2);
    assert_eq!(proxy.set_level("low").status, 200);
    assert_eq!(client.get("/film").field("cache-status"), None);
    assert_eq!((repeated(&proxy), origin.hits()), (before, 2));
    assert_eq!(proxy.set_level("high").status, 200);
    client.get("/film");
    assert_eq!(repeated(&proxy), before + 1);
    let reloaded = proxy.reload(|settings| settings.log.access = !settings.log.access);
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    client.get("/film");
    assert_eq!(repeated(&proxy), before + 1, "another policy begins anew");
    client.get("/film");
    assert_eq!(repeated(&proxy), before + 2);
}

#[test]
fn requests_that_follow_each_other_closely_are_answered_in_order() {
    let origin = serving(file(1000));
    let proxy = Proxy::before(&origin, kept);
    let mut client = proxy.client();
    client.get("/film");
    client.get("/film");
    let request = "GET /film HTTP/1.1\r\nhost: proxy\r\n\r\n";
    client.send(request.repeat(5));
    for _ in 0..5 {
        assert_eq!(client.response().body, file(1000));
    }
    client.send("GET /film HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\n\r\n");
    assert_eq!(client.response().body, file(1000));
    assert!(client.closes());
}

#[test]
fn a_client_that_reads_slowly_gets_all_of_it_and_the_next_one_too() {
    let whole = file(8 << 20);
    let origin = serving(whole.clone());
    let proxy = Proxy::before(&origin, kept);
    for _ in 0..4 {
        assert!(proxy.get("/film").body == whole);
    }
    let before = repeated(&proxy);
    let mut client = Client::with_little_room(proxy.address());
    for _ in 0..2 {
        client.send("GET /film HTTP/1.1\r\nhost: proxy\r\n\r\n");
        thread::sleep(Duration::from_millis(300));
        let got = client.response();
        assert!(got.body == whole && got.ending == Ending::Whole);
    }
    assert!(repeated(&proxy) > before);
}

#[test]
fn a_client_that_reads_nothing_is_ended_in_time_and_one_that_leaves_is_counted() {
    let origin = serving(file(32 << 20));
    let proxy = Proxy::before(&origin, |settings| {
        kept(settings);
        settings.server.send_timeout = Duration::from_millis(500);
    });
    for _ in 0..4 {
        assert_eq!(proxy.get("/film").body.len(), 32 << 20);
    }
    let mut deaf = Client::with_little_room(proxy.address());
    deaf.send("GET /film HTTP/1.1\r\nhost: proxy\r\n\r\n");
    until("it is ended", || {
        (proxy.published().clients.send_timeouts.get() == 1).then_some(())
    });
    proxy.until_outcomes(Outcome::ClientLeft, 1);
    let mut leaves = Client::with_little_room(proxy.address());
    leaves.send("GET /film HTTP/1.1\r\nhost: proxy\r\n\r\n");
    leaves.head();
    leaves.reset();
    proxy.until_outcomes(Outcome::ClientLeft, 2);
    until("nothing is left behind", || {
        (proxy.published().clients.requests.get() == 0).then_some(())
    });
}

#[test]
fn a_connection_that_is_only_given_responses_again_stays_open_and_ends_once_it_is_idle() {
    let origin = serving(file(1000));
    let proxy = Proxy::before(&origin, |settings| {
        kept(settings);
        settings.server.keep_alive = Duration::from_millis(900);
    });
    let mut client = proxy.client();
    for _ in 0..8 {
        assert_eq!(client.get("/film").body, file(1000));
        thread::sleep(Duration::from_millis(300));
    }
    assert!(client.closes(), "idle for longer than server.keep_alive");
}

#[test]
fn while_the_process_drains_the_connection_ends_behind_the_answer() {
    let origin = serving(file(1000));
    let proxy = Proxy::before(&origin, |settings| {
        kept(settings);
        settings.server.drain_notice = Duration::from_secs(3600);
    });
    let mut client = proxy.client();
    for _ in 0..3 {
        client.get("/film");
    }
    proxy.drain();
    until("it drains", || {
        proxy.published().is_draining().then_some(())
    });
    let last = client.get("/film");
    assert_eq!(last.field("connection").as_deref(), Some("close"));
    assert!(client.closes());
}

#[test]
fn over_tls_it_is_the_same() {
    let certificate = Certificate::new();
    let origin = serving(file(200_000));
    let proxy = Proxy::before(&origin, |settings| {
        kept(settings);
        certificate.show(settings);
    });
    let mut client = Secure::to(proxy.address(), &certificate, &[]).unwrap();
    for n in 0..4 {
        let (status, got) = client.get("/film");
        assert!(status == 200 && got == file(200_000), "{n}");
    }
    let store = proxy.published().store.get().unwrap();
    assert_eq!(store.counters.responses_repeated(), 2);
}

/// A proxy with one worker, so that all connections share what it knows.
fn alone(settings: &mut Settings) {
    kept(settings);
    settings.server.workers = 1;
}

#[test]
fn nobody_gets_what_was_made_for_another_address_or_request() {
    for named in ["x-forwarded-for", "Forwarded", "x-request-id"] {
        let origin = Origin::answering(move |request| {
            let lines = format!("{}vary: {named}\r\n", fresh_for(60));
            let made_for = request.field(&named.to_ascii_lowercase()).unwrap();
            response("200 OK", &lines, made_for.as_bytes())
        });
        let proxy = Proxy::before(&origin, alone);
        let mut own = proxy.client();
        let first = own.get("/film").text();
        for _ in 0..3 {
            let again = own.get("/film").text();
            assert_eq!(again == first, named != "x-request-id", "{named}");
        }
        let mut other = Client::from([127, 0, 0, 2].into(), proxy.address());
        for _ in 0..3 {
            assert_ne!(other.get("/film").text(), first, "{named}");
        }
    }
}

#[test]
fn what_slow_clients_hold_of_large_bodies_counts_and_is_bounded() {
    // More than the sockets take between them.
    let whole = file(8 << 20);
    let origin = serving(whole.clone());
    let proxy = Proxy::before(&origin, |settings| {
        alone(settings);
        // An eighth of it are two of these bodies.
        settings.store.memory = bytesize::ByteSize::mib(128);
    });
    for _ in 0..3 {
        assert!(proxy.get("/film").body == whole);
    }
    let store = proxy.published().store.get().unwrap();
    let used = || store.shelf.memory().used();
    let (before, repeated_before) = (used(), repeated(&proxy));
    let mut slow: Vec<_> = (0..4)
        .map(|_| {
            let mut client = Client::with_little_room(proxy.address());
            client.send("GET /film HTTP/1.1\r\nhost: proxy\r\n\r\n");
            client.head();
            client
        })
        .collect();
    assert_eq!(
        repeated(&proxy),
        repeated_before + 2,
        "the others go the whole way"
    );
    assert_eq!(used(), before + (16 << 20));
    // Who reads on gets all of it, whichever way.
    for mut client in slow.drain(..) {
        client.patient();
        assert_eq!(client.exactly(whole.len()), whole);
    }
    until("nothing is held any more", || {
        (used() == before).then_some(())
    });
}
