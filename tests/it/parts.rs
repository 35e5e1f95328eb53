//! Bodies in parts: when the parts are asked for, how large they are, and what the origin must be able to do.

use std::time::Duration;

use super::{
    support::{
        client::Ending,
        origin::{Connection, Origin, Request, response},
        proxy::Proxy,
        until,
    },
    transfers::{Deed, act, asked, count, object, several, surprising, trickle},
};

#[test]
fn parts_are_asked_for_while_the_first_one_stands_still() {
    let object = object(20, 6_000_000);
    let whole = object.clone();
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let (first, last) = asked(&request, object.len()).unwrap_or((0, 0));
            if (first, last) == (0, 262_143) {
                // The head alone, and the body when the test says so.
                connection.send(format!(
                    "HTTP/1.1 206 Partial Content\r\netag: \"v1\"\r\ncontent-range: bytes 0-{last}/{}\r\n\
                     content-length: {}\r\n\r\n",
                    object.len(),
                    last + 1
                ));
                connection.wait();
                connection.send(&object[..=last]);
                continue;
            }
            if !trickle(connection, &request, &object) {
                return;
            }
        }
    });
    let proxy = Proxy::before(&origin, |settings| {
        several(settings);
        settings.transfers.parallel_width = 2;
        settings.transfers.stall_window = Duration::from_secs(60);
    });
    assert!(proxy.client().patient().get("/film.mp4").body == whole);
    let mut client = proxy.client();
    client.patient();
    let hits = origin.hits();
    client.send("GET /film.mp4 HTTP/1.1\r\nhost: p\r\n\r\n");
    until("the first part is asked for", || {
        (origin.hits() > hits).then_some(())
    });
    until("the others are asked for as well", || {
        (origin.hits() > hits + 5).then_some(())
    });
    origin.open_gate();
    let response = client.patient().response();
    assert_eq!(response.ending, Ending::Whole);
    assert!(response.body == whole, "the body differs");
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
        .filter_map(|request| asked(request, object.len()))
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
fn a_digest_of_the_first_part_does_not_pass_for_one_of_the_whole() {
    let object = object(24, 3_000_000);
    let whole = object.clone();
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let range = asked(&request, object.len());
            let (first, last) = range.unwrap_or((0, object.len() - 1));
            let (status, told) = match range {
                Some(_) => ("206 Partial Content", "part"),
                None => ("200 OK", "whole"),
            };
            let head = format!(
                "HTTP/1.1 {status}\r\netag: \"v1\"\r\naccept-ranges: bytes\r\ncontent-length: {}\r\n\
                 content-range: bytes {first}-{last}/{}\r\ncontent-digest: {told}\r\ncontent-md5: {told}\r\n\r\n",
                last + 1 - first,
                object.len()
            );
            connection.send(head);
            for piece in object[first..=last].chunks(16 * 1024) {
                std::thread::sleep(Duration::from_millis(10));
                if !connection.send(piece) {
                    return;
                }
            }
        }
    });
    let proxy = Proxy::before(&origin, several);
    for _ in 0..2 {
        let response = proxy.client().patient().get("/film.mp4");
        assert!(response.body == whole, "the body differs");
        assert_eq!(response.field("content-digest").unwrap(), "whole");
        assert_eq!(response.field("content-md5").unwrap(), "whole");
    }
    let asked_for = |request: &Request| request.field("range").as_deref() == Some("bytes=0-262143");
    assert!(origin.requests().iter().any(asked_for));
}

#[test]
fn an_origin_that_gives_no_first_part_is_not_asked_for_one_each_time() {
    let object = object(25, 3_000_000);
    let whole = object.clone();
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let done = if request.field("range").as_deref() == Some("bytes=0-262143") {
                act(connection, &request, &Deed::ShortRange, &object)
            } else {
                trickle(connection, &request, &object)
            };
            if !done {
                return;
            }
        }
    });
    let proxy = Proxy::before(&origin, several);
    for _ in 0..5 {
        assert!(proxy.client().patient().get("/film.mp4").body == whole);
    }
    let tried = origin
        .requests()
        .iter()
        .filter(|request| request.field("range").as_deref() == Some("bytes=0-262143"))
        .count();
    assert!(tried <= 1, "{tried} first parts");
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
    let mut slow = super::support::client::Client::with_little_room(proxy.address());
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
