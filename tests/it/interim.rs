//! Interim responses (RFC 9110 §15.2): passed on to clients that can take them, and never taken for the answer.

use fileproxy::traffic::level::Level;

use crate::support::{
    certificate::Certificate,
    client::Client,
    message,
    origin::{Origin, ok},
    proxy::Proxy,
    secure::{Frame, Frames, Secure, h2, request},
    until,
};

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\nlink: </a.js>; rel=preload\r\n\
                     connection: x-own\r\nx-own: 1\r\nkeep-alive: timeout=5\r\ncontent-length: 5\r\n\r\n";

/// Sends 100, 102 and 103 at once, and the answer when the gate opens.
fn origin() -> Origin {
    Origin::following(|connection| {
        while let Some(request) = connection.request() {
            connection.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n");
            connection.send(HINTS);
            connection.wait();
            connection.send(ok(request.target()));
        }
    })
}

fn reads_both(client: &mut Client, origin: &Origin, target: &str) {
    assert!(client.head().starts_with(b"HTTP/1.1 102 Processing\r\n"));
    let hints = client.head();
    assert_eq!(message::status(&hints), 103);
    assert_eq!(message::fields(&hints, "link").len(), 2);
    for own in [
        "connection",
        "x-own",
        "keep-alive",
        "content-length",
        "date",
    ] {
        assert!(message::fields(&hints, own).is_empty(), "{own}");
    }
    origin.open_gate();
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (200, target));
}

#[test]
fn interim_responses_reach_a_client_of_http11_before_the_answer_and_100_does_not() {
    for level in [Level::Low, Level::High] {
        let origin = origin();
        let proxy = Proxy::before(&origin, |s| s.optimization.level = level);
        let mut client = proxy.client();
        client.send("GET /a HTTP/1.1\r\nhost: proxy\r\n\r\n");
        reads_both(&mut client, &origin, "/a");
        // With a body, and with another request behind it.
        client.send(
            "POST /b HTTP/1.1\r\nhost: proxy\r\ncontent-length: 2\r\n\r\nhi\
             GET /c HTTP/1.1\r\nhost: proxy\r\n\r\n",
        );
        reads_both(&mut client, &origin, "/b");
        reads_both(&mut client, &origin, "/c");
        assert_eq!(origin.connections(), 1);
        assert_eq!(proxy.published().clients.interim.get(), 6);
    }
}

#[test]
fn a_client_that_expects_100_gets_one_and_then_what_the_origin_says() {
    let origin = origin();
    origin.open_gate();
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send(
        "PUT /up HTTP/1.1\r\nhost: proxy\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
    );
    assert!(client.head().starts_with(b"HTTP/1.1 100 Continue\r\n"));
    client.send("hi");
    reads_both(&mut client, &origin, "/up");
}

#[test]
fn a_client_of_http10_gets_none() {
    let origin = origin();
    origin.open_gate();
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send("GET /old HTTP/1.0\r\nhost: proxy\r\n\r\n");
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (200, "/old"));
}

#[test]
fn over_tls_they_pass_as_well() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = Proxy::before(&origin, |s| certificate.show(s));
    let mut client = Secure::to(proxy.address(), &certificate, &["http/1.1"]).unwrap();
    client.send("GET /a HTTP/1.1\r\nhost: proxy\r\n\r\n");
    assert_eq!(message::status(&client.head()), 102);
    assert_eq!(message::status(&client.head()), 103);
    origin.open_gate();
    assert_eq!(message::status(&client.head()), 200);
}

#[test]
fn over_http2_they_come_before_the_answer_and_100_does_not() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = Proxy::before(&origin, |s| certificate.show(s));
    let mut client = Frames::to(proxy.address(), &certificate, &[]);
    for stream in [1, 3] {
        client.get(stream, "/a");
        for status in ["102", "103"] {
            let head = client.until(Frame::HEADERS, stream);
            assert_eq!(head.flags, 0x4, "END_HEADERS alone");
            // The place of `:status` in the static table, and its value as it is.
            assert_eq!(&head.payload[..5], format!("\x08\x03{status}").as_bytes());
            let text = String::from_utf8_lossy(&head.payload);
            assert_eq!(
                text.matches("rel=preload").count(),
                if status == "103" { 2 } else { 0 }
            );
            assert!(
                !text.contains("x-own") && !text.contains("timeout"),
                "{text}"
            );
        }
        origin.open_gate();
        assert_eq!(client.until(Frame::DATA, stream).payload, b"/a");
    }
}

#[actix_rt::test]
async fn over_http2_the_answer_comes_whole_whatever_came_before_it() {
    let (origin, certificate) = (origin(), Certificate::new());
    origin.open_gate();
    let proxy = Proxy::before(&origin, |s| certificate.show(s));
    let mut client = h2(proxy.address(), &certificate).await;
    for _ in 0..3 {
        let (head, body) = crate::support::secure::answer(&mut client, request("GET", "/a")).await;
        assert_eq!((head.status.as_u16(), body.unwrap()), (200, b"/a".to_vec()));
    }
}

#[test]
fn a_client_that_reads_nothing_does_not_make_the_proxy_keep_all_that_an_origin_hints() {
    let origin = Origin::following(|connection| {
        if connection.request().is_some() {
            let hint = format!(
                "HTTP/1.1 103 Early Hints\r\nlink: {}\r\n\r\n",
                "x".repeat(4000)
            );
            for _ in 0..5000 {
                if !connection.send(&hint) {
                    return;
                }
            }
            connection.send(ok("at last"));
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = Client::with_little_room(proxy.address());
    client.send("GET / HTTP/1.1\r\nhost: proxy\r\n\r\n");
    until("some are left out", || {
        (proxy.published().clients.interim_dropped.get() > 0).then_some(())
    });
    // What did go out is whole, and so is the answer.
    loop {
        let answer = client.patient().response();
        if answer.status == 200 {
            assert_eq!(answer.text(), "at last");
            break;
        }
        assert_eq!(answer.field("link").unwrap().len(), 4000);
    }
}
