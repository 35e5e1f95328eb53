//! What a request is for: over both versions, what is no target or no host never gets to the origin.

use fileproxy::path::origin::settings::HostHeader;

use crate::support::{
    certificate::Certificate,
    message,
    origin::{Origin, ok},
    proxy::Proxy,
    secure::{Frame, Frames},
};

/// A literal field, never indexed.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0x10, u8::try_from(name.len()).unwrap()];
    field.extend(name.as_bytes());
    field.push(u8::try_from(value.len()).unwrap());
    field.extend(value.as_bytes());
    field
}

/// Asks over HTTP/2: whether it was answered 200. What is not must be reset for a protocol error, or answered 400.
fn asked(proxy: &Proxy, certificate: &Certificate, fields: &[(&str, &str)]) -> bool {
    let mut client = Frames::to(proxy.address(), certificate, &[]);
    let block: Vec<u8> = fields.iter().flat_map(|(n, v)| field(n, v)).collect();
    client.send(Frame::HEADERS, 0x5, 1, &block);
    loop {
        let frame = client.next().expect("an answer");
        match frame.kind {
            Frame::HEADERS => {
                // :status 200 and 400 are in the static table (RFC 7541, appendix A).
                assert!(matches!(frame.payload[0], 0x88 | 0x8c), "{frame:?}");
                return frame.payload[0] == 0x88;
            }
            Frame::RST_STREAM => {
                assert_eq!(frame.code(), 1, "PROTOCOL_ERROR");
                return false;
            }
            _ => {}
        }
    }
}

#[test]
fn over_http2_what_is_no_path_does_not_get_to_the_origin() {
    let (origin, certificate) = (Origin::saying(ok("")), Certificate::new());
    let proxy = Proxy::before(&origin, |s| certificate.show(s));
    let ask = |method, path| {
        let fields = [
            (":method", method),
            (":scheme", "https"),
            (":path", path),
            (":authority", "proxy"),
        ];
        asked(&proxy, &certificate, &fields)
    };
    for path in [
        "http://other.example/x",
        "other.example:80",
        "x",
        "@other.example/x",
        "?q",
        "*",
        "",
    ] {
        assert!(!ask("GET", path), "{path}");
    }
    assert_eq!(origin.hits(), 0);
    assert!(ask("OPTIONS", "*") && ask("GET", "//a/b?c"));
    let targets: Vec<_> = origin.requests().iter().map(|r| r.target()).collect();
    assert_eq!(targets, [&b"*"[..], b"//a/b?c"]);
}

#[test]
fn over_http2_a_request_names_one_valid_host() {
    let (origin, certificate) = (Origin::saying(ok("")), Certificate::new());
    let proxy = Proxy::before(&origin, |s| certificate.show(s));
    let ask = |more: &[(&str, &str)]| {
        let mut fields = vec![(":method", "GET"), (":scheme", "https"), (":path", "/")];
        fields.extend(more);
        asked(&proxy, &certificate, &fields)
    };
    for host in ["", "a b", "a/b", "a,b", "u@a", "a#b", "a:x", "a:99999"] {
        assert!(!ask(&[(":authority", host)]), "{host}");
        assert!(!ask(&[("host", host)]), "{host}");
        assert!(!ask(&[(":authority", "proxy"), ("host", host)]), "{host}");
    }
    assert!(!ask(&[]));
    assert!(!ask(&[(":authority", "a"), ("host", "b")]));
    assert!(!ask(&[("host", "a"), ("host", "a")]));
    assert_eq!(origin.hits(), 0);
    assert!(ask(&[("host", "a:8443")]));
    assert!(ask(&[(":authority", "a:443"), ("host", "A")]));
}

#[test]
fn over_http1_what_is_no_target_and_no_host_is_answered_400() {
    let origin = Origin::saying(ok(""));
    let proxy = Proxy::before(&origin, |_| {});
    let ask = |line: &str, host: &str| {
        let mut client = proxy.client();
        client.send(format!("{line}\r\nhost: {host}\r\n\r\n"));
        let head = client.head();
        message::status(&head)
    };
    for target in [
        "a",
        "a/b",
        "@b/x",
        "?q",
        "b.example:80",
        "*",
        "ftp://b.example/x",
        "http://u@b.example/x",
        "http://b,c/x",
        "http:///x",
        "/a#b",
    ]
    .into_iter()
    {
        assert_eq!(ask(&format!("GET {target} HTTP/1.1"), "a"), 400, "{target}");
    }
    for host in [
        "", "a b", "a/b", "a, b", "u@a", "a#b", "a:x", "[::1", "a\tb",
    ] {
        assert_eq!(ask("GET / HTTP/1.1", host), 400, "{host}");
        assert_eq!(ask("GET http://b/ HTTP/1.1", host), 400, "{host}");
        assert_eq!(ask("GET / HTTP/1.0", host), 400, "{host}");
    }
    assert_eq!(origin.hits(), 0);
    assert_eq!(ask("GET // HTTP/1.1", "[::1]:80"), 200);
}

#[test]
fn an_absolute_target_without_a_path_is_the_root_also_under_the_path_of_the_origins_url() {
    let origin = Origin::saying(ok(""));
    let url = format!("http://{}/base", origin.address());
    let proxy = Proxy::before(&origin, |s| s.origin.host = HostHeader::Client);
    let based = Proxy::before(&url, |_| {});
    for (url, target, under) in [
        ("http://b.example?x=1", "/?x=1", "/base/?x=1"),
        ("http://b.example", "/", "/base/"),
        ("http://b.example/x", "/x", "/base/x"),
    ] {
        for (proxy, right) in [(&proxy, target), (&based, under)] {
            let mut client = proxy.client();
            client.send(format!("GET {url} HTTP/1.1\r\nhost: a\r\n\r\n"));
            assert_eq!(client.response().status, 200);
            assert_eq!(origin.last().target(), right.as_bytes());
        }
    }
}
