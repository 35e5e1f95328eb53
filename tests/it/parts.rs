//! Bodies in parts: when the parts are asked for, how large they are, and what the origin must be able to do.

use std::{
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::{Duration, Instant},
};

use super::{
    support::{
        client::{Client, Ending},
        origin::{Connection, Origin, Request, response},
        proxy::Proxy,
        until,
    },
    transfers::{Deed, act, count, object, several, surprising, trickle},
};

#[test]
fn parts_are_asked_for_while_the_first_response_stands_still() {
    let object = object(20, 6_000_000);
    let whole = object.clone();
    let bodies = AtomicUsize::new(0);
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            if request.field("range").is_none() && bodies.fetch_add(1, SeqCst) == 1 {
                // The head alone, and the body when the test says so.
                connection.send(format!(
                    "HTTP/1.1 200 OK\r\netag: \"v1\"\r\naccept-ranges: bytes\r\ncontent-length: {}\r\n\r\n",
                    object.len()
                ));
                connection.wait();
                connection.send(&object);
                return;
            }
            if !trickle(connection, &request, &object) {
                return;
            }
        }
    });
    let proxy = Proxy::before(&origin, |settings| {
        several(settings);
        settings.transfers.stall_window = Duration::from_secs(60);
    });
    assert!(proxy.client().patient().get("/film.mp4").body == whole);
    let mut client = proxy.client();
    client.patient();
    let hits = origin.hits();
    client.send("GET /film.mp4 HTTP/1.1\r\nhost: p\r\n\r\n");
    until("others are asked for as well", || {
        (origin.hits() > hits + 5).then_some(())
    });
    origin.open_gate();
    let response = client.patient().response();
    assert_eq!(response.ending, Ending::Whole);
    assert!(response.body == whole, "the body differs");
}

#[test]
fn a_target_that_gave_its_parts_comes_in_parts_from_the_start_the_next_time() {
    let object = object(11, 6_000_000);
    let (origin, _) = surprising(object.clone());
    let proxy = Proxy::before(&origin, several);
    let first = proxy.client().patient().get("/film.mp4");
    assert!(first.body == object, "the body differs");
    let (before, parts) = (origin.hits(), count(&proxy, "parts"));

    let second = proxy.client().patient().get("/film.mp4");
    assert_eq!((second.status, second.ending), (200, Ending::Whole));
    assert!(second.body == object, "the body differs");
    for name in ["etag", "content-length", "accept-ranges", "content-range"] {
        assert_eq!(second.field(name), first.field(name), "{name}");
    }
    let requests = origin.requests();
    assert_eq!(
        requests[before].field("range"),
        None,
        "the whole is asked for"
    );
    assert!(count(&proxy, "parts") > parts + 5);

    // What a client asks for itself stays as it is.
    let part = proxy
        .client()
        .get_with("/film.mp4", "range: bytes=100-199\r\n");
    assert_eq!((part.status, part.body.len()), (206, 100));
    let last = origin.last().field("range").unwrap();
    assert_eq!(last, "bytes=100-199", "a client's range");
}

#[test]
fn an_origin_without_ranges_that_answers_late_still_gives_its_bodies() {
    let object = object(21, 4_000_000);
    let whole = object.clone();
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            if request.field("range").is_some() {
                std::thread::sleep(Duration::from_millis(1500));
                if !act(connection, &request, &Deed::NoRange, &object) {
                    return;
                }
            } else if !trickle(connection, &request, &object) {
                return;
            }
        }
    });
    let proxy = Proxy::before(&origin, |settings| {
        several(settings);
    });
    let response = proxy.client().patient().get("/film.mp4");
    assert_eq!(response.ending, Ending::Whole);
    assert!(response.body == whole, "the body differs");
}

#[test]
fn a_body_that_was_resumed_is_cut_into_no_larger_parts_than_others() {
    let object = object(22, 12_000_000);
    let (origin, deeds) = surprising(object.clone());
    let proxy = Proxy::before(&origin, several);
    deeds.lock().unwrap().push_back(Deed::Cut(100_000));
    let response = proxy.client().patient().get("/film.mp4");
    assert!(response.body == object, "the body differs");
    assert!(count(&proxy, "parts") > 0);
    let requests = origin.requests();
    let longest = requests[2..]
        .iter()
        .filter_map(|request| request.range(object.len()))
        .map(|(first, last)| last + 1 - first)
        .max();
    assert!(
        longest.unwrap() <= 256 * 1024 * 3 / 2,
        "a part of {longest:?} bytes"
    );
}

/// Codes whole bodies for who takes that, as web servers do on the fly, and never parts.
fn coding(connection: &mut Connection, request: &Request, object: &[u8]) -> bool {
    let takes = request
        .field("accept-encoding")
        .is_some_and(|coding| coding.contains("gzip"));
    if takes && request.field("range").is_none() {
        let lines = "etag: W/\"v1\"\r\ncontent-encoding: gzip\r\nvary: accept-encoding\r\n";
        return connection.send(response("200 OK", lines, b"not really"));
    }
    trickle(connection, request, object)
}

#[test]
fn a_client_that_takes_a_coding_gets_what_it_would_get_of_a_plain_get() {
    let object = object(23, 3_000_000);
    let whole = object.clone();
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            if !coding(connection, &request, &object) {
                return;
            }
        }
    });
    let proxy = Proxy::before(&origin, several);
    assert!(proxy.client().patient().get("/page").body == whole);
    let coded = proxy
        .client()
        .patient()
        .get_with("/page", "accept-encoding: gzip\r\n");
    assert_eq!(coded.field("content-encoding").as_deref(), Some("gzip"));
    assert_eq!(coded.body, b"not really");
}

#[test]
fn parts_that_the_rate_limit_does_not_allow_turn_nobody_away() {
    let object = object(26, 3_000_000);
    let (origin, _) = surprising(object.clone());
    let proxy = Proxy::before(&origin, |settings| {
        several(settings);
        let rate = fileproxy::units::Rate::new(1.0).unwrap();
        settings.rate_limit.min = rate;
        settings.rate_limit.max = rate;
    });
    let response = proxy.client().patient().get("/film.mp4");
    assert!(response.body == object, "the body differs");
    assert_eq!(proxy.stats()["rate_limiter"]["rejected"], 0);
}

#[test]
fn a_body_that_is_here_holds_no_slot_while_its_client_reads() {
    let object = object(27, 7_000_000);
    let (origin, _) = surprising(object.clone());
    let proxy = Proxy::before(&origin, several);
    assert!(proxy.client().patient().get("/film.mp4").body == object);
    let mut slow = Client::with_little_room(proxy.address());
    slow.send("GET /film.mp4 HTTP/1.1\r\nhost: p\r\n\r\n");
    until("it holds a slot", || {
        (proxy.stats()["concurrency"]["in_use"].as_u64()? > 0).then_some(())
    });
    // Reads little by little, so that all parts come.
    let mut read = 0;
    let freed = until("the slot is free", || {
        let free = proxy.stats()["concurrency"]["in_use"] == 0;
        if !free && read < 6_900_000 {
            read += slow.exactly(10_000).len();
        }
        free.then_some(read)
    });
    assert!(freed < 6_500_000, "{freed}");
}

/// An origin that gives at most so many answers at once, and turns the rest away.
fn strict(object: Vec<u8>, most: usize) -> Origin {
    let at_once = AtomicUsize::new(0);
    Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let turned_away = at_once.fetch_add(1, SeqCst) >= most;
            let goes_on = if turned_away {
                act(connection, &request, &Deed::TooSoon(0), &object)
            } else {
                trickle(connection, &request, &object)
            };
            at_once.fetch_sub(1, SeqCst);
            if !goes_on {
                return;
            }
        }
    })
}

#[test]
fn an_origin_that_turns_parts_away_is_asked_for_fewer_at_once() {
    let object = object(28, 12_000_000);
    let origin = strict(object.clone(), 5);
    let proxy = Proxy::before(&origin, |settings| {
        several(settings);
        settings.transfers.backoff_min = Duration::from_millis(100);
        settings.transfers.backoff_max = Duration::from_secs(1);
    });
    let response = proxy.client().patient().get("/film.mp4");
    assert_eq!((response.status, response.ending), (200, Ending::Whole));
    assert!(response.body == object, "the body differs");
    let refused = count(&proxy, "parts_refused");
    assert!(refused > 0, "it was never asked for more than it gives");
    assert_eq!(count(&proxy, "parts_given_up"), 0);
    // Each part that is turned away comes back after a few milliseconds: at the old width there would be no end of it.
    assert!(
        refused < count(&proxy, "parts"),
        "{refused} refusals of {} parts",
        count(&proxy, "parts")
    );
}

#[test]
fn an_origin_that_wants_to_be_left_alone_is() {
    let object = object(29, 3_000_000);
    let (origin, deeds) = surprising(object.clone());
    let proxy = Proxy::before(&origin, |settings| {
        several(settings);
        settings.transfers.backoff_max = Duration::from_secs(5);
    });
    deeds
        .lock()
        .unwrap()
        .extend([Deed::Cut(100_000), Deed::TooSoon(1)]);
    let begun = Instant::now();
    let response = proxy.client().patient().get("/film.mp4");
    assert!(response.body == object, "the body differs");
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

/// The bytes that parts hold once no more requests come.
fn held(origin: &Origin, proxy: &Proxy) -> u64 {
    let mut before = (0, 0);
    until("no more is asked for", || {
        let now = (origin.hits(), count(proxy, "parts_held_bytes"));
        let settled = now == before && now.1 > 0;
        before = now;
        std::thread::sleep(Duration::from_millis(500));
        settled.then_some(now.1)
    })
}

#[test]
fn a_client_that_pauses_holds_no_more_than_the_window_and_gets_the_rest_later() {
    let object = object(30, 12_000_000);
    let (origin, _) = surprising(object.clone());
    let proxy = Proxy::before(&origin, |settings| {
        several(settings);
        settings.transfers.parallel_window = bytesize::ByteSize::mib(1);
    });
    assert!(proxy.client().patient().get("/film.mp4").body == object);
    let hits = origin.hits();
    let mut client = Client::with_little_room(proxy.address());
    client.send("GET /film.mp4 HTTP/1.1\r\nhost: p\r\n\r\n");
    client.head();
    let mut body = client.exactly(100_000);
    let held = held(&origin, &proxy);
    // Each part may have a read of its connection on top.
    assert!(held <= 1024 * 1024 + 24 * 32 * 1024, "{held} bytes held");
    let asked = origin.requests()[hits..]
        .iter()
        .filter_map(|request| request.range(object.len()))
        .map(|(_, last)| last)
        .max();
    assert!(
        asked.unwrap() < 6_000_000,
        "{asked:?} is far ahead of a client that has read 100,000 bytes"
    );
    body.extend(client.patient().exactly(object.len() - body.len()));
    assert!(body == object, "the body differs");
    until("nothing is kept", || {
        (count(&proxy, "parts_held_bytes") == 0).then_some(())
    });
}

#[test]
fn all_bodies_together_hold_no_more_than_their_memory() {
    let object = object(31, 4_000_000);
    let (origin, _) = surprising(object.clone());
    let most = 1024 * 1024;
    let proxy = Proxy::before(&origin, |settings| {
        several(settings);
        settings.transfers.parallel_memory = bytesize::ByteSize::b(most);
    });
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| proxy.client().patient().get("/film.mp4").body == object))
            .collect();
        let mut held = 0;
        while clients.iter().any(|client| !client.is_finished()) {
            let now = count(&proxy, "parts_held_bytes");
            assert!(now <= most, "{now} bytes held");
            held = held.max(now);
        }
        for client in clients {
            assert!(client.join().unwrap(), "a body differs");
        }
        assert!(held > 0, "nothing came in parts");
    });
}

#[test]
fn an_origin_that_always_answers_late_is_waited_for() {
    let object = object(33, 4_000_000);
    let whole = object.clone();
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            std::thread::sleep(Duration::from_millis(600));
            if !trickle(connection, &request, &object) {
                return;
            }
        }
    });
    let proxy = Proxy::before(&origin, |settings| {
        several(settings);
        settings.transfers.stall_window = Duration::from_millis(300);
        settings.levels.high.concurrency_limit = false;
    });
    let response = proxy.client().patient().get("/film.mp4");
    assert!(response.body == whole, "the body differs");
    assert!(count(&proxy, "parts") > 0);
    assert_eq!(count(&proxy, "parts_refused"), 0);
}

#[test]
fn an_origin_that_gives_one_answer_at_a_time_makes_nobody_wait() {
    let object = object(34, 16_000_000);
    let origin = strict(object.clone(), 1);
    let proxy = Proxy::before(&origin, |settings| {
        several(settings);
        settings.transfers.backoff_min = Duration::from_millis(100);
        settings.transfers.backoff_max = Duration::from_secs(5);
    });
    let mut client = proxy.client();
    client.send("GET /film.mp4 HTTP/1.1\r\nhost: p\r\n\r\n");
    client.head();
    let begun = Instant::now();
    // One connection brings so much in a second.
    let mut body = client.exactly(1_600_000);
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    assert!(count(&proxy, "parts_refused") > 0);
    body.extend(client.patient().exactly(object.len() - body.len()));
    assert!(body == object, "the body differs");
}

/// Nothing that was turned away is asked for again while a test runs.
fn left_alone(settings: &mut fileproxy::settings::Settings) {
    several(settings);
    settings.transfers.backoff_min = Duration::from_secs(30);
    settings.transfers.backoff_max = Duration::from_secs(30);
}

/// Whether this is the request for all of it, which is answered without a length where it asks for a range.
fn in_chunks(connection: &mut Connection, request: &Request, object: &[u8]) -> bool {
    let last = object.len() - 1;
    if request.field("range") != Some(format!("bytes=0-{last}")) {
        return act(connection, request, &Deed::TooSoon(0), object);
    }
    connection.send(format!(
        "HTTP/1.1 206 Partial Content\r\netag: \"v1\"\r\ncontent-range: bytes 0-{last}/{}\r\n\
         transfer-encoding: chunked\r\n\r\n",
        object.len()
    ));
    let whole = object.chunks(16 * 1024).all(|piece| {
        std::thread::sleep(Duration::from_millis(10));
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        connection.send(chunk)
    });
    whole && connection.send("0\r\n\r\n")
}

#[test]
fn a_body_in_chunks_which_nothing_vouches_for_yet_is_not_asked_for_in_parts() {
    let object = object(35, 64 * 64 * 1024);
    let whole = object.clone();
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            if !in_chunks(connection, &request, &object) {
                return;
            }
        }
    });
    let proxy = Proxy::before(&origin, left_alone);
    let range = format!("range: bytes=0-{}\r\n", whole.len() - 1);
    let response = proxy.client().patient().get_with("/film.mp4", &range);
    assert_eq!(count(&proxy, "parts"), 0);
    assert_eq!(response.body.len(), whole.len(), "{:?}", response.ending);
    assert!(response.body == whole, "the body differs");
}

#[test]
fn a_part_that_was_turned_away_is_not_asked_for_again_at_once() {
    let object = object(36, 16_000_000);
    let origin = strict(object.clone(), 1);
    let proxy = Proxy::before(&origin, left_alone);
    let mut client = proxy.client();
    client.send("GET /film.mp4 HTTP/1.1\r\nhost: p\r\n\r\n");
    client.head();
    client.exactly(3_000_000);
    let parts = count(&proxy, "parts");
    assert!(parts > 0);
    let asked = origin.hits() as u64 - 1;
    assert!(asked <= parts, "{asked} requests for {parts} parts");
}
