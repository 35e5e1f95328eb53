//! The store: what is kept, for whom, and what becomes of it when the origin fails.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread,
};

use fileproxy::settings::Settings;

use super::{
    support::{
        client::{Client, Ending, Response},
        origin::{Connection, Origin, Request, response},
        proxy::Proxy,
        until,
    },
    transfers::object,
};

fn kept(settings: &mut Settings) {
    settings.levels.high.store = true;
}

fn proxy(origin: &Origin) -> Proxy {
    Proxy::before(origin, kept)
}

fn status(response: &Response) -> String {
    response.field("cache-status").unwrap_or_default()
}

/// An origin that gives one object with these fields, whole, in parts or under a condition.
fn serving(body: Vec<u8>, lines: &'static str) -> Origin {
    Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            if !serve(connection, &request, &body, lines) {
                return;
            }
        }
    })
}

fn serve(connection: &mut Connection, request: &Request, body: &[u8], lines: &str) -> bool {
    let tag = lines
        .lines()
        .find_map(|line| line.strip_prefix("etag: "))
        .map(str::to_owned);
    if tag.is_some() && request.field("if-none-match") == tag {
        return connection.send(format!("HTTP/1.1 304 Not Modified\r\n{lines}\r\n"));
    }
    match request.range(body.len()) {
        Some((first, last)) => connection.send(response(
            "206 Partial Content",
            &format!(
                "{lines}content-range: bytes {first}-{last}/{}\r\n",
                body.len()
            ),
            &body[first..=last],
        )),
        None => connection.send(response("200 OK", lines, body)),
    }
}

#[test]
fn what_is_fresh_is_answered_without_the_origin() {
    let body = object(1, 300_000);
    let origin = serving(
        body.clone(),
        "etag: \"v1\"\r\ncache-control: max-age=60\r\n",
    );
    let proxy = proxy(&origin);
    let first = proxy.get("/film.mp4");
    assert!(first.body == body && first.ending == Ending::Whole);
    assert!(status(&first).contains("fwd=uri-miss; stored"), "{first:?}");
    let second = proxy.get("/film.mp4");
    assert!(second.body == body && second.ending == Ending::Whole);
    assert!(
        status(&second).starts_with("fileproxy; hit; ttl="),
        "{second:?}"
    );
    assert_eq!(second.field("age").as_deref(), Some("0"));
    assert_eq!(second.field("etag").as_deref(), Some("\"v1\""));
    assert_eq!(origin.hits(), 1);
    // Each request has an id of its own.
    assert_ne!(first.field("x-request-id"), second.field("x-request-id"));
}

#[test]
fn heads_conditions_and_ranges_are_answered_out_of_the_object_of_a_get() {
    let body = object(2, 200_000);
    let origin = serving(
        body.clone(),
        "etag: \"v1\"\r\ncache-control: max-age=60\r\n",
    );
    let proxy = proxy(&origin);
    assert!(proxy.get("/a").body == body);
    let mut client = proxy.client();
    client.send("HEAD /a HTTP/1.1\r\nhost: proxy\r\n\r\n");
    let head = client.response_to_head();
    assert_eq!(head.field("content-length").as_deref(), Some("200000"));
    let same = client.get_with("/a", "if-none-match: \"v1\"\r\n");
    assert_eq!((same.status, same.body.len()), (304, 0));
    let part = client.get_with("/a", "range: bytes=1000-1999\r\n");
    assert_eq!(part.status, 206);
    assert_eq!(
        part.field("content-range").as_deref(),
        Some("bytes 1000-1999/200000")
    );
    assert!(part.body == body[1000..2000]);
    let end = client.get_with("/a", "range: bytes=-5\r\nif-range: \"v1\"\r\n");
    assert!(end.status == 206 && end.body == body[199_995..]);
    let other = client.get_with("/a", "range: bytes=0-1\r\nif-range: \"v2\"\r\n");
    assert!(other.status == 200 && other.body == body);
    let over = client.get_with("/a", "range: bytes=200000-\r\n");
    assert_eq!(
        (over.status, over.field("content-range").as_deref()),
        (416, Some("bytes */200000"))
    );
    assert_eq!(origin.hits(), 1);
}

#[test]
fn a_range_brings_what_is_missing_and_the_whole_only_the_gaps() {
    let body = object(3, 500_000);
    let origin = serving(
        body.clone(),
        "etag: \"v1\"\r\ncache-control: max-age=60\r\n",
    );
    let proxy = proxy(&origin);
    let mut client = proxy.client();
    let part = client.get_with("/a", "range: bytes=100000-199999\r\n");
    assert!(part.status == 206 && part.body == body[100_000..200_000]);
    assert_eq!(
        origin.last().field("range").as_deref(),
        Some("bytes=100000-199999")
    );
    let inside = client.get_with("/a", "range: bytes=150000-150009\r\n");
    assert!(inside.body == body[150_000..150_010]);
    assert_eq!(origin.hits(), 1);
    let whole = client.get("/a");
    assert!(whole.status == 200 && whole.body == body);
    let ranges: Vec<_> = (origin.requests().iter().skip(1))
        .map(|request| request.field("range").unwrap())
        .collect();
    assert_eq!(ranges, ["bytes=0-99999", "bytes=200000-499999"]);
    assert!(client.get("/a").body == body);
    assert_eq!(origin.hits(), 3);
}

#[test]
fn who_asks_while_it_is_under_way_reads_along() {
    let body = object(4, 400_000);
    let whole = body.clone();
    let origin = Origin::following(move |connection| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\netag: \"v1\"\r\ncache-control: max-age=60\r\ncontent-length: 400000\r\n\r\n");
            let (first, rest) = body.split_at(100_000);
            connection.send(first);
            connection.wait();
            connection.send(rest);
        }
    });
    let proxy = proxy(&origin);
    let mut clients: Vec<Client> = (0..5).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send("GET /live/7.ts HTTP/1.1\r\nhost: proxy\r\n\r\n");
    }
    // Each has what is here, before there is an end.
    for client in &mut clients {
        assert!(client.head().starts_with(b"HTTP/1.1 200"));
        client.exactly(50_000);
    }
    assert_eq!(origin.hits(), 1);
    let mut late = proxy.client();
    late.send("GET /live/7.ts HTTP/1.1\r\nhost: proxy\r\n\r\n");
    late.head();
    late.exactly(50_000);
    origin.open_gate();
    assert!(proxy.get("/live/7.ts").body == whole);
    assert_eq!(origin.hits(), 1);
}

#[test]
fn a_client_that_reads_nothing_holds_up_nobody_and_no_connection() {
    let body = object(5, 3_000_000);
    let origin = serving(
        body.clone(),
        "etag: \"v1\"\r\ncache-control: max-age=60\r\n",
    );
    let proxy = proxy(&origin);
    let mut slow = Client::with_little_room(proxy.address());
    slow.send("GET /a HTTP/1.1\r\nhost: proxy\r\n\r\n");
    slow.head();
    assert!(proxy.client().patient().get("/a").body == body);
    until("no exchange is under way", || {
        (proxy.stats()["origin_pool"]["in_use"] == 0).then_some(())
    });
    assert_eq!(origin.hits(), 1);
    let read = slow.patient().exactly(body.len());
    assert!(read == body);
}

#[test]
fn a_fill_that_breaks_goes_on_from_where_it_was() {
    let body = object(6, 400_000);
    let whole = body.clone();
    let cut = AtomicBool::new(false);
    let lines = "etag: \"v1\"\r\ncache-control: max-age=60\r\n";
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            if !cut.swap(true, SeqCst) {
                let head = format!(
                    "HTTP/1.1 200 OK\r\n{lines}content-length: {}\r\n\r\n",
                    body.len()
                );
                connection.send(head);
                connection.send(&body[..150_000]);
                return;
            }
            serve(connection, &request, &body, lines);
        }
    });
    // Nothing below the store mends it.
    let proxy = Proxy::before(&origin, |settings| {
        kept(settings);
        settings.levels.high.resume = false;
    });
    let got = proxy.get("/a");
    assert!(got.ending == Ending::Whole && got.body == whole);
    assert_eq!(
        origin.last().field("range").as_deref(),
        Some("bytes=150000-399999")
    );
    assert_eq!(origin.last().field("if-range").as_deref(), Some("\"v1\""));
}

#[test]
fn a_body_without_a_validator_that_breaks_is_never_taken_for_a_whole_one_nor_kept() {
    let hits = AtomicUsize::new(0);
    let origin = Origin::following(move |connection| {
        while connection.request().is_some() {
            let whole = hits.fetch_add(1, SeqCst) > 0;
            connection.send("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
            if !whole {
                return;
            }
            connection.send("0\r\n\r\n");
        }
    });
    let proxy = proxy(&origin);
    let cut = proxy.get("/a");
    assert_ne!(cut.ending, Ending::Whole, "{cut:?}");
    let whole = proxy.get("/a");
    assert_eq!(
        (whole.ending, whole.text().as_str()),
        (Ending::Whole, "hello")
    );
    assert_eq!(origin.hits(), 2);
}

#[test]
fn a_version_that_changes_is_never_mixed_with_the_one_before() {
    let (old, new) = (object(7, 300_000), object(8, 300_000));
    let (first, second) = (old.clone(), new.clone());
    let changed = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&changed);
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let (body, tag) = match flag.load(SeqCst) {
                false => (&first, "\"v1\""),
                true => (&second, "\"v2\""),
            };
            let lines = format!("etag: {tag}\r\ncache-control: max-age=60\r\n");
            // If-Range of another version: all of this one.
            match request.field("if-range").is_some_and(|known| known != tag) {
                true => connection.send(response("200 OK", &lines, body)),
                false => serve(connection, &request, body, &lines),
            };
        }
    });
    let proxy = proxy(&origin);
    let mut client = proxy.client();
    let part = client.get_with("/a", "range: bytes=0-99999\r\n");
    assert!(part.body == old[..100_000]);
    changed.store(true, SeqCst);
    // The rest is asked for before the response begins: so it is all of the new version, and no byte of the old one.
    for _ in 0..2 {
        let next = client.get_with("/a", "");
        assert!(next.ending == Ending::Whole && next.body == new);
    }
}

#[test]
fn what_is_stale_is_validated_and_no_body_comes_again() {
    let body = object(9, 100_000);
    let origin = serving(body.clone(), "etag: \"v1\"\r\ncache-control: max-age=0\r\n");
    let proxy = proxy(&origin);
    assert!(proxy.get("/a").body == body);
    let again = proxy.get("/a");
    assert!(again.body == body);
    assert!(
        status(&again).starts_with("fileproxy; fwd=stale; fwd-status=304"),
        "{again:?}"
    );
    assert_eq!(
        origin.last().field("if-none-match").as_deref(),
        Some("\"v1\"")
    );
    assert_eq!(origin.hits(), 2);
}

#[test]
fn an_origin_that_is_away_or_fails_is_stood_in_for() {
    let body = object(10, 50_000);
    let failing = Arc::new(AtomicUsize::new(0));
    let (mode, whole) = (Arc::clone(&failing), body.clone());
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            match mode.load(SeqCst) {
                0 => serve(
                    connection,
                    &request,
                    &whole,
                    "etag: \"v1\"\r\ncache-control: max-age=0\r\n",
                ),
                1 => connection.send(response("503 Service Unavailable", "", "no")),
                _ => return,
            };
        }
    });
    let proxy = proxy(&origin);
    assert!(proxy.get("/a").body == body);
    for mode in [1, 2] {
        failing.store(mode, SeqCst);
        let stale = proxy.get("/a");
        assert!(stale.status == 200 && stale.body == body, "{stale:?}");
        assert!(status(&stale).contains("; hit; ttl="), "{stale:?}");
        assert!(status(&stale).ends_with("detail=origin-away"), "{stale:?}");
    }
    // It is not asked for each of many.
    let hits = origin.hits();
    for _ in 0..50 {
        assert_eq!(proxy.get("/a").status, 200);
    }
    assert!(origin.hits() <= hits + 2, "{} more", origin.hits() - hits);
    // What was never here cannot be stood in for.
    assert_eq!(proxy.get("/b").status, 502);
    let health = proxy.json("/health");
    assert!(health["serving_stale"]["since"].is_string(), "{health}");
}

#[test]
fn a_response_that_forbids_it_is_not_used_stale() {
    let failing = Arc::new(AtomicBool::new(false));
    let mode = Arc::clone(&failing);
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let target = String::from_utf8(request.target()).unwrap();
            let said = match target.as_str() {
                "/a" => "max-age=0, must-revalidate",
                "/b" => "s-maxage=0",
                _ => "max-age=0, stale-if-error=0",
            };
            match mode.load(SeqCst) {
                false => connection.send(response(
                    "200 OK",
                    &format!("etag: \"v\"\r\ncache-control: {said}\r\n"),
                    "x",
                )),
                true => connection.send(response("503 Service Unavailable", "", "no")),
            };
        }
    });
    let proxy = proxy(&origin);
    for target in ["/a", "/b", "/c"] {
        assert_eq!(proxy.get(target).status, 200);
    }
    failing.store(true, SeqCst);
    for target in ["/a", "/b", "/c"] {
        assert_eq!(proxy.get(target).status, 503, "{target}");
    }
}

#[test]
fn an_origin_that_is_late_is_not_waited_for_where_something_is_here() {
    let body = object(11, 10_000);
    let late = Arc::new(AtomicBool::new(false));
    let (mode, whole) = (Arc::clone(&late), body.clone());
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            if mode.load(SeqCst) {
                connection.wait();
            }
            serve(
                connection,
                &request,
                &whole,
                "etag: \"v1\"\r\ncache-control: max-age=0\r\n",
            );
        }
    });
    let proxy = proxy(&origin);
    assert!(proxy.get("/a").body == body);
    late.store(true, SeqCst);
    let stale = proxy.get("/a");
    assert!(
        stale.body == body && status(&stale).ends_with("detail=origin-late"),
        "{stale:?}"
    );
    origin.open_gate();
}

#[test]
fn nobody_gets_an_answer_that_was_made_for_somebody_else() {
    let origin = Origin::answering(|request: &Request| {
        let who: Vec<String> = [
            "x-api-key",
            "authorization",
            "cookie",
            "origin",
            "x-session-id",
            "accept-language",
        ]
        .iter()
        .filter_map(|name| request.field(name))
        .collect();
        response(
            "200 OK",
            "etag: \"v\"\r\nlast-modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            who.join(" "),
        )
    });
    let proxy = proxy(&origin);
    for name in [
        "x-api-key",
        "authorization",
        "cookie",
        "origin",
        "x-session-id",
        "accept-language",
    ] {
        let target = format!("/{name}");
        let of = |who: &str| {
            proxy
                .client()
                .get_with(&target, &format!("{name}: {who}\r\n"))
                .text()
        };
        assert_eq!(of("alice"), "alice");
        assert_eq!(of("bob"), "bob");
        assert_eq!(of("alice"), "alice");
        assert_eq!(proxy.get(&target).text(), "", "{name}");
    }
}

#[test]
fn what_is_private_or_sets_a_cookie_is_neither_kept_nor_shared() {
    let count = AtomicUsize::new(0);
    let origin = Origin::answering(move |request: &Request| {
        let n = count.fetch_add(1, SeqCst).to_string();
        let lines = match request.target().as_slice() {
            b"/private" => "cache-control: private, max-age=60\r\n",
            b"/cookie" => "cache-control: max-age=60\r\nset-cookie: a=b\r\n",
            b"/no-store" => "cache-control: no-store\r\n",
            _ => "cache-control: max-age=60\r\nvary: *\r\n",
        };
        response("200 OK", lines, n)
    });
    let proxy = proxy(&origin);
    for target in ["/private", "/cookie", "/no-store", "/vary"] {
        let (one, other) = (proxy.get(target), proxy.get(target));
        assert_ne!(one.text(), other.text(), "{target}");
        assert!(status(&other).contains("fwd=bypass"), "{other:?}");
    }
}

#[test]
fn vary_keeps_variants_apart() {
    let origin = Origin::answering(|request: &Request| {
        let language = request.field("accept-language").unwrap_or_default();
        response(
            "200 OK",
            "cache-control: max-age=60\r\nvary: accept-language\r\n",
            language,
        )
    });
    let proxy = proxy(&origin);
    let in_language = |language: &str| {
        let line = format!("accept-language: {language}\r\n");
        proxy.client().get_with("/a", &line).text()
    };
    for _ in 0..2 {
        assert_eq!(in_language("de"), "de");
        assert_eq!(in_language("fr"), "fr");
    }
    assert_eq!(origin.hits(), 2);
}

#[test]
fn a_client_may_ask_for_nothing_but_the_store() {
    let origin = serving(
        b"hello".to_vec(),
        "etag: \"v1\"\r\ncache-control: max-age=60\r\n",
    );
    let proxy = proxy(&origin);
    let only = |proxy: &Proxy| {
        proxy
            .client()
            .get_with("/a", "cache-control: only-if-cached\r\n")
    };
    assert_eq!(only(&proxy).status, 504);
    assert_eq!(origin.hits(), 0);
    assert_eq!(proxy.get("/a").text(), "hello");
    assert_eq!(only(&proxy).text(), "hello");
    // And to have it checked.
    let checked = proxy.client().get_with("/a", "cache-control: no-cache\r\n");
    assert!(status(&checked).contains("fwd-status=304"), "{checked:?}");
    assert_eq!(origin.hits(), 2);
}

#[test]
fn one_large_body_read_slowly_does_not_take_all_of_the_memory() {
    let body = object(12, 9_000_000);
    let origin = serving(
        body.clone(),
        "etag: \"v1\"\r\ncache-control: max-age=60\r\n",
    );
    let proxy = Proxy::before(&origin, |settings| {
        kept(settings);
        settings.store.memory = bytesize::ByteSize::mib(4);
    });
    let mut slow = Client::with_little_room(proxy.address());
    slow.send("GET /a HTTP/1.1\r\nhost: proxy\r\n\r\n");
    slow.head();
    // More than fits, one after the other, while the slow one holds its own.
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| assert!(proxy.client().patient().get("/a").body == body));
        }
    });
    let store = proxy.stats()["store"].clone();
    assert!(
        store["memory"]["used_bytes"].as_u64().unwrap() <= 4 << 20,
        "{store}"
    );
    assert!(slow.patient().exactly(body.len()) == body);
}

#[test]
fn what_is_on_disk_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (small, large) = (object(14, 5_000), object(15, 3_000_000));
    let (first, second) = (small.clone(), large.clone());
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let body = match request.target().as_slice() {
                b"/small" => &first,
                _ => &second,
            };
            serve(
                connection,
                &request,
                body,
                "etag: \"v1\"\r\ncache-control: max-age=60\r\n",
            );
        }
    });
    let on_disk = |settings: &mut Settings| {
        kept(settings);
        settings.store.directory = folder.path().join("store");
    };
    let mut proxy = Proxy::before(&origin, on_disk);
    assert!(proxy.get("/small").body == small);
    assert!(proxy.client().patient().get("/large").body == large);
    // A disk that has no time for a block leaves it out, and counts it.
    let left_out = until("all of it is on disk", || {
        let disk = proxy.stats()["store"]["disk"].clone();
        let count = |name: &str| disk[name].as_u64().unwrap();
        let all = count("blocks_written") + count("not_written") >= 46;
        all.then(|| count("not_written"))
    });
    proxy.drain();
    proxy.until_ended();
    let hits = origin.hits();
    let proxy = Proxy::before(&origin, on_disk);
    // What is on disk is known once its journal is read; until then a miss is a miss.
    until("it is read", || {
        let small = proxy.get("/small");
        status(&small).starts_with("fileproxy; hit").then_some(())
    });
    let before = origin.hits();
    assert!(before <= hits + 1);
    assert!(proxy.client().patient().get("/large").body == large);
    assert!(origin.hits() == before || left_out > 0);
}

#[test]
fn at_level_low_nothing_is_kept() {
    let origin = serving(
        b"hello".to_vec(),
        "etag: \"v1\"\r\ncache-control: max-age=60\r\n",
    );
    let proxy = proxy(&origin);
    assert_eq!(proxy.get("/a").text(), "hello");
    proxy.set_level("low");
    let plain = proxy.get("/a");
    assert_eq!(
        (plain.text().as_str(), plain.field("cache-status")),
        ("hello", None)
    );
    assert_eq!(origin.hits(), 2);
}

#[test]
fn a_client_that_leaves_does_not_end_what_others_read() {
    let body = object(13, 2_000_000);
    let whole = body.clone();
    let origin = Origin::following(move |connection| {
        while connection.request().is_some() {
            connection.send(format!(
                "HTTP/1.1 200 OK\r\netag: \"v1\"\r\ncache-control: max-age=60\r\ncontent-length: {}\r\n\r\n",
                body.len()
            ));
            connection.send(&body[..500_000]);
            connection.wait();
            connection.send(&body[500_000..]);
        }
    });
    let proxy = proxy(&origin);
    let mut first = proxy.client();
    first.send("GET /a HTTP/1.1\r\nhost: proxy\r\n\r\n");
    first.head();
    first.exactly(1000);
    let mut second = proxy.client();
    second.send("GET /a HTTP/1.1\r\nhost: proxy\r\n\r\n");
    second.head();
    second.exactly(1000);
    first.reset();
    until("the first one has left", || {
        (proxy.stats()["workers"]["connections"]
            .as_u64()
            .unwrap_or(0)
            <= 2)
            .then_some(())
    });
    origin.open_gate();
    assert!(second.patient().exactly(whole.len() - 1000) == whole[1000..]);
    assert_eq!(origin.hits(), 1);
}

#[test]
fn what_has_no_validator_is_shared_once_all_of_it_is_here_and_one_that_breaks_costs_nobody_else_his()
 {
    let body = object(14, 100_000);
    let whole = body.clone();
    let breaks = Arc::new(AtomicBool::new(true));
    let broken = Arc::clone(&breaks);
    let origin = Origin::following(move |connection| {
        while connection.request().is_some() {
            connection.send(
                "HTTP/1.1 200 OK\r\ncontent-length: 100000\r\ncache-control: max-age=60\r\n\r\n",
            );
            if broken.swap(false, SeqCst) {
                connection.send(&body[..40_000]);
                connection.wait();
                return;
            }
            connection.send(&body[..]);
        }
    });
    let proxy = proxy(&origin);
    let mut first = proxy.client();
    first.send("GET /a HTTP/1.1\r\nhost: proxy\r\n\r\n");
    first.head();
    let mut others: Vec<Client> = (0..4).map(|_| proxy.client()).collect();
    for client in &mut others {
        client.send("GET /a HTTP/1.1\r\nhost: proxy\r\n\r\n");
    }
    until("all wait", || {
        (proxy.stats()["workers"]["requests_in_flight"] == 5).then_some(())
    });
    origin.open_gate();
    for client in &mut others {
        let response = client.response();
        assert_eq!((response.status, response.ending), (200, Ending::Whole));
        assert!(response.body == whole);
    }
}

#[test]
fn a_request_that_changes_something_makes_what_is_kept_of_it_worthless() {
    let version = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&version);
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let answer = match (request.method().as_str(), request.target().as_slice()) {
                ("GET", _) => response(
                    "200 OK",
                    "cache-control: max-age=60\r\n",
                    now.load(SeqCst).to_string(),
                ),
                ("POST", b"/fails") => response("403 Forbidden", "", ""),
                _ => response(
                    "200 OK",
                    "location: /list\r\ncontent-location: http://other/c\r\n",
                    "",
                ),
            };
            connection.send(answer);
        }
    });
    let proxy = proxy(&origin);
    let get = |target: &str| proxy.get(target).text();
    let ask = |method: &str, target: &str| {
        let mut client = proxy.client();
        client.send(format!(
            "{method} {target} HTTP/1.1\r\nhost: proxy\r\ncontent-length: 0\r\n\r\n"
        ));
        client.response();
    };
    for target in ["/a", "/list", "/fails", "/c"] {
        assert_eq!(get(target), "0");
    }
    version.store(1, SeqCst);
    ask("POST", "/fails");
    for target in ["/a", "/list", "/fails", "/c"] {
        assert_eq!(get(target), "0", "{target}");
    }
    ask("REPLACE", "/a");
    assert_eq!((get("/a").as_str(), get("/list").as_str()), ("1", "1"));
    assert_eq!((get("/fails").as_str(), get("/c").as_str()), ("0", "0"));
}

#[test]
fn what_could_be_made_of_a_field_that_overrides_the_request_reaches_nobody_else() {
    let origin = Origin::following(|connection| {
        while let Some(request) = connection.request() {
            let seen = [
                "x-original-url",
                "x-http-method-override",
                "x-forwarded-prefix",
                "x-host",
            ]
            .map(|name| request.field(name).unwrap_or_default())
            .concat();
            connection.send(response("200 OK", "cache-control: max-age=60\r\n", seen));
        }
    });
    let proxy = proxy(&origin);
    for (n, field) in ["x-original-url", "x-http-method-override", "x-host"]
        .into_iter()
        .enumerate()
    {
        let target = format!("/{n}");
        let mut client = proxy.client();
        let poisoned = client.get_with(&target, &format!("{field}: evil\r\n"));
        // As a plain proxy would.
        assert_eq!(poisoned.text(), "evil");
        assert_eq!(proxy.get(&target).text(), "");
    }
    // This one no origin sees of a stranger.
    let mut client = proxy.client();
    assert_eq!(
        client.get_with("/p", "x-forwarded-prefix: evil\r\n").text(),
        ""
    );
}

#[test]
fn a_disk_that_goes_away_reaches_no_client_and_is_told_in_health() {
    let folder = tempfile::tempdir().unwrap();
    let origin = serving(
        object(16, 200_000),
        "etag: \"v1\"\r\ncache-control: max-age=60\r\n",
    );
    let proxy = Proxy::before(&origin, |settings| {
        kept(settings);
        settings.store.directory = folder.path().join("store");
    });
    assert_eq!(proxy.get("/a").status, 200);
    assert_eq!(proxy.json("/health")["status"], "healthy");
    std::fs::remove_dir_all(folder.path().join("store")).unwrap();
    let told = "nothing is written to store.directory";
    let mut n = 0;
    until("it is told", || {
        n += 1;
        let answer = proxy.get(&format!("/{n}"));
        assert!(answer.status == 200 && answer.body == object(16, 200_000));
        let reason = proxy.json("/health")["reason"].to_string();
        reason.contains(told).then_some(())
    });
    assert_eq!(proxy.json("/health")["status"], "degraded");
    assert_eq!(proxy.get("/a").status, 200);
}
