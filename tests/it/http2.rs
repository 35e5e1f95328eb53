//! HTTP/2 to clients: the same promises as over HTTP/1.1, for each stream; and the limits that floods meet.

use std::time::Duration;

use bytes::Bytes;
use fileproxy::{settings::Settings, traffic::sample::Outcome};
use h2::Reason;

use crate::support::{
    DEADLINE,
    certificate::Certificate,
    client::{little_room, socket_from},
    eventually,
    origin::{Origin, file, ok, response},
    proxy::{Proxy, TOKEN},
    secure::{Frame, Frames, Secure, answer, h2, h2_with, request, whole},
    until,
};

/// `/film` comes in two halves, the other when the gate opens; `/cut` breaks; `/slow` never comes; `/large` has 8 MiB.
fn origin() -> Origin {
    Origin::following(|connection| {
        while let Some(request) = connection.request() {
            let fine = match &request.target()[..] {
                b"/film" => {
                    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst");
                    connection.wait();
                    connection.send("other")
                }
                b"/cut" => {
                    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst");
                    return;
                }
                b"/cut-chunk" => {
                    connection.send(
                        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n",
                    );
                    return;
                }
                b"/slow" => {
                    connection.stall();
                    return;
                }
                b"/large" => connection.send(ok(vec![b'x'; 8 << 20])),
                b"/none" => connection.send("HTTP/1.1 204 No Content\r\n\r\n"),
                b"/same" => connection
                    .send("HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\netag: \"a\"\r\n\r\n"),
                b"/hops" => connection.send(response(
                    "200 OK",
                    "keep-alive: timeout=5\r\nx-kept: 1\r\n",
                    "file",
                )),
                _ if request.method() == "HEAD" => {
                    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")
                }
                _ => connection.send(ok("file")),
            };
            if !fine {
                return;
            }
        }
    })
}

/// Answers 413 as soon as it has the head.
fn early() -> Origin {
    Origin::following(|connection| {
        while connection.head().is_some() {
            if !connection.send(response("413 Payload Too Large", "", "too large")) {
                return;
            }
        }
    })
}

fn proxy(origin: &Origin, certificate: &Certificate, change: impl FnOnce(&mut Settings)) -> Proxy {
    Proxy::before(origin, |s| {
        certificate.show(s);
        change(s);
    })
}

#[actix_rt::test]
async fn a_request_and_its_response_pass_as_over_http1() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |_| {});
    let mut client = h2(proxy.address(), &certificate).await;

    let mut get = request("GET", "/a?b=c");
    get.headers_mut().append("cookie", "a=1".parse().unwrap());
    get.headers_mut().append("cookie", "b=2".parse().unwrap());
    let (head, body) = answer(&mut client, get).await;
    assert_eq!(
        (head.status.as_u16(), body.unwrap()),
        (200, b"file".to_vec())
    );
    assert_eq!(head.headers["content-length"], "4");
    assert_eq!(head.headers["via"], "1.1 fileproxy");
    assert!(head.headers.contains_key("date") && head.headers.contains_key("x-request-id"));
    let sent = origin.last();
    assert_eq!(sent.target(), b"/a?b=c");
    for (name, value) in [
        ("cookie", "a=1; b=2"),
        ("via", "2.0 fileproxy"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "proxy"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(sent.field(name).as_deref(), Some(value), "{name}");
    }

    let (head, body) = answer(&mut client, request("GET", "/hops")).await;
    assert_eq!(body.unwrap(), b"file");
    assert_eq!(head.headers["x-kept"], "1");
    assert!(!head.headers.contains_key("keep-alive") && !head.headers.contains_key("connection"));

    let (head, body) = answer(&mut client, request("HEAD", "/a")).await;
    assert_eq!(
        (&head.headers["content-length"], body.unwrap().len()),
        (&"4".parse().unwrap(), 0)
    );
    let (head, body) = answer(&mut client, request("GET", "/none")).await;
    assert_eq!((head.status.as_u16(), body.unwrap().len()), (204, 0));
    let (head, body) = answer(&mut client, request("GET", "/same")).await;
    assert_eq!((head.status.as_u16(), body.unwrap().len()), (304, 0));
    assert_eq!(head.headers["content-length"], "7");
    proxy.until_outcomes(Outcome::Completed, 5);
}

#[actix_rt::test]
async fn an_upload_arrives_whole_with_a_length_and_without() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |_| {});
    let mut client = h2(proxy.address(), &certificate).await;
    let text = Bytes::from(vec![b'u'; 3 << 20]);
    for length in [Some(text.len()), None] {
        let mut post = request("POST", "/up");
        if let Some(length) = length {
            post.headers_mut().insert("content-length", length.into());
        }
        let (response, mut body) = client.send_request(post, false).unwrap();
        let mut left = text.clone();
        while !left.is_empty() {
            body.reserve_capacity(left.len());
            let room = std::future::poll_fn(|cx| body.poll_capacity(cx)).await;
            let part = left.split_to(room.unwrap().unwrap().min(left.len()));
            body.send_data(part, left.is_empty()).unwrap();
        }
        assert_eq!(response.await.unwrap().status(), 200);
        let sent = origin.last();
        let told = sent.field("content-length").map(|l| l.parse().unwrap());
        assert_eq!(told, length);
        assert_eq!(sent.body.len(), text.len());
    }
}

#[test]
fn a_request_that_tells_of_a_body_and_has_none_is_reset_and_does_not_count_against_the_origin() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |_| {});
    let mut client = Frames::to(proxy.address(), &certificate, &[]);
    let mut post = Frames::fields("/a");
    post[0] = 0x83;
    // content-length: 5
    post.extend(b"\x0f\x0d\x015");
    client.send(Frame::HEADERS, 0x5, 1, &post);
    let reset = client.until(Frame::RST_STREAM, 1);
    assert_eq!(reset.code(), u32::from(Reason::PROTOCOL_ERROR));
    client.get(3, "/a");
    assert_eq!(client.until(Frame::DATA, 3).payload, b"file");
    assert_eq!(origin.hits(), 1);
}

/// HEADERS of `POST https://proxy/up` with these fields.
fn post(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Frames::fields("/up");
    block[0] = 0x83;
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

#[test]
fn lengths_that_differ_or_are_not_true_are_protocol_errors_and_the_origin_is_not_asked() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |_| {});
    let mut client = Frames::to(proxy.address(), &certificate, &[]);
    let differing = post(&[("content-length", "4"), ("content-length", "5")]);
    client.send(Frame::HEADERS, 0x4, 1, &differing);
    client.send(Frame::DATA, 1, 1, b"12345");
    let zero = post(&[("content-length", "0")]);
    client.send(Frame::HEADERS, 0x4, 3, &zero);
    client.send(Frame::DATA, 1, 3, b"12345");
    for (stream, length) in [(5, "4,5"), (7, "-1"), (9, "x"), (11, "")] {
        let bad = post(&[("content-length", length)]);
        client.send(Frame::HEADERS, 0x5, stream, &bad);
    }
    let mut left: Vec<u32> = vec![1, 3, 5, 7, 9, 11];
    while !left.is_empty() {
        let frame = client.next().expect("resets");
        assert_ne!(frame.kind, Frame::HEADERS, "{frame:?}");
        if frame.kind == Frame::RST_STREAM {
            assert_eq!(frame.code(), u32::from(Reason::PROTOCOL_ERROR), "{frame:?}");
            left.retain(|stream| *stream != frame.stream);
        }
    }
    assert_eq!(origin.hits(), 0);
    // What is told twice is told; and a body of nothing may come in a frame of its own.
    let same = post(&[("content-length", "5"), ("content-length", "5")]);
    client.send(Frame::HEADERS, 0x4, 13, &same);
    client.send(Frame::DATA, 1, 13, b"12345");
    assert_eq!(client.until(Frame::DATA, 13).payload, b"file");
    assert_eq!(origin.last().body, b"12345");
    client.send(Frame::HEADERS, 0x4, 15, &zero);
    client.send(Frame::DATA, 1, 15, b"");
    assert_eq!(client.until(Frame::DATA, 15).payload, b"file");
    assert_eq!(origin.last().field("content-length").as_deref(), Some("0"));
}

#[test]
fn a_client_that_waits_for_100_gets_it_when_its_body_is_wanted() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |_| {});
    let mut client = Frames::to(proxy.address(), &certificate, &[]);
    let expecting = post(&[("content-length", "5"), ("expect", "100-continue")]);
    for stream in [1, 3] {
        client.send(Frame::HEADERS, 0x4, stream, &expecting);
        let head = client.until(Frame::HEADERS, stream);
        assert_eq!((&head.payload[..], head.flags), (&b"\x08\x03100"[..], 4));
        client.send(Frame::DATA, 1, stream, b"12345");
        let head = client.until(Frame::HEADERS, stream);
        assert_eq!(head.payload[0], 0x88, "200");
        assert_eq!(client.until(Frame::DATA, stream).payload, b"file");
        assert_eq!(origin.last().body, b"12345");
    }
    // Who does not wait is not told to go on.
    client.0.send(frames(&[
        (Frame::HEADERS, 4, 5, &expecting),
        (Frame::DATA, 1, 5, b"12345"),
    ]));
    assert_eq!(client.until(Frame::HEADERS, 5).payload[0], 0x88);
}

/// Frames as bytes.
fn frames(frames: &[(u8, u8, u32, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, flags, stream, payload) in frames {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        bytes.extend(&length[1..]);
        bytes.extend([*kind, *flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(*payload);
    }
    bytes
}

/// The table of fields is smaller than by default: the library must say so with the next head, so there is no other.
#[test]
fn a_client_with_a_small_table_gets_no_interim_response() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |_| {});
    let mut client = Frames::to(proxy.address(), &certificate, &[(1, 0)]);
    let expecting = post(&[("content-length", "5"), ("expect", "100-continue")]);
    client.send(Frame::HEADERS, 0x4, 1, &expecting);
    client.send(Frame::DATA, 1, 1, b"12345");
    // A size update to zero goes before the status (RFC 7541 §6.3).
    assert_eq!(client.until(Frame::HEADERS, 1).payload[..2], [0x20, 0x88]);
}

#[test]
fn curl_sends_what_it_was_asked_to_wait_with() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |_| {});
    let output = curl(
        &proxy,
        &certificate,
        &["-v", "-H", "expect: 100-continue", "-d", "12345"],
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("HTTP/2 100") && said.contains("HTTP/2 200"),
        "{said}"
    );
    assert_eq!(origin.last().body, b"12345");
}

fn curl(proxy: &Proxy, certificate: &Certificate, arguments: &[&str]) -> std::process::Output {
    let port = proxy.address().port();
    std::process::Command::new("curl")
        .args(["-sS", "--http2", "--expect100-timeout", "60", "--cacert"])
        .arg(certificate.ca_file())
        .arg("--resolve")
        .arg(format!("localhost:{port}:127.0.0.1"))
        .args(arguments)
        .arg(format!("https://localhost:{port}/up"))
        .output()
        .unwrap()
}

#[test]
fn curl_reads_an_answer_that_came_before_its_whole_upload() {
    let (origin, certificate) = (early(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |_| {});
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("upload");
    std::fs::write(&file, vec![b'u'; 5 << 20]).unwrap();
    let port = proxy.address().port();
    let output = std::process::Command::new("curl")
        .args(["-sS", "--http2", "-w", " %{http_code}", "--cacert"])
        .arg(certificate.ca_file())
        .arg("--resolve")
        .arg(format!("localhost:{port}:127.0.0.1"))
        .arg("-T")
        .arg(file)
        .arg(format!("https://localhost:{port}/up"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.ends_with("large 413"), "{output:?}");
}

#[actix_rt::test]
async fn the_operators_endpoints_answer_too() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |_| {});
    let mut client = h2(proxy.address(), &certificate).await;
    let (head, body) = answer(&mut client, request("GET", "/health")).await;
    assert_eq!(head.status, 200);
    assert!(
        String::from_utf8(body.unwrap())
            .unwrap()
            .contains("uptime_seconds")
    );
    let mut post = request("POST", "/admin/optimization");
    let token = format!("Bearer {TOKEN}").parse().unwrap();
    post.headers_mut().insert("authorization", token);
    let (response, mut body) = client.send_request(post, false).unwrap();
    body.send_data(r#"{"level": "low"}"#.into(), true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    let (head, _) = answer(&mut client, request("DELETE", "/health")).await;
    assert_eq!(head.status, 405);
    assert_eq!(origin.connections(), 0);
}

#[actix_rt::test]
async fn a_body_that_breaks_resets_its_stream_and_no_other() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |_| {});
    let mut client = h2(proxy.address(), &certificate).await;
    let (film, _) = client.send_request(request("GET", "/film"), true).unwrap();
    let film = film.await.unwrap().into_body();
    for path in ["/cut", "/cut-chunk"] {
        let (head, body) = answer(&mut client, request("GET", path)).await;
        assert_eq!(head.status, 200);
        let error = body.unwrap_err();
        assert!(error.is_reset() && error.is_remote(), "{error}");
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
    }
    origin.open_gate();
    assert_eq!(whole(film).await.unwrap(), b"firstother");
}

#[actix_rt::test]
async fn a_request_that_is_given_up_ends_at_the_origin_and_no_other_does() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |_| {});
    let mut client = h2(proxy.address(), &certificate).await;
    let (film, _) = client.send_request(request("GET", "/film"), true).unwrap();
    let film = film.await.unwrap().into_body();
    // Before the head, and in the middle of a body.
    let (slow, mut given_up) = client.send_request(request("GET", "/slow"), true).unwrap();
    eventually("it is at the origin", || async {
        (origin.hits() == 2).then_some(())
    })
    .await;
    given_up.send_reset(Reason::CANCEL);
    drop(slow);
    let (large, mut given_up) = client.send_request(request("GET", "/large"), true).unwrap();
    let large = large.await.unwrap();
    given_up.send_reset(Reason::CANCEL);
    drop(large);
    // Let the library send it.
    eventually("both are over", || async {
        (proxy.outcomes(Outcome::ClientLeft) == 2).then_some(())
    })
    .await;
    origin.open_gate();
    assert_eq!(whole(film).await.unwrap(), b"firstother");
}

#[test]
fn a_client_that_leaves_ends_all_its_requests() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |_| {});
    let mut client = Frames::to(proxy.address(), &certificate, &[]);
    client.get(1, "/slow").get(3, "/film").get(5, "/slow");
    until("all are at the origin", || {
        (origin.hits() == 3).then_some(())
    });
    drop(client);
    proxy.until_outcomes(Outcome::ClientLeft, 3);
    until("nothing is left", || {
        let clients = &proxy.published().clients;
        (clients.open.get() == 0 && clients.requests.get() == 0).then_some(())
    });
}

#[test]
fn a_stream_that_the_client_does_not_read_is_reset_and_the_rest_goes_on() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |s| {
        s.server.send_timeout = Duration::from_millis(300);
    });
    // SETTINGS_INITIAL_WINDOW_SIZE: ten bytes of each body, then no more.
    let mut client = Frames::to(proxy.address(), &certificate, &[(4, 10)]);
    client.get(1, "/large");
    assert_eq!(client.until(Frame::DATA, 1).payload.len(), 10);
    let reset = client.until(Frame::RST_STREAM, 1);
    assert_eq!(reset.code(), u32::from(Reason::CANCEL));
    until("it is counted", || {
        (proxy.published().clients.send_timeouts.get() == 1).then_some(())
    });
    client.get(3, "/a");
    assert_eq!(client.until(Frame::DATA, 3).payload, b"file");
}

#[test]
fn a_connection_whose_socket_is_not_read_is_ended() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |s| {
        s.server.send_timeout = Duration::from_millis(300);
    });
    // Windows as wide as they get: only the socket is in the way.
    let wide = 0x7fff_ffff;
    let mut client = Frames::to(proxy.address(), &certificate, &[(4, wide)]);
    client.send(8, 0, 0, &(wide - 65_535).to_be_bytes());
    for stream in 0..20 {
        client.get(stream * 2 + 1, "/large");
    }
    until("it is ended", || {
        let clients = &proxy.published().clients;
        (clients.open.get() == 0 && clients.requests.get() == 0).then_some(())
    });
    assert!(proxy.published().clients.send_timeouts.get() >= 1);
}

#[test]
fn more_streams_at_once_than_allowed_are_refused() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |s| s.http2.max_streams = 3);
    let mut client = Frames::to(proxy.address(), &certificate, &[]);
    // It is told so (SETTINGS_MAX_CONCURRENT_STREAMS), and does not care.
    let settings = client.until(Frame::SETTINGS, 0);
    assert!(settings.payload.chunks(6).any(|s| s == [0, 3, 0, 0, 0, 3]));
    for stream in [1, 3, 5, 7] {
        client.get(stream, "/slow");
    }
    let refused = client.until(Frame::RST_STREAM, 7);
    assert_eq!(refused.code(), u32::from(Reason::REFUSED_STREAM));
    until("three are at the origin", || {
        (origin.hits() == 3).then_some(())
    });
}

#[test]
fn more_requests_over_all_connections_than_connections_may_be_are_refused() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |s| s.server.max_connections = 4);
    let mut one = Frames::to(proxy.address(), &certificate, &[]);
    one.get(1, "/slow").get(3, "/slow");
    let mut other = Frames::to(proxy.address(), &certificate, &[]);
    other.get(1, "/slow").get(3, "/slow");
    until("four are at the origin", || {
        (origin.hits() == 4).then_some(())
    });
    other.get(5, "/a");
    let refused = other.until(Frame::RST_STREAM, 5);
    assert_eq!(refused.code(), u32::from(Reason::REFUSED_STREAM));
}

#[test]
fn connections_without_a_request_make_room_for_others_where_one_client_has_them_all() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |s| s.server.max_connections = 9);
    let mut silent: Vec<_> = (0..8)
        .map(|_| Frames::to(proxy.address(), &certificate, &[]))
        .collect();
    let mut busy = Frames::to(proxy.address(), &certificate, &[]);
    busy.get(1, "/slow");
    until("it is at the origin", || (origin.hits() == 1).then_some(()));
    let socket = socket_from([127, 0, 0, 2].into(), proxy.address());
    let io = Secure::over(socket, &certificate, &["h2"]).unwrap();
    let mut other = Frames::over(io, &[]);
    other.get(1, "/a");
    other.until(Frame::HEADERS, 1);
    silent[0].until(Frame::GOAWAY, 0);
    let clients = &proxy.published().clients;
    assert_eq!(
        (clients.over_limit.get(), clients.idle_closed.get()),
        (0, 1)
    );
}

/// CVE-2023-44487.
#[test]
fn a_flood_of_requests_given_up_ends_the_connection() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |s| s.http2.max_resets = 10);
    let clients = &proxy.published().clients;
    let mut client = Frames::to(proxy.address(), &certificate, &[]);
    for n in 0..11 {
        client.get(n * 2 + 1, "/slow");
        until("it is at the origin", || {
            (origin.hits() == n as usize + 1).then_some(())
        });
        // The eleventh may find the connection ended.
        _ = client.reset(n * 2 + 1);
    }
    let goodbye = client.until(Frame::GOAWAY, 0);
    assert_eq!(goodbye.code(), u32::from(Reason::ENHANCE_YOUR_CALM));
    assert_eq!(clients.reset_floods.get(), 1);

    // As fast as it goes.
    let mut client = Frames::to(proxy.address(), &certificate, &[]);
    let mut sent = 0;
    while sent < 100_000 {
        let stream = sent * 2 + 1;
        let asked = client.try_send(Frame::HEADERS, 0x5, stream, &Frames::fields("/slow"));
        if asked.and_then(|()| client.reset(stream)).is_err() {
            break;
        }
        sent += 1;
    }
    assert!(sent < 100_000, "it must not take them all");
    until("both are closed", || {
        (clients.open.get() == 0).then_some(())
    });
    // Far fewer reached the origin than were sent.
    assert!(origin.hits() < 100, "{} of {sent}", origin.hits());
    let mut other = Frames::to(proxy.address(), &certificate, &[]);
    other.get(1, "/a");
    assert_eq!(other.until(Frame::DATA, 1).payload, b"file");
}

/// CVE-2025-8671: the client makes the proxy reset streams, so that they count no more, and opens others.
#[test]
fn a_stream_that_must_be_reset_counts_until_its_request_is_over() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |s| s.http2.max_streams = 3);
    let mut client = Frames::to(proxy.address(), &certificate, &[]);
    for stream in [1, 3, 5] {
        client.get(stream, "/slow");
    }
    until("three are at the origin", || {
        (origin.hits() == 3).then_some(())
    });
    for stream in [1, 3, 5] {
        // A window that overflows is an error of the stream (RFC 9113 §6.9.1).
        client.send(8, 0, stream, &0x7fff_ffffu32.to_be_bytes());
        let reset = client.until(Frame::RST_STREAM, stream);
        assert_eq!(reset.code(), u32::from(Reason::FLOW_CONTROL_ERROR));
    }
    let over = |proxy: &Proxy| proxy.outcomes(Outcome::ClientLeft) as usize;
    for stream in (7..107).step_by(2) {
        client.get(stream, "/slow");
        client.send(8, 0, stream, &0x7fff_ffffu32.to_be_bytes());
        client.until(Frame::RST_STREAM, stream);
        assert!(origin.hits() <= 3 + over(&proxy) + 3, "{}", origin.hits());
    }
}

#[test]
fn requests_given_up_at_the_pace_of_a_viewer_are_fine() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |s| s.http2.max_resets = 10);
    let mut client = Frames::to(proxy.address(), &certificate, &[]);
    for n in 0..8 {
        let stream = n * 2 + 1;
        client.get(stream, "/slow");
        until("it is at the origin", || {
            (origin.hits() == n as usize + 1).then_some(())
        });
        client.reset(stream).unwrap();
    }
    proxy.until_outcomes(Outcome::ClientLeft, 8);
    client.get(101, "/a");
    assert_eq!(client.until(Frame::DATA, 101).payload, b"file");
    assert_eq!(proxy.published().clients.reset_floods.get(), 0);
}

/// CVE-2019-9512, 9515, 9518 and their kind.
#[test]
fn a_flood_of_frames_that_bring_nothing_ends_the_connection() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |s| s.http2.max_small_frames = 100);
    let clients = &proxy.published().clients;
    let one = 1u32.to_be_bytes();
    let floods: [(&str, u8, u8, u32, &[u8]); 9] = [
        ("PING", 6, 0, 0, b"12345678"),
        ("an answer to no PING", 6, 1, 0, b"12345678"),
        ("SETTINGS", Frame::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]),
        ("PRIORITY", 2, 0, 5, &[0, 0, 0, 0, 16]),
        ("WINDOW_UPDATE", 8, 0, 0, &one),
        ("WINDOW_UPDATE of a stream", 8, 0, 1, &one),
        ("an unknown type", 0x77, 0, 0, b""),
        ("empty DATA", Frame::DATA, 0, 1, b""),
        ("DATA of padding", Frame::DATA, 8, 1, &[99; 100]),
    ];
    for (ended, (name, kind, flags, stream, payload)) in floods.into_iter().enumerate() {
        let mut client = Frames::to(proxy.address(), &certificate, &[]);
        // POST: a body may come.
        let mut post = Frames::fields("/slow");
        post[0] = 0x83;
        client.send(Frame::HEADERS, 0x4, 1, &post);
        // Until the connection is closed, or for long enough.
        _ = (0..10_000).all(|_| client.try_send(kind, flags, stream, payload).is_ok());
        until(name, || {
            let floods = clients.frame_floods.get() as usize;
            (floods == ended + 1 && clients.open.get() == 0).then_some(())
        });
    }
    // It is told why, if it listens.
    let mut client = Frames::to(proxy.address(), &certificate, &[]);
    client.until(Frame::SETTINGS, 0);
    client.0.send([0, 0, 0, 0x77, 0, 0, 0, 0, 0].repeat(150));
    let goodbye = client.until(Frame::GOAWAY, 0);
    assert_eq!(goodbye.code(), u32::from(Reason::ENHANCE_YOUR_CALM));
}

#[test]
fn a_client_that_opens_its_windows_by_little_steps_is_no_flood() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |s| s.http2.max_small_frames = 100);
    let step = 512;
    let mut client = Frames::to(proxy.address(), &certificate, &[(4, step)]);
    client.get(1, "/large");
    let mut got = 0;
    while got < 1 << 20 {
        got += client.until(Frame::DATA, 1).payload.len();
        for stream in [0, 1] {
            client.send(8, 0, stream, &step.to_be_bytes());
        }
    }
    assert_eq!(proxy.published().clients.frame_floods.get(), 0);
}

#[actix_rt::test]
async fn a_header_list_that_is_too_long_is_answered_431() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |s| {
        s.server.max_head = bytesize::ByteSize::kib(8);
    });
    let mut client = h2(proxy.address(), &certificate).await;
    let mut large = request("GET", "/a");
    let value = "x".repeat(9000).parse().unwrap();
    large.headers_mut().insert("x-large", value);
    let (head, _) = answer(&mut client, large).await;
    assert_eq!(head.status, 431);
    assert_eq!(origin.connections(), 0);
}

/// CVE-2024-27316: a head that never ends.
#[test]
fn a_flood_of_continuations_ends_the_connection() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |_| {});
    let mut client = Frames::to(proxy.address(), &certificate, &[]);
    client.send(Frame::HEADERS, 0x1, 1, &Frames::fields("/a"));
    // A literal field of 16 KiB, never indexed, again and again.
    let mut field = vec![0x10, 1, b'x', 0x7f, 0xf9, 0x7e];
    field.extend(vec![b'v'; 16_376 - field.len()]);
    let mut sent = 0;
    while sent < 10_000 && client.try_send(Frame::CONTINUATION, 0, 1, &field).is_ok() {
        sent += 1;
    }
    assert!(sent < 10_000, "it must not take 160 MB of one head");
    until("it is closed", || {
        (proxy.published().clients.open.get() == 0).then_some(())
    });
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_connection_without_a_request_is_closed_and_so_is_an_idle_one() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |s| {
        s.server.head_timeout = Duration::from_millis(300);
        s.server.keep_alive = Duration::from_millis(600);
    });
    // Not even the preface.
    let mut silent = Secure::to(proxy.address(), &certificate, &["h2"]).unwrap();
    silent.rest();
    let mut begun = Frames::to(proxy.address(), &certificate, &[]);
    // Half a head is no request. Behind it nothing else may come, so the settings are seen to first.
    begun.until(Frame::SETTINGS, 0);
    begun.send(Frame::HEADERS, 0x1, 1, &Frames::fields("/a"));
    let mut idle = Frames::to(proxy.address(), &certificate, &[]);
    idle.get(1, "/a");
    assert_eq!(idle.until(Frame::DATA, 1).payload, b"file");
    for client in [&mut begun, &mut idle] {
        assert_eq!(client.until(Frame::GOAWAY, 0).code(), 0);
        while client.next().is_some() {}
    }
    until("all are closed", || {
        (proxy.published().clients.open.get() == 0).then_some(())
    });
}

#[actix_rt::test]
async fn draining_says_goaway_and_lets_a_transfer_end() {
    let (origin, certificate) = (origin(), Certificate::new());
    let mut proxy = proxy(&origin, &certificate, |_| {});
    let mut client = h2(proxy.address(), &certificate).await;
    let (film, _) = client.send_request(request("GET", "/film"), true).unwrap();
    let film = film.await.unwrap().into_body();
    proxy.drain();
    // The library takes no more requests once the GOAWAY is here.
    let refused = tokio::time::timeout(DEADLINE, async {
        loop {
            match client.clone().ready().await {
                Ok(mut client) => {
                    // Sent before it was heard: answered, or refused.
                    _ = client.send_request(request("GET", "/a"), true);
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Err(_) => return,
            }
        }
    });
    refused.await.expect("a GOAWAY");
    origin.open_gate();
    assert_eq!(whole(film).await.unwrap(), b"firstother");
    drop(client);
    actix_rt::task::spawn_blocking(move || proxy.until_ended())
        .await
        .unwrap();
}

#[actix_rt::test]
async fn the_window_of_uploads_grows_as_the_origin_takes_them_within_a_budget_of_the_process() {
    let (origin, certificate) = (origin(), Certificate::new());
    let widest = 1 << 20;
    for (windows, most) in [
        (128 << 20, (widest - 65_535) * 2),
        (200_000, 65_535 * 2),
        (0, 0),
    ] {
        let proxy = proxy(&origin, &certificate, |s| {
            s.http2.windows = bytesize::ByteSize(windows);
        });
        let granted = &proxy.published().clients.upload_windows;
        let mut client = h2(proxy.address(), &certificate).await;
        let text = Bytes::from(file(5 << 20));
        assert_eq!(granted.get(), 0);
        let (response, mut body) = client.send_request(request("POST", "/up"), false).unwrap();
        let mut left = text.clone();
        while !left.is_empty() {
            body.reserve_capacity(left.len());
            let room = std::future::poll_fn(|cx| body.poll_capacity(cx)).await;
            let part = left.split_to(room.unwrap().unwrap().min(left.len()));
            body.send_data(part, left.is_empty()).unwrap();
        }
        assert_eq!(response.await.unwrap().status(), 200);
        assert!(origin.last().body == text, "another body");
        assert_eq!(granted.get(), most);
        drop((body, client));
        eventually("it is given back", || async {
            (granted.get() == 0).then_some(())
        })
        .await;
    }
}

#[test]
fn a_body_that_comes_in_frames_of_any_size_arrives_whole_and_a_window_is_kept_to() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |_| {});
    let mut client = Frames::to(proxy.address(), &certificate, &[]);
    client.send(Frame::HEADERS, 0x4, 1, &post(&[]));
    let text = file(60_000);
    let mut left = &text[..];
    for size in [1, 0, 100, 5000, 1, 16_384, 3].into_iter().cycle() {
        let (piece, rest) = left.split_at(size.min(left.len()));
        client.send(Frame::DATA, u8::from(rest.is_empty()), 1, piece);
        left = rest;
        if left.is_empty() {
            break;
        }
    }
    assert_eq!(client.until(Frame::DATA, 1).payload, b"file");
    assert!(origin.last().body == text, "another body");
}

#[test]
fn an_upload_that_the_origin_does_not_take_holds_up_no_other_on_its_connection() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |s| {
        s.optimization.level = fileproxy::traffic::level::Level::Low;
        s.levels.low.connections = 2;
        s.levels.low.connections_per_host = 2;
    });
    let mut client = Frames::to(proxy.address(), &certificate, &[]);
    client.get(1, "/film").get(3, "/slow");
    until("all places are taken", || {
        (origin.hits() == 2).then_some(())
    });
    let full = vec![b'a'; 16_383];
    for stream in [5, 7] {
        client.send(Frame::HEADERS, 0x4, stream, &post(&[]));
    }
    for _ in 0..4 {
        client.send(Frame::DATA, 0, 5, &full);
    }
    // The connection takes as much again of the other.
    client.send(Frame::DATA, 1, 7, &full);
    origin.open_gate();
    client.reset(5).unwrap();
    let ended = |frame: &Frame| frame.stream == 7 && frame.kind == Frame::DATA;
    while !ended(&client.next().expect("no GOAWAY")) {}
    // The other one may have begun before it was given up.
    let whole = origin
        .requests()
        .into_iter()
        .find(|request| request.body == full);
    assert!(whole.is_some(), "the upload did not come whole");
}

/// A client that reads slowly, with a response of this length under way that the library and the kernel have all of.
fn slow_reader(proxy: &Proxy, certificate: &Certificate, length: usize) -> Frames {
    let socket = little_room(proxy.address());
    let io = Secure::over(socket, certificate, &["h2"]).unwrap();
    let wide = 0x7fff_ffff;
    let mut client = Frames::over(io, &[(4, wide)]);
    client.send(8, 0, 0, &(wide - 65_535).to_be_bytes());
    client.get(1, &format!("/{length}"));
    client.until(Frame::HEADERS, 1);
    until("all is handed over", || {
        (proxy.outcomes(Outcome::Completed) == 1).then_some(())
    });
    client
}

/// Answers with as many bytes as the target says.
fn sized() -> Origin {
    Origin::following(|connection| {
        while let Some(request) = connection.request() {
            let target = String::from_utf8(request.target()[1..].to_vec()).unwrap();
            if !connection.send(ok(vec![b'x'; target.parse().unwrap()])) {
                return;
            }
        }
    })
}

/// Reads a response of 100 KB, which lies in the proxy and the kernels, over more than so long: whether it is whole.
fn read_slowly(client: &mut Frames, time: Duration, chatty: bool) -> usize {
    let mut got = 0;
    while let Some(frame) = client.next() {
        if frame.kind != Frame::DATA {
            continue;
        }
        got += frame.payload.len();
        if frame.flags & 1 == 1 {
            break;
        }
        std::thread::sleep(time * u32::try_from(frame.payload.len()).unwrap() / 100_000);
        // Every client opens its windows as it reads; some do it rarely.
        if chatty && !frame.payload.is_empty() {
            let step = u32::try_from(frame.payload.len()).unwrap().to_be_bytes();
            client.send(8, 0, 0, &step);
        }
    }
    got
}

/// Longer than a client has to say that it heard the GOAWAY.
const LONG: Duration = Duration::from_secs(8);

#[test]
fn a_response_that_is_still_read_is_not_cut_when_the_connection_counts_as_idle() {
    let (origin, certificate) = (sized(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |s| {
        s.server.keep_alive = Duration::from_millis(100);
        s.server.send_timeout = Duration::from_secs(3);
    });
    let mut client = slow_reader(&proxy, &certificate, 100_000);
    assert_eq!(read_slowly(&mut client, LONG, true), 100_000);
    // Then it is idle, and is closed as ever.
    assert_eq!(client.until(Frame::GOAWAY, 0).code(), 0);
    while client.next().is_some() {}
}

#[test]
fn a_response_that_is_still_read_is_not_cut_by_a_drain() {
    let read = |chatty| {
        let (origin, certificate) = (sized(), Certificate::new());
        let mut proxy = proxy(&origin, &certificate, |s| {
            s.server.send_timeout = Duration::from_secs(3);
        });
        let mut client = slow_reader(&proxy, &certificate, 100_000);
        proxy.drain();
        assert_eq!(read_slowly(&mut client, LONG, chatty), 100_000, "{chatty}");
        drop(client);
        proxy.until_ended();
    };
    // Both take their time, at once.
    std::thread::scope(|scope| {
        scope.spawn(|| read(true));
        read(false);
    });
}

#[test]
fn a_client_that_reads_no_more_is_not_waited_for_at_a_drain() {
    let (origin, certificate) = (sized(), Certificate::new());
    let mut proxy = proxy(&origin, &certificate, |s| {
        s.server.send_timeout = Duration::from_millis(500);
        s.server.drain_timeout = Duration::from_secs(3600);
    });
    let _client = slow_reader(&proxy, &certificate, 100_000);
    proxy.drain();
    proxy.until_ended();
}

#[actix_rt::test]
async fn a_body_larger_than_every_window_comes_whole_to_a_client_that_reads_in_time() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |s| {
        s.server.send_timeout = Duration::from_secs(2);
    });
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(16 * 1024);
    let mut client = h2_with(proxy.address(), &certificate, &builder).await;
    let bodies = (0..4).map(|_| {
        let (response, _) = client.send_request(request("GET", "/large"), true).unwrap();
        async move {
            whole(response.await.unwrap().into_body())
                .await
                .unwrap()
                .len()
        }
    });
    let lengths = futures_util::future::join_all(bodies).await;
    assert_eq!(lengths, [8 << 20; 4]);
    assert_eq!(proxy.published().clients.send_timeouts.get(), 0);
}

#[test]
fn without_http2_alpn_chooses_http1() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = proxy(&origin, &certificate, |s| {
        s.http2.enabled = false;
        s.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    });
    let mut client = Secure::to(proxy.address(), &certificate, &["h2", "http/1.1"]).unwrap();
    assert_eq!(client.protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(client.get("/a").0, 200);
    // Offered from the next connection on.
    assert_eq!(proxy.reload(|s| s.http2.enabled = true).status, 200);
    let client = Secure::to(proxy.address(), &certificate, &["h2", "http/1.1"]).unwrap();
    assert_eq!(client.protocol(), Some(&b"h2"[..]));
}
