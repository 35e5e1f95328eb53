//! A client never takes a broken file for a whole one, and a broken response never harms the next request.

use std::time::Duration;

use fileproxy::traffic::{level::Level, sample::Outcome};

use crate::support::{
    client::{End, Ending},
    message,
    origin::{Origin, ok, response},
    proxy::Proxy,
    until,
};

const LENGTH_100: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nonly twenty bytes..";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

/// Every way to cut a body that its framing shows.
fn cuts() -> Vec<(&'static str, Vec<u8>)> {
    let chunked = |rest: &str| format!("{CHUNKED}{rest}").into_bytes();
    vec![
        ("in the middle of a length", LENGTH_100.to_vec()),
        (
            "right behind a head with a length",
            b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n".to_vec(),
        ),
        ("right behind a chunked head", chunked("")),
        ("in the middle of a chunk", chunked("14\r\nonly ten b")),
        ("behind a chunk's data", chunked("5\r\nhello")),
        ("in a chunk's line end", chunked("5\r\nhello\r")),
        ("behind a chunk", chunked("5\r\nhello\r\n")),
        ("in a size line", chunked("5\r\nhello\r\n1")),
        ("in a size line's end", chunked("5\r\nhello\r\n0\r")),
        ("before the trailers", chunked("5\r\nhello\r\n0\r\n")),
        ("in the trailers", chunked("5\r\nhello\r\n0\r\nx-sum: 1")),
        (
            "before the trailers' end",
            chunked("5\r\nhello\r\n0\r\nx-sum: 1\r\n"),
        ),
        (
            "before the last line end",
            chunked("5\r\nhello\r\n0\r\nx-sum: 1\r\n\r"),
        ),
    ]
}

fn assert_cut_is_seen(origin: &Origin, version: &str, how: &str) {
    let proxy = Proxy::before(origin, |_| {});
    let mut client = proxy.client();
    client.send(format!("GET / HTTP/{version}\r\nhost: proxy\r\n\r\n"));
    let head = client.head();
    assert_eq!(message::status(&head), 200);
    let (body, ending) = client.body(&head);
    match version {
        "1.1" => assert_ne!(ending, Ending::Whole, "{how}: {body:?} looks whole"),
        // Only a length or a reset tells an HTTP/1.0 client.
        _ if message::fields(&head, "content-length").is_empty() => {
            assert_eq!(ending, Ending::Reset, "{how}: {body:?} looks whole");
        }
        _ => assert_ne!(ending, Ending::Whole, "{how}"),
    }
    proxy.until_outcomes(Outcome::OriginBroken, 1);
    assert_eq!(proxy.outcomes(Outcome::Completed), 0);
    assert_eq!(
        proxy.published().origin().counters.retries.get(),
        0,
        "{how}: retried behind the head"
    );
}

#[test]
fn a_body_cut_by_a_close_is_never_taken_for_a_whole_one() {
    for (how, bytes) in cuts() {
        let origin = Origin::saying_and_closing(bytes);
        assert_cut_is_seen(&origin, "1.1", how);
    }
}

#[test]
fn a_body_cut_by_a_reset_is_never_taken_for_a_whole_one() {
    for (how, bytes) in cuts() {
        let origin = Origin::saying_and_resetting(bytes);
        assert_cut_is_seen(&origin, "1.1", how);
    }
}

#[test]
fn an_http_1_0_client_sees_a_cut_too() {
    for (how, bytes) in cuts() {
        let origin = Origin::saying_and_closing(bytes);
        assert_cut_is_seen(&origin, "1.0", how);
    }
}

#[test]
fn a_chunked_coding_that_breaks_is_seen() {
    for rest in [
        "zz\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\nhello\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        // Sizes that are wrong by one or two, where what follows looks like a line of the coding.
        "6\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n\r\n0\r\n\r\n",
        "5\r\nhello\r\n;x\r\n\r\n",
        "5;\nx\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        // Trailers that are none.
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        "5\r\nhello\r\n0\r\nx: \0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
    ] {
        let origin = Origin::saying(format!("{CHUNKED}3\r\nabc\r\n{rest}"));
        assert_cut_is_seen(&origin, "1.1", rest);
    }
}

#[test]
fn a_body_that_runs_to_the_close_arrives_whole() {
    let body: Vec<u8> = (0..700_000_u32).map(|n| n as u8).collect();
    let origin = Origin::saying_and_closing([&b"HTTP/1.1 200 OK\r\n\r\n"[..], &body].concat());
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!((answer.status, answer.ending), (200, Ending::Whole));
        assert!(answer.body == body);
    }
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_body_that_runs_to_a_reset_is_seen_as_cut() {
    for version in ["1.1", "1.0"] {
        let origin = Origin::saying_and_resetting(b"HTTP/1.1 200 OK\r\n\r\nsome of it");
        assert_cut_is_seen(&origin, version, "to a reset");
    }
}

#[test]
fn interim_responses_are_never_the_answer_and_never_poison_the_next_request() {
    let origin = Origin::following(|connection| {
        while let Some(request) = connection.request() {
            let body = request.target();
            for interim in [
                "HTTP/1.1 100 Continue\r\n\r\n",
                "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n",
                "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n",
            ] {
                connection.send(interim);
            }
            connection.send(ok(body));
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    for n in 0..20 {
        let target = format!("/{n}");
        let interim: Vec<_> = std::iter::once(client.get(&target))
            .chain((0..2).map(|_| client.response()))
            .map(|interim| interim.status)
            .collect();
        assert_eq!(interim, [103, 102, 103]);
        let answer = client.response();
        assert_eq!((answer.status, answer.text()), (200, target));
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_interim_response_in_one_packet_with_the_final_one_comes_before_it() {
    let origin = Origin::answering(|request| {
        [
            &b"HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n"[..],
            &ok(request.target()),
        ]
        .concat()
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    for target in ["/a", "/b", "/c"] {
        assert_eq!(client.get(target).status, 103);
        assert_eq!(client.response().text(), target);
    }
}

#[test]
fn an_origin_that_sends_more_than_it_said_does_not_poison_the_next_request() {
    let origin = Origin::answering(|request| {
        [
            ok(request.target()),
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil".to_vec(),
        ]
        .concat()
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    for target in ["/a", "/b", "/c"] {
        let answer = client.get(target);
        assert_eq!(
            (answer.text().as_str(), answer.ending),
            (target, Ending::Whole)
        );
    }
}

#[test]
fn an_unasked_response_on_an_idle_connection_ends_it() {
    let origin = Origin::following(|connection| {
        while connection.request().is_some() {
            connection.send(ok("asked"));
            if connection.number == 0 {
                connection.wait();
                connection.send(ok("evil"));
            }
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    assert_eq!(client.get("/").text(), "asked");
    origin.open_gate();
    until("the connection is reaped", || {
        (proxy.published().origin().counters.reaped.get() > 0).then_some(())
    });
    assert_eq!(client.get("/").text(), "asked");
}

#[test]
fn an_early_refusal_of_an_upload_reaches_the_client() {
    let origin = Origin::following(|connection| {
        if connection.head().is_some() {
            connection.send(response(
                "413 Content Too Large",
                "connection: close\r\n",
                "too large",
            ));
            // An origin that does it right: it reads on, so that no reset overtakes its answer.
            connection.stall();
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send(format!(
        "PUT /up HTTP/1.1\r\nhost: proxy\r\ncontent-length: {}\r\n\r\n",
        1_u64 << 40
    ));
    let mut sender = client.socket.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let piece = vec![0; 64 * 1024];
        while std::io::Write::write_all(&mut sender, &piece).is_ok() {}
    });
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (413, "too large"));
    drop(client);
    drop(proxy);
    sending.join().unwrap();
}

#[test]
fn an_early_refusal_by_an_origin_that_closes_reaches_the_client() {
    let origin = Origin::following(|connection| {
        if connection.head().is_some() {
            connection.send(response(
                "401 Unauthorized",
                "www-authenticate: Basic\r\nconnection: close\r\n",
                "who?",
            ));
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send("PUT /up HTTP/1.1\r\nhost: proxy\r\ncontent-length: 1000000\r\n\r\n");
    client.send([0; 40_000]);
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (401, "who?"));
    assert_eq!(answer.field("www-authenticate").unwrap(), "Basic");
}

#[test]
fn what_is_no_response_gives_502() {
    for garbage in [
        &b"garbage\r\n\r\n"[..],
        b"\0\0\0\0\0\0\0\0",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
    ] {
        let origin = Origin::saying_and_closing(garbage);
        let proxy = Proxy::before(&origin, |_| {});
        let mut client = proxy.client();
        let answer = client.get("/");
        let shown = String::from_utf8_lossy(garbage);
        assert_eq!(answer.status, 502, "{shown}: {answer:?}");
        answer.problem();
        proxy.until_outcomes(Outcome::OriginBroken, 1);
        assert_eq!(origin.hits(), 1, "{shown}: must not be retried");
        assert_eq!(client.get("/stats").status, 200);
    }
}

#[test]
fn a_status_of_no_known_class_passes() {
    let origin = Origin::saying(response("799 Odd", "", "odd"));
    let proxy = Proxy::before(&origin, |_| {});
    let answer = proxy.get("/");
    assert_eq!((answer.status, answer.text().as_str()), (799, "odd"));
}

#[test]
fn a_connection_that_closes_without_an_answer_gives_502() {
    let origin = Origin::following(|connection| {
        connection.request();
    });
    let proxy = Proxy::before(&origin, |_| {});
    let answer = proxy.get("/");
    assert_eq!(answer.status, 502);
    answer.problem();
    assert_eq!(origin.hits(), 1, "only a kept connection is tried again");
}

#[test]
fn a_response_head_without_end_gives_502() {
    let origin = Origin::following(|connection| {
        if connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\n");
            while connection.send(format!("x-filler: {}\r\n", "x".repeat(1000))) {}
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    let answer = proxy.get("/");
    assert_eq!(answer.status, 502);
    answer.problem();
}

#[test]
fn a_response_head_of_many_fields_passes() {
    let lines: String = (0..90).map(|n| format!("x-{n}: {n}\r\n")).collect();
    let origin = Origin::saying(response("200 OK", &lines, "body"));
    let proxy = Proxy::before(&origin, |_| {});
    let answer = proxy.get("/");
    assert_eq!((answer.status, answer.text().as_str()), (200, "body"));
    assert_eq!(answer.field("x-89").unwrap(), "89");
}

/// An origin that answers each connection's first request and, as soon as a second one comes, closes or resets.
fn stale(reset: bool, words: &'static str) -> Origin {
    Origin::following(move |connection| {
        if connection.request().is_none() {
            return;
        }
        connection.send(ok("fresh"));
        if connection.number == 0 && connection.head().is_some() {
            connection.send(words);
            if reset {
                connection.reset();
            }
            return;
        }
        while connection.request().is_some() {
            connection.send(ok("fresh"));
        }
    })
}

#[test]
fn a_request_that_may_be_repeated_is_sent_once_more_over_a_new_connection() {
    for reset in [false, true] {
        for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
            let origin = stale(reset, "");
            let proxy = Proxy::before(&origin, |_| {});
            let mut client = proxy.client();
            client.get("/");
            client.send(format!("{method} / HTTP/1.1\r\nhost: proxy\r\n\r\n"));
            let answer = if method == "HEAD" {
                client.response_to_head()
            } else {
                client.response()
            };
            assert_eq!(answer.status, 200, "{method}: {answer:?}");
            assert_eq!(origin.hits(), 3, "{method}: the first, the dead, the new");
            assert_eq!(proxy.stats()["origin_pool"]["retries"], 1);
        }
    }
}

#[test]
fn a_request_that_may_not_be_repeated_is_not() {
    for body in ["", "content-length: 3\r\n"] {
        let origin = stale(false, "");
        let proxy = Proxy::before(&origin, |_| {});
        let mut client = proxy.client();
        client.get("/");
        let content = if body.is_empty() { "" } else { "abc" };
        client.send(format!(
            "POST / HTTP/1.1\r\nhost: proxy\r\n{body}\r\n{content}"
        ));
        let answer = client.response();
        assert_eq!(answer.status, 502);
        answer.problem();
        assert_eq!(origin.hits(), 2);
        assert_eq!(proxy.stats()["origin_pool"]["retries"], 0);
    }
}

#[test]
fn a_request_is_not_repeated_once_bytes_of_an_answer_came() {
    for words in ["HTTP/1.1 2", "HTTP/1.1 100 Continue\r\n\r\n", "H"] {
        let origin = stale(false, words);
        let proxy = Proxy::before(&origin, |_| {});
        let mut client = proxy.client();
        client.get("/");
        assert_eq!(client.get("/").status, 502, "after {words:?}");
        assert_eq!(origin.hits(), 2);
        assert_eq!(proxy.stats()["origin_pool"]["retries"], 0);
    }
}

#[test]
fn a_request_is_repeated_only_once() {
    let origin = Origin::following(|connection| {
        if connection.number == 0 {
            connection.request();
            connection.send(ok("fresh"));
        }
        connection.request();
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.get("/");
    assert_eq!(client.get("/").status, 502);
    assert_eq!(origin.hits(), 3);
}

#[test]
fn a_body_that_stalls_ends_visibly_and_is_counted() {
    let origin = Origin::following(|connection| {
        while connection.request().is_some() {
            connection.send(LENGTH_100);
            connection.stall();
        }
    });
    let proxy = Proxy::before(&origin, |s| {
        s.levels.high.idle_read = Some(Duration::from_millis(100));
    });
    let answer = proxy.get("/");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text(), "only twenty bytes..");
    assert_ne!(answer.ending, Ending::Whole);
    proxy.until_outcomes(Outcome::OriginTimeout, 1);
}

#[test]
fn a_body_that_is_silent_for_longer_than_its_class_allows_is_awaited_as_long_as_at_low() {
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\netag: \"v1\"\r\n\r\n",
    ] {
        let origin = Origin::following(move |connection| {
            let Some(request) = connection.request() else {
                return;
            };
            if request.field("range").is_some() {
                connection.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
                return;
            }
            connection.send(head);
            connection.send("first");
            // Silent for real: what is proved is that a time passes.
            std::thread::sleep(Duration::from_millis(700));
            connection.send("other");
        });
        let proxy = Proxy::before(&origin, |s| {
            s.classes.good.idle_read = Duration::from_millis(100);
            s.transfers.stall_window = Duration::from_millis(100);
        });
        let answer = proxy.get("/");
        assert_eq!(answer.text(), "firstother", "{head}");
    }
}

#[test]
fn a_transfer_that_makes_progress_is_cut_by_no_limit() {
    let origin = Origin::following(|connection| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\n");
            for _ in 0..60 {
                // Slow for real: what is proved is that a time passes.
                std::thread::sleep(Duration::from_millis(10));
                connection.send("x");
            }
        }
    });
    let proxy = Proxy::before(&origin, |s| {
        s.levels.high.exchange_timeout = Some(Duration::from_millis(300));
        s.levels.high.idle_read = Some(Duration::from_secs(20));
        s.server.send_timeout = Duration::from_millis(300);
        s.server.head_timeout = Duration::from_millis(300);
    });
    let answer = proxy.get("/");
    assert_eq!((answer.body.len(), answer.ending), (60, Ending::Whole));
}

#[test]
fn an_origin_that_never_answers_gives_504() {
    let origin = Origin::following(|connection| while connection.request().is_some() {});
    let proxy = Proxy::before(&origin, |s| {
        s.levels.high.exchange_timeout = Some(Duration::from_millis(200));
    });
    let mut client = proxy.client();
    let answer = client.get("/");
    assert_eq!(answer.status, 504);
    answer.problem();
    proxy.until_outcomes(Outcome::OriginTimeout, 1);
    assert_eq!(client.get("/health").status, 200, "the connection goes on");
}

#[test]
fn an_origin_that_trickles_its_head_gives_504() {
    let origin = Origin::following(|connection| {
        if connection.request().is_some() {
            while connection.send("x") {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
    let origin_head = Origin::following(|connection| {
        if connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nx-slow: ");
            while connection.send("x") {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
    let quick = |s: &mut fileproxy::settings::Settings| {
        s.levels.high.exchange_timeout = Some(Duration::from_millis(300));
    };
    assert_eq!(Proxy::before(&origin_head, quick).get("/").status, 504);
    // No head begins with x: that is known at once.
    assert_eq!(Proxy::before(&origin, quick).get("/").status, 502);
}

#[test]
fn a_client_that_leaves_ends_its_transfer_at_the_origin() {
    let origin = Origin::following(|connection| {
        if connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\nbegin");
            connection.stall();
            connection.took(1);
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nhost: proxy\r\n\r\n");
    client.head();
    client.reset();
    until("the origin's connection closes", || {
        (origin.taken() == 1).then_some(())
    });
    proxy.until_outcomes(Outcome::ClientLeft, 1);
    until("nothing is left behind", || {
        let published = proxy.published();
        let (clients, origin) = (&published.clients, &published.origin().counters);
        (clients.requests.get() == 0 && origin.in_use.get() == 0).then_some(())
    });
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_upload_ends_it_at_the_origin() {
    let origin = Origin::following(|connection| {
        if connection.head().is_some() {
            connection.stall();
            connection.took(1);
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    for head in ["content-length: 100000000", "transfer-encoding: chunked"] {
        let before = origin.taken();
        let hits = origin.hits();
        let mut client = proxy.client();
        client.send(format!("PUT / HTTP/1.1\r\nhost: proxy\r\n{head}\r\n\r\n"));
        // Head and body go out together, once there is some of it.
        client.send(format!("8000\r\n{}\r\n", "x".repeat(0x8000)));
        until("the upload begins", || (origin.hits() > hits).then_some(()));
        drop(client);
        until("the origin's connection closes", || {
            (origin.taken() > before).then_some(())
        });
    }
}

#[test]
fn a_broken_transfer_costs_only_its_own_connection() {
    let origin = Origin::answering(|request| {
        if request.target() == b"/broken" {
            format!("{CHUNKED}zz\r\n").into_bytes()
        } else {
            ok("fine")
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut fine = proxy.client();
    assert_eq!(fine.get("/").text(), "fine");
    for _ in 0..5 {
        let mut broken = proxy.client();
        broken.send("GET /broken HTTP/1.1\r\nhost: proxy\r\n\r\n");
        let (_, end) = broken.rest();
        assert!(matches!(end, End::Close | End::Reset));
        assert_eq!(fine.get("/").text(), "fine");
    }
}

#[test]
fn a_chunked_body_of_next_to_nothing_but_extensions_ends() {
    let origin = Origin::following(|connection| {
        if connection.request().is_some() {
            connection.send(CHUNKED);
            let chunk = format!("1;{}\r\nx\r\n", "y".repeat(2000));
            while connection.send(&chunk) {}
        }
    });
    for level in [Level::Low, Level::High] {
        let proxy = Proxy::before(&origin, |settings| settings.optimization.level = level);
        let answer = proxy.get("/");
        assert_ne!(answer.ending, Ending::Whole);
        assert!(answer.body.len() < 100, "{} bytes", answer.body.len());
    }
}

#[test]
fn chunks_of_one_byte_are_no_flood() {
    let body: String = "1\r\nx\r\n".repeat(50_000);
    let origin = Origin::saying(format!("{CHUNKED}{body}0\r\n\r\n"));
    let proxy = Proxy::before(&origin, |_| {});
    let answer = proxy.get("/");
    assert_eq!((answer.body.len(), answer.ending), (50_000, Ending::Whole));
}
