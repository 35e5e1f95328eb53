//! What goes to the origin and what comes back: nothing lost, nothing added but what a proxy must add.

use fileproxy::{
    path::origin::settings::HostHeader,
    traffic::{level::Level, sample::Outcome},
};

use crate::support::{
    client::{End, Ending},
    origin::{Origin, file, ok, response},
    proxy::Proxy,
    until,
};

fn chunked(body: &[u8], piece: usize) -> Vec<u8> {
    let mut coded = Vec::new();
    for chunk in body.chunks(piece) {
        coded.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        coded.extend_from_slice(chunk);
        coded.extend_from_slice(b"\r\n");
    }
    coded.extend_from_slice(b"0\r\n\r\n");
    coded
}

#[test]
fn any_method_reaches_the_origin() {
    let origin = Origin::answering(|request| ok(request.method()));
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    for method in [
        "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND", "QUERY", "TRACE",
    ] {
        client.send(format!("{method} /file HTTP/1.1\r\nhost: proxy\r\n\r\n"));
        let answer = client.response();
        assert_eq!((answer.status, answer.text().as_str()), (200, method));
    }
}

#[test]
fn the_target_reaches_the_origin_byte_for_byte() {
    let origin = Origin::saying(ok(""));
    let proxy = Proxy::before(&origin, |_| {});
    for target in [
        "/a/../b/./c",
        "/..",
        "/%2e%2e/%2E%2E/etc/passwd",
        "/a%00b",
        "/%zz%",
        "//double//slash//",
        "/a%20b+c%2Fd%2fe",
        "/?",
        "/p?",
        "/?a=1&a=2&b=%zz&c=../..&d=a//b&e=%00",
        "/p?x?y=/z",
        "/;params;v=1/*!$&'()~-_.@:=",
        "/%68ealth",
        "/health/",
        "/health%2f",
        "//health",
        "/Health",
        "/statsx",
        "/stat%73",
        "/health/../health",
        "/./stats",
    ] {
        let answer = proxy.get(target);
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        assert_eq!(
            String::from_utf8_lossy(&origin.last().target()),
            target,
            "the target was changed"
        );
    }
}

#[test]
fn bytes_that_no_uri_has_reach_the_origin_as_a_uri_writes_them() {
    let origin = Origin::answering(|request| ok(&request.body));
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    for (came, meant) in [
        (&b"/caf\xc3\xa9"[..], "/caf%C3%A9"),
        (b"/?q=\xc3\xa9", "/?q=%C3%A9"),
        (b"/\xff\xfe?\x80", "/%FF%FE?%80"),
        (b"/a?b=\"<c>\"", "/a?b=%22%3Cc%3E%22"),
    ] {
        for method in ["GET", "POST"] {
            client
                .send(format!("{method} "))
                .send(came)
                .send(b" HTTP/1.1\r\nhost: proxy\r\ncontent-length: 2\r\n\r\nhi");
            let answer = client.response();
            assert_eq!((answer.status, answer.text().as_str()), (200, "hi"));
            assert_eq!(String::from_utf8_lossy(&origin.last().target()), meant);
        }
    }
}

#[test]
fn a_path_in_the_origin_url_is_put_before_every_target() {
    let origin = Origin::saying(ok(""));
    let url = crate::support::proxy::Upstream::url(&origin);
    let proxy = Proxy::before(&format!("{url}/base/"), |_| {});
    proxy.get("/../a?b=%20");
    assert_eq!(origin.last().target(), b"/base/../a?b=%20");
}

#[test]
fn options_for_the_server_itself_is_passed_on() {
    let origin = Origin::saying(ok(""));
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send("OPTIONS * HTTP/1.1\r\nhost: proxy\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(origin.last().target(), b"*");
}

#[test]
fn an_absolute_target_goes_to_the_origin_by_its_path_and_names_the_host() {
    let origin = Origin::saying(ok(""));
    let proxy = Proxy::before(&origin, |s| s.origin.host = HostHeader::Client);
    let mut client = proxy.client();
    client.send("GET http://elsewhere.example/a?b HTTP/1.1\r\nhost: lies.example\r\n\r\n");
    assert_eq!(client.response().status, 200);
    let request = origin.last();
    assert_eq!(request.target(), b"/a?b");
    // RFC 9112 §3.2.2: the Host of an absolute target is its authority.
    assert_eq!(request.field("host").unwrap(), "elsewhere.example");
}

#[test]
fn connect_is_refused_and_the_origin_never_asked() {
    let origin = Origin::saying(ok(""));
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send("CONNECT elsewhere.example:443 HTTP/1.1\r\nhost: elsewhere.example:443\r\n\r\n");
    let answer = client.response();
    assert_eq!(answer.status, 405);
    answer.problem();
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_body_with_a_length_arrives_whole_and_with_its_length_both_ways() {
    let body = file(3_000_000);
    let origin = Origin::answering(|request| ok(&request.body));
    let proxy = Proxy::before(&origin, |_| {});
    for method in ["POST", "PUT"] {
        let mut client = proxy.client();
        let mut sender = client.socket.try_clone().unwrap();
        let whole = [
            format!(
                "{method} /up HTTP/1.1\r\nhost: proxy\r\ncontent-length: {}\r\n\r\n",
                body.len()
            )
            .as_bytes(),
            &body,
        ]
        .concat();
        let sending = std::thread::spawn(move || {
            std::io::Write::write_all(&mut sender, &whole).unwrap();
        });
        let answer = client.response();
        sending.join().unwrap();
        assert_eq!((answer.status, answer.ending), (200, Ending::Whole));
        assert!(answer.body == body);
        assert_eq!(answer.field("content-length").unwrap(), "3000000");
        let request = origin.last();
        assert_eq!(request.field("content-length").unwrap(), "3000000");
        assert_eq!(request.field("transfer-encoding"), None);
    }
}

#[test]
fn a_chunked_body_arrives_whole_both_ways() {
    let body = file(1_000_000);
    let origin = Origin::answering(|request| {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        [&head[..], &chunked(&request.body, 777)].concat()
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send("POST /up HTTP/1.1\r\nhost: proxy\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send(chunked(&body, 4321));
    let answer = client.response();
    assert_eq!((answer.status, answer.ending), (200, Ending::Whole));
    assert!(answer.body == body);
    assert_eq!(answer.field("content-length"), None);
    let request = origin.last();
    assert_eq!(request.fields("transfer-encoding"), ["chunked"]);
    assert_eq!(request.field("content-length"), None);
    assert!(request.body == body);
}

#[test]
fn a_large_upload_in_the_packet_of_its_head_is_no_large_head() {
    let origin = Origin::answering(|request| ok(request.body.len().to_string()));
    let proxy = Proxy::before(&origin, |s| s.server.max_head = bytesize::ByteSize::kib(1));
    let mut client = proxy.client();
    for _ in 0..3 {
        let body = file(400_000);
        let mut bytes =
            b"PUT /up HTTP/1.1\r\nhost: proxy\r\ncontent-length: 400000\r\n\r\n".to_vec();
        bytes.extend_from_slice(&body);
        client.send(bytes);
        let answer = client.response();
        assert_eq!((answer.status, answer.text().as_str()), (200, "400000"));
    }
    assert_eq!(proxy.stats()["workers"]["bad_heads"], 0);
}

#[test]
fn an_upload_without_content_tells_its_length_of_zero() {
    let origin = Origin::saying(ok(""));
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send("POST /up HTTP/1.1\r\nhost: proxy\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(client.response().status, 200);
    assert_eq!(origin.last().field("content-length").unwrap(), "0");
    assert_eq!(client.get("/").status, 200);
    assert_eq!(origin.last().field("content-length"), None);
    assert_eq!(origin.last().field("transfer-encoding"), None);
}

#[test]
fn repeated_fields_arrive_repeated_and_in_order() {
    let origin = Origin::saying(response(
        "200 OK",
        "Set-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\nset-cookie: a=3\r\nWarning: 1\r\nWarning: 2\r\n",
        "",
    ));
    let proxy = Proxy::before(&origin, |_| {});
    let answer = proxy.client().get_with(
        "/",
        "x-many: 1\r\nX-Many: 2\r\ncookie: a=1\r\ncookie: b=2\r\n",
    );
    assert_eq!(answer.fields("set-cookie"), ["a=1; Path=/", "b=2", "a=3"]);
    assert_eq!(answer.fields("warning"), ["1", "2"]);
    assert_eq!(origin.last().fields("x-many"), ["1", "2"]);
    assert_eq!(origin.last().fields("cookie"), ["a=1", "b=2"]);
}

#[test]
fn nothing_is_added_to_a_request_but_what_a_proxy_adds() {
    let origin = Origin::saying(ok(""));
    let proxy = Proxy::before(&origin, |_| {});
    proxy.client().get_with("/", "accept: x/y\r\n");
    let text = String::from_utf8(origin.last().head).unwrap();
    let mut names: Vec<_> = text
        .split("\r\n")
        .skip(1)
        .filter_map(|line| Some(line.split_once(':')?.0.to_ascii_lowercase()))
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "accept",
            "forwarded",
            "host",
            "via",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-request-id"
        ]
    );
}

#[test]
fn hop_by_hop_fields_and_those_that_connection_names_end_here_both_ways() {
    let origin = Origin::saying(response(
        "200 OK",
        "Connection: X-Mine, keep-alive\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\n\
         Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-Kept: 1\r\n",
        "",
    ));
    let proxy = Proxy::before(&origin, |_| {});
    let answer = proxy.client().get_with(
        "/",
        "Connection: x-secret , X-Other\r\nX-Secret: 1\r\nX-Other: 2\r\nTE: trailers\r\n\
         Trailer: X\r\nUpgrade: websocket\r\nProxy-Connection: keep-alive\r\nKeep-Alive: 5\r\n\
         Proxy-Authorization: Basic x\r\nX-Kept: 1\r\nAuthorization: Bearer y\r\n",
    );
    let request = origin.last();
    for gone in [
        "x-secret",
        "x-other",
        "te",
        "trailer",
        "upgrade",
        "proxy-connection",
        "keep-alive",
        "proxy-authorization",
    ] {
        assert_eq!(request.field(gone), None, "{gone} went to the origin");
    }
    assert!(
        request
            .fields("connection")
            .iter()
            .all(|c| c == "keep-alive")
    );
    assert_eq!(request.field("x-kept").unwrap(), "1");
    assert_eq!(request.field("authorization").unwrap(), "Bearer y");
    for gone in ["x-mine", "keep-alive", "proxy-authenticate", "upgrade"] {
        assert_eq!(answer.field(gone), None, "{gone} went to the client");
    }
    assert_eq!(answer.field("x-kept").unwrap(), "1");
}

#[test]
fn connection_cannot_take_away_what_the_message_needs() {
    let origin = Origin::answering(|request| {
        response(
            "200 OK",
            "Connection: content-length, date\r\n",
            &request.body,
        )
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send(
        "POST /up HTTP/1.1\r\nhost: proxy\r\nconnection: content-length, host, via, \
         x-forwarded-for, x-request-id\r\ncontent-length: 5\r\n\r\nhello",
    );
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    let request = origin.last();
    assert_eq!(request.field("content-length").unwrap(), "5");
    assert_eq!(request.field("host").unwrap(), origin.address().to_string());
    assert_eq!(request.field("x-forwarded-for").unwrap(), "127.0.0.1");
}

#[test]
fn the_origin_learns_who_asked_and_through_whom() {
    let origin = Origin::saying(ok(""));
    let proxy = Proxy::before(&origin, |_| {});
    let answer = proxy.client().get_with(
        "/",
        "via: 1.0 other\r\nx-forwarded-for: 10.9.9.9\r\nx-forwarded-proto: https\r\n\
         x-forwarded-host: bank.example\r\nforwarded: for=10.9.9.9\r\n",
    );
    let request = origin.last();
    assert_eq!(request.field("via").unwrap(), "1.0 other, 1.1 fileproxy");
    assert_eq!(request.field("x-forwarded-for").unwrap(), "127.0.0.1");
    assert_eq!(request.field("x-forwarded-proto").unwrap(), "http");
    assert_eq!(request.field("x-forwarded-host").unwrap(), "proxy");
    assert_eq!(
        request.field("forwarded").unwrap(),
        "for=127.0.0.1;host=\"proxy\";proto=http"
    );
    assert_eq!(answer.field("via").unwrap(), "1.1 fileproxy");
}

#[test]
fn a_trusted_proxy_is_believed_whom_it_asks_for() {
    let origin = Origin::saying(ok(""));
    let proxy = Proxy::before(&origin, |s| {
        s.server.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    proxy.client().get_with(
        "/",
        "x-forwarded-for: 10.9.9.9\r\nx-forwarded-proto: https\r\n\
         x-forwarded-host: bank.example\r\nforwarded: for=10.9.9.9\r\n",
    );
    let request = origin.last();
    assert_eq!(
        request.field("x-forwarded-for").unwrap(),
        "10.9.9.9, 127.0.0.1"
    );
    assert_eq!(request.field("x-forwarded-proto").unwrap(), "https");
    assert_eq!(request.field("x-forwarded-host").unwrap(), "bank.example");
    assert!(
        request
            .field("forwarded")
            .unwrap()
            .starts_with("for=10.9.9.9, for=127.0.0.1")
    );
}

#[test]
fn the_host_that_the_origin_sees_is_a_setting() {
    let origin = Origin::saying(ok(""));
    for (setting, host) in [
        (HostHeader::Origin, origin.address().to_string()),
        (HostHeader::Client, "proxy".to_owned()),
        (
            HostHeader::Fixed("files.example:81".into()),
            "files.example:81".to_owned(),
        ),
    ] {
        let proxy = Proxy::before(&origin, |s| s.origin.host = setting);
        assert_eq!(proxy.get("/").status, 200);
        assert_eq!(origin.last().fields("host"), [host]);
    }
}

#[test]
fn a_request_id_is_taken_or_made_and_told_to_both() {
    let origin = Origin::saying(ok(""));
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    let taken = client.get_with("/", "x-request-id: abc-123\r\n");
    assert_eq!(taken.field("x-request-id").unwrap(), "abc-123");
    assert_eq!(origin.last().field("x-request-id").unwrap(), "abc-123");

    let mut ids = Vec::new();
    for lines in [
        "",
        "",
        "x-request-id: not one word\r\n",
        "x-request-id: \r\n",
    ] {
        let made = client.get_with("/", lines).field("x-request-id").unwrap();
        assert!(made.len() >= 16 && !made.contains(' '), "{made}");
        assert_eq!(origin.last().field("x-request-id").unwrap(), made);
        ids.push(made);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[test]
fn a_client_that_expects_100_continue_gets_it_and_then_the_answer() {
    let origin = Origin::answering(|request| ok(&request.body));
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send(
            "PUT /up HTTP/1.1\r\nhost: proxy\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n",
        );
        let interim = client.head();
        assert!(interim.starts_with(b"HTTP/1.1 100 "), "{interim:?}");
        client.send("hello");
        let answer = client.response();
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
        assert_eq!(origin.last().body, b"hello");
    }
}

#[test]
fn head_tells_the_length_of_what_get_would_send_and_sends_nothing() {
    let origin = Origin::answering(|request| {
        let lines = match &*request.target() {
            b"/length" => "content-length: 12345\r\netag: \"x\"\r\n",
            b"/chunked" => "transfer-encoding: chunked\r\n",
            _ => "x-nothing: 1\r\n",
        };
        format!("HTTP/1.1 200 OK\r\n{lines}\r\n")
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    for (target, length) in [
        ("/length", Some("12345")),
        ("/chunked", None),
        ("/nothing", None),
        ("/length", Some("12345")),
    ] {
        client.send(format!("HEAD {target} HTTP/1.1\r\nhost: proxy\r\n\r\n"));
        let answer = client.response_to_head();
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.field("content-length").as_deref(),
            length,
            "{target}: {answer:?}"
        );
    }
    assert_eq!(origin.connections(), 1, "HEAD must not cost the connection");
}

#[test]
fn conditional_requests_and_304_pass_with_and_without_a_length() {
    let origin = Origin::answering(|request| {
        if request.field("if-none-match").as_deref() == Some("\"v1\"") {
            return b"HTTP/1.1 304 Not Modified\r\netag: \"v1\"\r\ncontent-length: 999\r\n\r\n"
                .to_vec();
        }
        if request.field("if-modified-since").is_some() {
            return b"HTTP/1.1 304 Not Modified\r\nlast-modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n\r\n".to_vec();
        }
        ok("fresh")
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    for _ in 0..2 {
        let matched = client.get_with("/", "if-none-match: \"v1\"\r\n");
        assert_eq!(matched.status, 304);
        assert_eq!(matched.field("etag").unwrap(), "\"v1\"");
        assert!(
            matched
                .field("content-length")
                .is_none_or(|length| length == "999"),
            "{matched:?}"
        );
        let unmodified =
            client.get_with("/", "if-modified-since: Thu, 01 Jan 2026 00:00:00 GMT\r\n");
        assert_eq!(unmodified.status, 304);
        assert_eq!(unmodified.field("content-length"), None, "{unmodified:?}");
        assert_eq!(client.get("/").text(), "fresh");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_204_with_a_length_does_not_hang_and_the_next_request_is_its_own() {
    let origin = Origin::answering(|request| {
        if request.target() == b"/none" {
            b"HTTP/1.1 204 No Content\r\ncontent-length: 7\r\n\r\n".to_vec()
        } else {
            ok("next")
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    for _ in 0..2 {
        let none = client.get("/none");
        assert_eq!(none.status, 204);
        assert_eq!(none.field("content-length"), None, "RFC 9110 §8.6");
        assert_eq!(client.get("/").text(), "next");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_http_1_0_client_gets_every_kind_of_body() {
    let body = file(200_000);
    let coded = chunked(&body, 5000);
    let plain = body.clone();
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            match &*request.target() {
                b"/length" => connection.send(ok(&plain)),
                b"/chunked" => {
                    connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
                    connection.send(&coded)
                }
                _ => {
                    connection.send("HTTP/1.1 200 OK\r\n\r\n");
                    connection.send(&plain);
                    return;
                }
            };
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    for target in ["/length", "/chunked", "/close"] {
        let mut client = proxy.client();
        client.send(format!("GET {target} HTTP/1.0\r\n\r\n"));
        let head = client.head();
        assert!(head.starts_with(b"HTTP/1."), "{head:?}");
        assert_eq!(
            crate::support::message::fields(&head, "transfer-encoding"),
            [""; 0]
        );
        let (rest, end) = client.rest();
        assert_eq!(end, End::Close, "{target}");
        assert!(rest == body, "{target}: {} bytes", rest.len());
    }
    proxy.until_outcomes(Outcome::Completed, 3);
}

#[test]
fn an_http_1_0_client_may_keep_its_connection() {
    let origin = Origin::saying(ok("body"));
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    for _ in 0..3 {
        client.send("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
        let answer = client.response();
        assert_eq!((answer.status, answer.text().as_str()), (200, "body"));
        assert!(
            answer
                .fields("connection")
                .iter()
                .any(|c| c.eq_ignore_ascii_case("keep-alive")),
            "{answer:?}"
        );
    }
}

#[test]
fn an_http_1_0_origin_is_served_like_any_other() {
    let origin = Origin::following(|connection| {
        while let Some(request) = connection.request() {
            match &*request.target() {
                b"/kept" => connection.send(
                    "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 4\r\n\r\nkept",
                ),
                _ => {
                    connection.send("HTTP/1.0 200 OK\r\n\r\nto the close");
                    return;
                }
            };
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    assert_eq!(client.get("/kept").text(), "kept");
    assert_eq!(client.get("/kept").text(), "kept");
    assert_eq!(client.get("/").text(), "to the close");
    assert_eq!(client.get("/kept").text(), "kept");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn pipelined_requests_are_answered_in_order_from_one_packet() {
    let origin = Origin::answering(|request| ok(request.target()));
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    let mut packet = String::new();
    for n in 0..8 {
        packet += &format!("GET /{n} HTTP/1.1\r\nhost: proxy\r\n\r\n");
    }
    packet += "POST /up HTTP/1.1\r\nhost: proxy\r\ncontent-length: 3\r\n\r\nabc";
    packet += "GET /last HTTP/1.1\r\nhost: proxy\r\n\r\n";
    client.send(packet);
    for n in 0..8 {
        assert_eq!(client.response().text(), format!("/{n}"));
    }
    assert_eq!(client.response().text(), "/up");
    assert_eq!(client.response().text(), "/last");
    let posted = origin.requests().into_iter().find(|r| r.method() == "POST");
    assert_eq!(posted.unwrap().body, b"abc");
}

#[test]
fn a_client_that_says_close_gets_its_answer_and_the_end() {
    let origin = Origin::saying(ok("body"));
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    let answer = client.get_with("/", "connection: close\r\n");
    assert_eq!(answer.text(), "body");
    assert!(client.closes());
    // The origin's connection is none of the client's business.
    assert_eq!(proxy.get("/").text(), "body");
    assert!(origin.connections() <= 2);
}

#[test]
fn a_slow_reader_does_not_make_the_proxy_read_a_huge_body() {
    const HUGE: usize = 1 << 30;
    let origin = Origin::following(|connection| {
        while connection.request().is_some() {
            connection.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {HUGE}\r\n\r\n"));
            let piece = vec![b'x'; 64 * 1024];
            for _ in 0..HUGE / piece.len() {
                if !connection.send(&piece) {
                    return;
                }
                connection.took(piece.len());
            }
        }
    });
    // Fixed buffers: the kernel's own may grow to many megabytes.
    let proxy = Proxy::before(&origin, |s| s.optimization.level = Level::Medium);
    let mut client = crate::support::client::Client::with_little_room(proxy.address());
    client.send("GET / HTTP/1.1\r\nhost: proxy\r\n\r\n");
    client.head();
    // Until nothing moves any more: what is under way is what the kernel's buffers and the proxy's hold.
    let mut before = usize::MAX;
    until("the origin is held back", || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let now = origin.taken();
        let still = now == before;
        before = now;
        still.then_some(())
    });
    assert!(
        origin.taken() < 32 << 20,
        "{} bytes were taken for a client that reads none",
        origin.taken()
    );
    // And it goes on where it was.
    client.patient().exactly(1 << 20);
}

#[test]
fn a_slow_origin_does_not_make_the_proxy_swallow_a_huge_upload() {
    let origin = Origin::following(|connection| {
        if connection.head().is_some() {
            connection.wait();
            while connection.piece(1 << 20) > 0 {}
        }
    });
    // Fixed buffers: the kernel's own may grow to many megabytes.
    let proxy = Proxy::before(&origin, |s| s.optimization.level = Level::Medium);
    let mut client = proxy.client();
    client.send(format!(
        "PUT /up HTTP/1.1\r\nhost: proxy\r\ncontent-length: {}\r\n\r\n",
        1_u64 << 40
    ));
    client
        .socket
        .set_write_timeout(Some(std::time::Duration::from_secs(1)))
        .unwrap();
    let piece = vec![0; 64 * 1024];
    let mut sent = 0;
    while std::io::Write::write_all(&mut client.socket, &piece).is_ok() {
        sent += piece.len();
        assert!(sent < 64 << 20, "the proxy takes all that it is sent");
    }
    assert!(sent > 0);
}

#[test]
fn a_response_and_a_request_of_every_size_around_the_buffers_arrive_whole() {
    let origin = Origin::answering(|request| ok(&request.body));
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    for size in [
        1, 2, 4095, 4096, 8191, 8192, 8193, 16_384, 32_767, 32_768, 32_769, 65_535, 65_536, 65_537,
        131_072, 131_073,
    ] {
        let body = file(size);
        client.send(
            [
                format!("POST / HTTP/1.1\r\nhost: p\r\ncontent-length: {size}\r\n\r\n").as_bytes(),
                &body,
            ]
            .concat(),
        );
        let answer = client.patient().response();
        assert_eq!(answer.status, 200, "{size}: {answer:?}");
        assert!(answer.body == body, "{size}");
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_request_that_went_round_eight_times_is_answered_508() {
    let origin = Origin::saying(ok(""));
    let proxy = Proxy::before(&origin, |_| {});
    let via = "via: 1.1 fileproxy\r\n";
    assert_eq!(proxy.client().get_with("/", &via.repeat(7)).status, 200);
    let answer = proxy.client().get_with("/", &via.repeat(8));
    assert_eq!(answer.status, 508);
    answer.problem();
    assert_eq!(origin.hits(), 1);
}

#[test]
fn the_origins_own_errors_pass_as_they_are() {
    let origin = Origin::answering(|request| {
        let status = String::from_utf8(request.target()[1..].to_vec()).unwrap();
        response(
            &format!("{status} Some Words"),
            "retry-after: 7\r\n",
            "sorry",
        )
    });
    let proxy = Proxy::before(&origin, |s| s.rate_limit.min = s.rate_limit.max);
    let mut client = proxy.client();
    for status in [301, 401, 403, 404, 416, 429, 500, 502, 503, 504, 599] {
        let answer = client.get(&format!("/{status}"));
        assert_eq!((answer.status, answer.text().as_str()), (status, "sorry"));
        assert_eq!(answer.field("retry-after").unwrap(), "7");
    }
}
