//! Those who wait for the same get it by one request, and nobody gets what is somebody else's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use fileproxy::settings::Settings;

use super::support::{
    client::{Client, Ending},
    origin::{Connection, Origin, Request, file, response},
    proxy::Proxy,
    until,
};

/// Holds `/hold...` until the test opens the gate; answers the rest by `answer`.
fn origin(answer: impl Fn(&mut Connection, &Request) -> bool + Send + Sync + 'static) -> Origin {
    Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            if request.target().starts_with(b"/hold") {
                connection.wait();
            }
            if !answer(connection, &request) {
                return;
            }
        }
    })
}

/// The id that the proxy gave a request: each has its own.
fn echo(request: &Request, lines: &str) -> Vec<u8> {
    response("200 OK", lines, request.field("x-request-id").unwrap())
}

/// A proxy that asks for one thing at a time, whose only turn is taken by a request for `/hold`.
struct Busy {
    origin: Origin,
    proxy: Proxy,
    holding: Client,
    clients: Vec<Client>,
}

impl Busy {
    fn before(origin: Origin, change: impl FnOnce(&mut Settings)) -> Self {
        let proxy = Proxy::before(&origin, |settings| {
            settings.levels.high.connections_per_host = 1;
            settings.origin.waiting_connections = 0;
            settings.server.workers = 2;
            settings.levels.high.store = true;
            change(settings);
        });
        let mut holding = proxy.client();
        holding.send("GET /hold HTTP/1.1\r\nhost: p\r\n\r\n");
        until("the turn is taken", || (origin.hits() == 1).then_some(()));
        Busy {
            origin,
            proxy,
            holding,
            clients: Vec::new(),
        }
    }

    /// One more client asks for `target` and has to wait.
    fn ask(&mut self, target: &str, lines: &str) {
        self.ask_by(target, &format!("host: p\r\n{lines}"));
    }

    /// The same with a Host of its own.
    fn ask_by(&mut self, target: &str, lines: &str) {
        let in_flight = |proxy: &Proxy| {
            proxy.stats()["workers"]["requests_in_flight"]
                .as_u64()
                .unwrap()
        };
        let before = in_flight(&self.proxy);
        let mut client = self.proxy.client();
        client.send(format!("GET {target} HTTP/1.1\r\n{lines}\r\n"));
        until("it waits", || {
            (in_flight(&self.proxy) > before).then_some(())
        });
        self.clients.push(client);
    }

    /// Lets all go on; the bodies that they get.
    fn bodies(&mut self) -> Vec<Vec<u8>> {
        self.origin.open_gate();
        assert_eq!(self.holding.response().status, 200);
        self.clients
            .iter_mut()
            .map(|client| {
                let response = client.response();
                assert_eq!((response.status, response.ending), (200, Ending::Whole));
                response.body
            })
            .collect()
    }

    /// How many requests for `target` the origin saw.
    fn hits(&self, target: &str) -> usize {
        let requests = self.origin.requests();
        requests
            .iter()
            .filter(|request| request.target() == target.as_bytes())
            .count()
    }

    fn joined(&self) -> u64 {
        self.proxy.stats()["store"]["requests"]["joined"]
            .as_u64()
            .unwrap()
    }
}

#[test]
fn those_who_wait_for_the_same_get_it_by_one_request() {
    let mut busy = Busy::before(
        origin(|connection, request| connection.send(echo(request, "etag: \"v1\"\r\n"))),
        |_| {},
    );
    for n in 0..6 {
        busy.ask(
            "/segment.ts?token=a",
            &format!("user-agent: player {n}\r\n"),
        );
    }
    busy.ask("/segment.ts?token=b", "");
    let bodies = busy.bodies();
    assert!(bodies[..6].iter().all(|body| *body == bodies[0]));
    assert_ne!(bodies[6], bodies[0]);
    assert_eq!(busy.hits("/segment.ts?token=a"), 1);
    assert_eq!(busy.joined(), 5);
    // Nothing is kept.
    assert_eq!(busy.proxy.get("/segment.ts?token=a").status, 200);
    assert_eq!(busy.hits("/segment.ts?token=a"), 2);
    until("all are counted as completed", || {
        let stats = busy.proxy.stats();
        (stats["window"]["outcomes"]["completed"] == 9).then_some(())
    });
}

/// Two ask for the same, each by an id of its own.
fn each_gets_its_own_id(busy: &mut Busy) {
    busy.ask("/a", "x-request-id: first\r\n");
    busy.ask("/a", "x-request-id: second\r\n");
    busy.origin.open_gate();
    let ids: Vec<_> = busy
        .clients
        .iter_mut()
        .map(|client| client.response().field("x-request-id").unwrap())
        .collect();
    assert_eq!(ids, ["first", "second"]);
    assert_eq!(busy.hits("/a"), 1);
}

#[test]
fn each_has_its_own_request_id_whoever_asked() {
    let mut busy = Busy::before(
        origin(|connection, request| connection.send(echo(request, ""))),
        |_| {},
    );
    each_gets_its_own_id(&mut busy);
}

#[test]
fn one_that_has_gone_out_is_joined_too() {
    let mut busy = Busy::before(
        origin(|connection, request| connection.send(echo(request, "etag: \"v1\"\r\n"))),
        |_| {},
    );
    busy.ask("/hold", "");
    assert_eq!(busy.bodies().len(), 1);
    assert_eq!(busy.hits("/hold"), 1);
}

#[test]
fn when_the_first_one_leaves_the_others_still_need_one_request() {
    let mut busy = Busy::before(
        origin(|connection, request| connection.send(echo(request, ""))),
        |_| {},
    );
    for _ in 0..4 {
        busy.ask("/a", "");
    }
    drop(busy.clients.remove(0));
    until("it is gone", || {
        (busy.proxy.stats()["workers"]["requests_in_flight"] == 4).then_some(())
    });
    let bodies = busy.bodies();
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    assert_eq!(busy.hits("/a"), 1);
}

/// Whether each of two who wait gets an answer of its own, if answers have these fields.
fn each_its_own(answer: &'static str, first: &str, second: &str) -> bool {
    let mut busy = Busy::before(
        origin(move |connection, request| connection.send(echo(request, answer))),
        |_| {},
    );
    busy.ask("/a", first);
    busy.ask("/a", second);
    let bodies = busy.bodies();
    let own = bodies[0] != bodies[1];
    assert_eq!(busy.hits("/a"), if own { 2 } else { 1 });
    own
}

#[test]
fn an_answer_that_is_somebody_s_own_is_given_to_nobody_else() {
    for lines in [
        "set-cookie: session=1\r\n",
        "cache-control: private\r\n",
        "cache-control: public\r\ncache-control: no-store\r\n",
        "vary: *\r\n",
    ] {
        assert!(each_its_own(lines, "", ""), "{lines}");
    }
    assert!(!each_its_own("cache-control: max-age=60\r\n", "", ""));
}

#[test]
fn a_request_with_credentials_goes_by_itself() {
    for lines in ["authorization: Bearer a\r\n", "cookie: session=1\r\n"] {
        assert!(each_its_own("", lines, lines), "{lines}");
        assert!(each_its_own("", "", lines), "{lines}");
    }
}

#[test]
fn vary_tells_who_gets_the_same() {
    let (a, b) = ("accept-language: de\r\n", "accept-language: en\r\n");
    assert!(each_its_own("vary: accept-language\r\n", a, b));
    assert!(!each_its_own("vary: accept-language\r\n", a, a));
    assert!(each_its_own("", "accept-encoding: gzip\r\n", ""));
}

#[test]
fn an_answer_that_says_nothing_is_not_given_to_who_sends_other_fields() {
    for field in [
        "x-api-key",
        "x-auth-token",
        "private-token",
        "x-session-id",
        "origin",
        "accept-language",
        "accept",
        "referer",
    ] {
        let (a, b) = (&*format!("{field}: a\r\n"), &*format!("{field}: b\r\n"));
        for answer in ["", "etag: \"v1\"\r\n", "vary: accept-encoding\r\n"] {
            assert!(each_its_own(answer, a, b), "{field}");
        }
        assert!(each_its_own("", a, ""), "{field}");
        assert!(!each_its_own("", a, a), "{field}");
    }
}

#[test]
fn an_answer_that_says_that_it_is_for_all_is_given_to_all_who_wait_once_that_is_known() {
    for answer in [
        "cache-control: max-age=10\r\n",
        "cache-control: public\r\n",
        "cdn-cache-control: s-maxage=1\r\n",
    ] {
        let again = Arc::new(AtomicUsize::new(0));
        let goes_on = Arc::clone(&again);
        let mut busy = Busy::before(
            origin(move |connection, request| {
                if request.target() == b"/again" {
                    until("it goes on", || (goes_on.load(SeqCst) == 1).then_some(()));
                }
                connection.send(echo(request, answer))
            }),
            |_| {},
        );
        busy.ask("/live/1.ts", "origin: https://a.example\r\n");
        busy.bodies();
        busy.clients.clear();

        busy.holding.send("GET /again HTTP/1.1\r\nhost: p\r\n\r\n");
        until("the turn is taken", || {
            (busy.hits("/again") == 1).then_some(())
        });
        for own in [
            "origin: https://a.example\r\n",
            "origin: https://b.example\r\n",
            "",
        ] {
            busy.ask("/live/2.ts", own);
        }
        again.store(1, SeqCst);
        let bodies = busy.bodies();
        assert!(bodies.iter().all(|body| *body == bodies[0]), "{answer}");
        assert_eq!(busy.hits("/live/2.ts"), 1);
    }
}

#[test]
fn a_large_body_without_a_validator_is_joined_once_all_of_it_is_here() {
    let body = file(1_000_000);
    let whole = body.clone();
    let mut busy = Busy::before(
        origin(move |connection, _| connection.send(response("200 OK", "", &body))),
        |_| {},
    );
    for _ in 0..3 {
        busy.ask("/film.mp4", "");
    }
    for body in busy.bodies() {
        assert!(body == whole, "the body differs");
    }
    assert_eq!(busy.hits("/film.mp4"), 1);
}

#[test]
fn an_error_or_a_broken_body_is_not_shared() {
    let broken = std::sync::Mutex::new(vec![
        &b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
    ]);
    let mut busy = Busy::before(
        origin(move |connection, request| {
            let next = (request.target() == b"/a").then(|| broken.lock().unwrap().pop());
            match next.flatten() {
                Some(answer) => {
                    connection.send(answer);
                    false
                }
                None => connection.send(echo(request, "")),
            }
        }),
        |_| {},
    );
    for _ in 0..4 {
        busy.ask("/a", "");
    }
    busy.origin.open_gate();
    busy.holding.response();
    let mut statuses: Vec<_> = busy
        .clients
        .iter_mut()
        .map(|client| {
            let response = client.response();
            (response.status, response.ending)
        })
        .collect();
    assert_ne!(statuses.remove(0).1, Ending::Whole, "its body broke");
    statuses.sort_unstable_by_key(|(status, _)| *status);
    let whole = |status| (status, Ending::Whole);
    assert_eq!(statuses, [whole(200), whole(200), whole(503)]);
    assert_eq!(busy.hits("/a"), 4);
}

#[test]
fn a_body_that_breaks_is_mended_before_it_is_shared() {
    let body = file(100_000);
    let whole = body.clone();
    let mut busy = Busy::before(
        origin(move |connection, request| match request.range(body.len()) {
            None if request.target() == b"/a" => {
                let head = "HTTP/1.1 200 OK\r\netag: \"v1\"\r\ncontent-length: 100000\r\n\r\n";
                connection.send(head);
                connection.send(&body[..40_000]);
                false
            }
            Some((from, _)) => {
                let lines = format!("etag: \"v1\"\r\ncontent-range: bytes {from}-99999/100000\r\n");
                connection.send(response("206 Partial Content", &lines, &body[from..]))
            }
            None => connection.send(echo(request, "")),
        }),
        |settings| settings.levels.high.resume = true,
    );
    for _ in 0..3 {
        busy.ask("/a", "");
    }
    for body in busy.bodies() {
        assert!(body == whole, "the body differs");
    }
    assert_eq!(busy.hits("/a"), 2);
}

#[test]
fn switched_off_each_asks_for_itself() {
    let mut busy = Busy::before(
        origin(|connection, request| connection.send(echo(request, ""))),
        |settings| settings.levels.high.store = false,
    );
    busy.ask("/a", "");
    busy.ask("/a", "");
    let bodies = busy.bodies();
    assert_ne!(bodies[0], bodies[1]);
}

/// Answers must begin within so many seconds.
fn within(settings: &mut Settings, seconds: u64) {
    let classes = &mut settings.classes;
    for class in [
        &mut classes.good,
        &mut classes.medium,
        &mut classes.poor,
        &mut classes.very_poor,
    ] {
        class.exchange_timeout = Duration::from_secs(seconds);
    }
}

#[test]
fn a_part_of_a_body_that_was_read_to_be_shared_is_never_taken_for_all_of_it() {
    let body = file(100_000);
    let whole = body.clone();
    let mut busy = Busy::before(
        origin(move |connection, request| {
            if request.target() != b"/a" {
                return connection.send(echo(request, ""));
            }
            if request.field("range").is_none() {
                let head = "HTTP/1.1 200 OK\r\netag: \"v1\"\r\ncontent-length: 100000\r\n\r\n";
                connection.send(head);
                connection.send(&body[..40_000]);
                return false;
            }
            // Later than it is waited for to be shared.
            std::thread::sleep(Duration::from_millis(2200));
            let lines = "etag: \"v1\"\r\ncontent-range: bytes 40000-99999/100000\r\n";
            connection.send(response("206 Partial Content", lines, &body[40_000..]))
        }),
        |settings| within(settings, 3),
    );
    for _ in 0..2 {
        busy.ask("/a", "");
    }
    busy.origin.open_gate();
    assert_eq!(busy.holding.response().status, 200);
    for client in &mut busy.clients {
        let response = client.response();
        assert!(
            response.status == 503 || response.body == whole,
            "{response:?}"
        );
    }
}

#[test]
fn an_answer_is_for_the_host_that_was_asked() {
    let mut busy = Busy::before(
        origin(|connection, request| {
            let host = request.field("x-forwarded-host").unwrap();
            connection.send(response("200 OK", "", host))
        }),
        |_| {},
    );
    for host in ["a.example", "b.example"] {
        busy.ask_by("/a", &format!("host: {host}\r\n"));
    }
    assert_eq!(busy.bodies(), [b"a.example", b"b.example"]);
}

#[test]
fn an_answer_that_tells_an_id_tells_each_its_own() {
    let mut busy = Busy::before(
        origin(|connection, request| {
            let id = request.field("x-request-id").unwrap();
            connection.send(response("200 OK", &format!("x-request-id: {id}\r\n"), "a"))
        }),
        |_| {},
    );
    each_gets_its_own_id(&mut busy);
}

/// Two turns, both taken, with two clients behind them who want the same.
fn two_behind_two(origin: Origin) -> Busy {
    let mut busy = Busy::before(origin, |settings| {
        within(settings, 4);
        settings.levels.high.connections_per_host = 2;
    });
    busy.ask("/hold", "");
    for _ in 0..2 {
        busy.ask("/a", "");
    }
    busy.origin.open_gate();
    assert_eq!(busy.clients.remove(0).response().status, 200);
    busy
}

#[test]
fn who_waits_for_a_body_that_trickles_asks_in_time() {
    let mut busy = two_behind_two(origin(|connection, request| {
        if request.target() != b"/a" {
            return connection.send(echo(request, ""));
        }
        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\n");
        (0..60).all(|_| {
            std::thread::sleep(Duration::from_millis(100));
            connection.send("a")
        })
    }));
    for client in &mut busy.clients {
        let response = client.response();
        assert_eq!((response.status, response.body.len()), (200, 60));
    }
}

#[test]
fn who_waits_for_an_answer_that_does_not_come_asks_in_time() {
    let asked = AtomicUsize::new(0);
    let mut busy = two_behind_two(origin(move |connection, request| {
        if request.target() == b"/a" && asked.fetch_add(1, SeqCst) == 0 {
            connection.stall();
            return false;
        }
        connection.send(echo(request, ""))
    }));
    let begun = Instant::now();
    assert_eq!(busy.clients[1].response().status, 200);
    assert!(begun.elapsed() < Duration::from_secs(3), "it was late");
    assert_eq!(busy.clients[0].response().status, 504);
}
