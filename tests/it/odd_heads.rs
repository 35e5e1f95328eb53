//! Answers that break the rules in ways that leave no doubt what is meant: they pass, repaired. And answers that nobody
//! asked for: they never do.

use fileproxy::traffic::{level::Level, sample::Outcome};

use crate::support::{
    client::Ending,
    origin::{Origin, ok},
    proxy::Proxy,
    until,
};

fn at(level: Level, origin: &Origin) -> Proxy {
    Proxy::before(origin, |s| s.optimization.level = level)
}

#[test]
fn an_odd_head_that_can_be_meant_in_one_way_only_passes_repaired() {
    for (name, head, body) in [
        (
            "equal lengths",
            "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nContent-Length: 5\r\n",
            "hello",
        ),
        (
            "a list of lengths",
            "HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n",
            "hello",
        ),
        (
            "a blank before the colon",
            "HTTP/1.1 200 OK\r\ncontent-length : 5\r\nx-kept : 1\r\n",
            "hello",
        ),
        (
            "identity",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: identity\r\ncontent-length: 5\r\n",
            "hello",
        ),
        (
            "identity to the close",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Identity\r\n",
            "hello",
        ),
        (
            "identity, chunked",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: identity, chunked\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        (
            "HTTP/1.2",
            "HTTP/1.2 200 OK\r\ncontent-length: 5\r\n",
            "hello",
        ),
        (
            "ICY",
            "ICY 200 OK\r\ncontent-type: audio/mpeg\r\nicy-br: 128\r\n",
            "hello",
        ),
        (
            "a control character",
            "HTTP/1.1 200 OK\r\nx-title: a\x01b\x7fc\r\ncontent-length: 5\r\n",
            "hello",
        ),
        (
            "a folded field",
            "HTTP/1.1 200 OK\r\nx-long: one\r\n\ttwo\r\ncontent-length: 5\r\n",
            "hello",
        ),
        (
            "a name that is none",
            "HTTP/1.1 200 OK\r\nX Powered By: me\r\ncontent-length: 5\r\n",
            "hello",
        ),
        (
            "no reason",
            "HTTP/1.1 200\r\ncontent-length: 5\r\n",
            "hello",
        ),
        (
            "two blanks",
            "HTTP/1.1  200 OK\r\ncontent-length: 5\r\n",
            "hello",
        ),
        (
            "line feeds alone",
            "HTTP/1.1 200 OK\ncontent-length: 5\n",
            "hello",
        ),
        (
            "bytes beyond ascii",
            "HTTP/1.1 200 Schön\r\nx-title: ü\r\ncontent-length: 5\r\n",
            "hello",
        ),
    ] {
        for level in [Level::Low, Level::High] {
            // In one piece, and byte by byte.
            for slow in [false, true] {
                let answer = format!("{head}\r\n{body}").into_bytes();
                let origin = Origin::following(move |connection| {
                    if connection.request().is_none() {
                        return;
                    }
                    if slow {
                        answer.iter().all(|byte| connection.send([*byte]));
                    } else {
                        connection.send(&answer);
                    }
                });
                let proxy = at(level, &origin);
                let answer = proxy.get("/");
                assert_eq!(
                    (answer.status, answer.text().as_str(), answer.ending),
                    (200, "hello", Ending::Whole),
                    "{name}: {answer:?}"
                );
                assert!(answer.fields("content-length").len() <= 1, "{answer:?}");
                let odd = |byte: &u8| byte.is_ascii_control() && !b"\r\n\t".contains(byte);
                assert!(!answer.head.iter().any(odd), "{answer:?}");
                let text = String::from_utf8_lossy(&answer.head).to_lowercase();
                assert!(
                    !text.contains(" :") && !text.contains("identity"),
                    "{answer:?}"
                );
            }
        }
    }
}

#[test]
fn a_request_of_a_later_minor_version_is_answered_as_one_of_http_1_1() {
    let origin = Origin::answering(|_| ok("hello"));
    let proxy = at(Level::High, &origin);
    for version in ["HTTP/1.2", "HTTP/1.9"] {
        let mut client = proxy.client();
        let request = format!("POST / {version}\r\nhost: p\r\ncontent-length: 2\r\n\r\nhi");
        for _ in 0..2 {
            client.send(&request);
            let answer = client.response();
            assert_eq!(
                (answer.status, answer.text()),
                (200, "hello".into()),
                "{version}"
            );
        }
    }
    for request in origin.requests() {
        assert!(request.line().starts_with(b"POST / HTTP/1.1"));
        assert_eq!(request.body, b"hi");
    }
}

#[test]
fn a_304_with_its_length_twice_tells_it_once() {
    let origin = Origin::saying(
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\ncontent-length: 7\r\netag: \"a\"\r\n\r\n",
    );
    let answer = at(Level::High, &origin).get("/");
    assert_eq!(answer.status, 304);
    assert_eq!(answer.field("content-length").as_deref(), Some("7"));
}

#[test]
fn a_head_that_may_frame_its_body_in_two_ways_gives_502() {
    for head in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5, 6\r\n",
        "content length: 5\r\n",
        "x: a\0b\r\ncontent-length: 5\r\n",
        "x: a\rcontent-length: 5\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding\x0b: chunked\r\ncontent-length: 5\r\n",
    ] {
        let origin = Origin::saying_and_closing(format!("HTTP/1.1 200 OK\r\n{head}\r\nhello"));
        let proxy = at(Level::High, &origin);
        let answer = proxy.get("/");
        assert_eq!(answer.status, 502, "{head:?}: {answer:?}");
        proxy.until_outcomes(Outcome::OriginBroken, 1);
    }
}

#[test]
fn a_body_behind_an_answer_without_one_costs_nobody_the_next_answer() {
    // It comes only when the next request is there: nothing tells the two apart before.
    let origin = Origin::following(|connection| {
        while let Some(request) = connection.request() {
            match (request.method().as_str(), connection.number) {
                ("HEAD", _) => {
                    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n");
                }
                (_, 0) => {
                    connection.send("late body");
                    connection.stall();
                    return;
                }
                _ => _ = connection.send(ok("asked")),
            }
        }
    });
    let proxy = Proxy::before(&origin, |s| {
        s.server.workers = 1;
        s.optimization.level = Level::Medium;
    });
    let mut client = proxy.client();
    client.send("HEAD / HTTP/1.1\r\nhost: proxy\r\n\r\n");
    assert_eq!(client.response_to_head().status, 200);
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(client.get("/").text(), "asked");
    assert_eq!(origin.hits(), 3);
}

#[test]
fn what_comes_behind_an_answer_without_a_body_is_nobodys_answer() {
    let unasked = "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nunasked";
    for (request, head) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n"),
        (
            "GET",
            "HTTP/1.1 204 No Content\r\ncontent-length: 7\r\n\r\n",
        ),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        (
            "GET",
            "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n",
        ),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    ] {
        // In the same packet, and while the connection idles.
        for later in [false, true] {
            let origin = Origin::following(move |connection| {
                if connection.number > 0 {
                    while connection.request().is_some() {
                        connection.send(ok("asked"));
                    }
                } else if connection.request().is_some() {
                    let unasked = if later { "" } else { unasked };
                    connection.send(format!("{head}{unasked}"));
                    if later {
                        connection.wait();
                        connection.send("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\nunasked");
                    }
                    connection.stall();
                }
            });
            let proxy = at(Level::High, &origin);
            let mut client = proxy.client();
            client.send(format!("{request} /none HTTP/1.1\r\nhost: proxy\r\n\r\n"));
            let answer = client.response_to_head();
            assert!(answer.status < 400, "{answer:?}");
            if later {
                origin.open_gate();
                until("the connection is reaped", || {
                    (proxy.published().origin().counters.reaped.get() > 0).then_some(())
                });
            }
            for _ in 0..3 {
                assert_eq!(proxy.get("/").text(), "asked", "{head}");
            }
        }
    }
}
