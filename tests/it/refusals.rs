//! Parts that are refused, by links that expire or are counted among others: the body is what a plain GET brings, and
//! what refused is remembered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use super::{
    support::{
        certificate::Certificate,
        client::Ending,
        origin::{Connection, Origin, Request, response},
        proxy::Proxy,
        secure::{answer, h2, request},
    },
    transfers::{Deed, act, count, object, several, trickle},
};

/// How a request is refused.
#[derive(Clone, Copy, Debug)]
pub(super) enum No {
    Status(u16),
    Close,
    Reset,
}

const EACH: [No; 13] = [
    No::Status(302),
    No::Status(400),
    No::Status(401),
    No::Status(403),
    No::Status(404),
    No::Status(410),
    No::Status(416),
    No::Status(429),
    No::Status(500),
    No::Status(502),
    No::Status(503),
    No::Close,
    No::Reset,
];

impl No {
    /// Refuses; whether the connection goes on.
    pub(super) fn say(self, connection: &mut Connection) -> bool {
        match self {
            No::Status(status) => connection.send(format!(
                "HTTP/1.1 {status} No\r\ncontent-length: 2\r\n\r\nno"
            )),
            No::Close => false,
            No::Reset => {
                connection.reset();
                false
            }
        }
    }
}

/// An origin that gives so many answers for each path, and refuses every further request.
fn counted(object: Vec<u8>, good_for: usize, no: No) -> (Origin, Arc<AtomicUsize>) {
    let left = Arc::new(AtomicUsize::new(good_for));
    let given = Arc::clone(&left);
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let one = |left: usize| left.checked_sub(1);
            let goes_on = match given.fetch_update(SeqCst, SeqCst, one) {
                Ok(_) => trickle(connection, &request, &object),
                Err(_) => no.say(connection),
            };
            if !goes_on {
                return;
            }
        }
    });
    (origin, left)
}

#[test]
fn a_link_that_is_used_up_by_its_parts_brings_all_of_its_body() {
    std::thread::scope(|scope| {
        for (n, no) in EACH.into_iter().enumerate() {
            scope.spawn(move || {
                let object = object(1, 3_000_000);
                let (origin, _) = counted(object.clone(), 1 + n % 7, no);
                let proxy = Proxy::before(&origin, several);
                let response = proxy.client().patient().get("/share/abc");
                assert_eq!(
                    (response.status, response.ending),
                    (200, Ending::Whole),
                    "{no:?}"
                );
                assert!(response.body == object, "the body differs: {no:?}");
                assert!(origin.hits() > 1, "no part was asked for: {no:?}");
            });
        }
    });
}

#[test]
fn a_link_that_was_used_up_once_is_asked_for_once_from_then_on() {
    std::thread::scope(|scope| {
        for no in [
            No::Status(403),
            No::Status(404),
            No::Status(503),
            No::Status(429),
            No::Close,
        ] {
            scope.spawn(move || {
                let object = object(2, 4_000_000);
                let (origin, left) = counted(object.clone(), 3, no);
                let proxy = Proxy::before(&origin, several);
                assert!(proxy.client().patient().get("/share/abc?n=1").body == object);
                let hits = origin.hits();
                left.store(1, SeqCst);
                // Another link to the same.
                let response = proxy.client().patient().get("/share/abc?n=2");
                assert!(response.body == object, "the body differs: {no:?}");
                assert_eq!(origin.hits(), hits + 1, "{no:?}");
            });
        }
    });
}

#[test]
fn a_directory_in_which_two_links_refused_parts_is_asked_for_none() {
    let object = object(3, 3_000_000);
    let (origin, left) = counted(object.clone(), 3, No::Status(403));
    let proxy = Proxy::before(&origin, several);
    for target in ["/share/a", "/share/b"] {
        left.store(2, SeqCst);
        assert!(proxy.client().patient().get(target).body == object);
    }
    let hits = origin.hits();
    left.store(1, SeqCst);
    assert!(proxy.client().patient().get("/share/c").body == object);
    assert_eq!(origin.hits(), hits + 1);
}

#[test]
fn a_link_that_carries_its_permission_is_asked_for_once() {
    let object = object(4, 3_000_000);
    let (origin, left) = counted(object.clone(), 1, No::Status(403));
    let proxy = Proxy::before(&origin, several);
    for query in [
        "X-Amz-Signature=ab&X-Amz-Expires=60",
        "token=abc",
        "e=1900000000&st=x",
    ] {
        left.store(1, SeqCst);
        let response = proxy.client().patient().get(&format!("/film.mp4?{query}"));
        assert!(response.body == object, "the body differs: {query}");
    }
    assert_eq!(origin.hits(), 3);
}

#[test]
fn a_link_that_is_for_its_holder_alone_is_asked_for_once() {
    let object = object(16, 3_000_000);
    let copy = object.clone();
    let origin = Origin::answering(move |_| {
        response(
            "200 OK",
            "etag: \"v1\"\r\naccept-ranges: bytes\r\ncache-control: private\r\n",
            &copy,
        )
    });
    let proxy = Proxy::before(&origin, several);
    assert!(proxy.client().patient().get("/share/abc").body == object);
    assert_eq!(count(&proxy, "parallel"), 0);
    let cookie = "cookie: id=1\r\n";
    assert!(proxy.client().patient().get_with("/share/abc", cookie).body == object);
    assert_eq!(count(&proxy, "parallel"), 1, "who asks is known");
}

#[test]
fn whatever_parts_are_answered_with_the_body_is_that_of_a_plain_get() {
    let deeds = [
        Deed::NoRange,
        Deed::Changed,
        Deed::Weak,
        Deed::WrongRange,
        Deed::ShortRange,
        Deed::TooMany,
        Deed::Multipart,
        Deed::Unsatisfied,
        Deed::Bad,
        Deed::Gzip,
        Deed::Busy,
        Deed::TooSoon(1),
        Deed::Cut(0),
        Deed::Reset(1000),
        Deed::CutChunks(1000),
        Deed::Silence(1000),
        Deed::Mute,
    ];
    std::thread::scope(|scope| {
        for (n, deed) in deeds.into_iter().enumerate() {
            scope.spawn(move || {
                let object = object(5, 3_000_000);
                let copy = object.clone();
                let (asked_for, sound) = (AtomicUsize::new(0), n % 5);
                let done = deed.clone();
                let origin = Origin::following(move |connection| {
                    while let Some(request) = connection.request() {
                        let is_part = request.field("range").is_some();
                        let goes_on = if is_part && asked_for.fetch_add(1, SeqCst) >= sound {
                            act(connection, &request, &done, &copy)
                        } else {
                            trickle(connection, &request, &copy)
                        };
                        if !goes_on {
                            return;
                        }
                    }
                });
                let proxy = Proxy::before(&origin, |settings| {
                    several(settings);
                    settings.transfers.stall_window = Duration::from_millis(500);
                });
                let response = proxy.client().patient().get("/film.mp4");
                assert_eq!(
                    (response.status, response.ending),
                    (200, Ending::Whole),
                    "{deed:?}"
                );
                assert!(response.body == object, "the body differs after {deed:?}");
                assert!(count(&proxy, "parts") > sound as u64, "{deed:?}");
            });
        }
    });
}

#[test]
fn a_link_that_expires_brings_all_of_its_body_over_http_2() {
    let object = object(6, 4_000_000);
    let (origin, _) = counted(object.clone(), 6, No::Status(403));
    let certificate = Certificate::new();
    let proxy = Proxy::before(&origin, |settings| {
        several(settings);
        certificate.show(settings);
    });
    let (head, body) = actix_rt::System::new().block_on(async {
        let mut client = h2(proxy.address(), &certificate).await;
        answer(&mut client, request("GET", "/share/abc")).await
    });
    assert_eq!(head.status, 200);
    assert!(body.unwrap() == object, "the body differs");
    assert!(proxy.published().origin().counters.parts.get() > 0);
}

#[test]
fn beneath_the_paths_that_are_named_every_body_is_asked_for_once() {
    let object = object(11, 3_000_000);
    let (origin, _) = counted(object.clone(), 1000, No::Status(403));
    let proxy = Proxy::before(&origin, |settings| {
        several(settings);
        settings.transfers.parallel_except = vec!["/share".into()];
    });
    let asked = |target: &str| {
        let hits = origin.hits();
        assert!(proxy.client().patient().get(target).body == object);
        origin.hits() - hits
    };
    for target in ["/share/abc", "/share", "/sh%61re/abc", "//share/abc"] {
        assert_eq!(asked(target), 1, "{target}");
    }
    assert!(asked("/shared/abc") > 1);
    proxy.reload(|settings| settings.transfers.parallel_except = vec!["/shared/".into()]);
    assert_eq!(asked("/shared/abc"), 1);
    assert!(asked("/share/abc") > 1);
}

#[test]
fn little_of_the_first_response_is_thrown_away() {
    let object = object(12, 16_000_000);
    let (origin, _) = counted(object.clone(), usize::MAX, No::Close);
    let proxy = Proxy::before(&origin, several);
    for _ in 0..2 {
        assert!(proxy.client().patient().get("/film.mp4").body == object);
    }
    assert_eq!(count(&proxy, "firsts_lost"), 0);
    let wasted = count(&proxy, "parts_wasted_bytes");
    assert!(wasted > 0, "the first response stood still");
    assert!(wasted < 32_000_000 / 16, "{wasted} bytes");
}

/// Sends what was asked for, and gives a connection up that takes nothing for a while, as servers do.
fn impatient(connection: &mut Connection, request: &Request, object: &[u8]) -> bool {
    connection.give_up_after(Duration::from_millis(1500));
    trickle(connection, request, object)
}

#[test]
fn a_first_response_that_is_held_back_is_not_given_up_by_a_server_that_waits_for_nobody() {
    let object = object(13, 20_000_000);
    let copy = object.clone();
    let expired = Arc::new(AtomicBool::new(false));
    let is_expired = Arc::clone(&expired);
    let origin = Origin::following(move |connection| {
        connection.keep_little();
        while let Some(request) = connection.request() {
            let goes_on = if request.field("range").is_some() && is_expired.load(SeqCst) {
                No::Status(403).say(connection)
            } else {
                impatient(connection, &request, &copy)
            };
            if !goes_on {
                return;
            }
        }
    });
    let proxy = Proxy::before(&origin, |settings| {
        several(settings);
        settings.transfers.parallel_width = 4;
        settings.levels.high.tcp_buffers = true;
        settings.tcp.receive_buffer = "16KiB".parse().unwrap();
    });
    let mut client = proxy.client();
    client.patient();
    client.send("GET /film.mp4 HTTP/1.1\r\nhost: p\r\n\r\n");
    client.head();
    // Longer than the server waits.
    let mut body = client.exactly(16_000_000);
    expired.store(true, SeqCst);
    body.extend(client.patient().exactly(object.len() - body.len()));
    assert!(body == object, "the body differs");
    assert_eq!(count(&proxy, "firsts_lost"), 0);
    assert!(count(&proxy, "parts_given_up") > 0, "no part was refused");
}

#[test]
fn a_client_hears_something_while_the_first_response_catches_up() {
    let object = object(14, 9_000_000);
    let copy = object.clone();
    let expired = Arc::new(AtomicBool::new(false));
    let is_expired = Arc::clone(&expired);
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let goes_on = if request.field("range").is_none() {
                // 800 KB a second, where parts bring twice as much each.
                slowly(connection, &copy)
            } else if is_expired.load(SeqCst) {
                No::Status(403).say(connection)
            } else {
                trickle(connection, &request, &copy)
            };
            if !goes_on {
                return;
            }
        }
    });
    let proxy = Proxy::before(&origin, |settings| {
        several(settings);
        settings.transfers.stall_window = Duration::from_secs(60);
    });
    let mut client = proxy.client();
    client.patient();
    client.send("GET /film.mp4 HTTP/1.1\r\nhost: p\r\n\r\n");
    client.head();
    let mut body = client.exactly(4_000_000);
    expired.store(true, SeqCst);
    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    while body.len() < object.len() {
        let waits = Instant::now();
        let piece = 256.min(object.len() - body.len());
        body.extend(client.patient().exactly(piece));
        longest = longest.max(waits.elapsed());
    }
    assert!(body == object, "the body differs");
    // To read past what parts had brought takes most of the time.
    let whole = begun.elapsed();
    assert!(
        longest < whole / 3,
        "nothing came for {longest:?} of {whole:?}"
    );
}

fn slowly(connection: &mut Connection, object: &[u8]) -> bool {
    connection.send(format!(
        "HTTP/1.1 200 OK\r\netag: \"v1\"\r\naccept-ranges: bytes\r\ncontent-length: {}\r\n\r\n",
        object.len()
    ));
    object.chunks(16 * 1024).all(|piece| {
        std::thread::sleep(Duration::from_millis(20));
        connection.send(piece)
    })
}
