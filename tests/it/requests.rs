//! Several requests on one connection of HTTP/1.1: each is answered as if it came alone, however the bytes are cut, and
//! what is no HTTP ends the connection with nothing behind it answered or passed on.

use std::{sync::OnceLock, thread, time::Duration};

use fileproxy::{
    path::{refusal::Refusal, request_reader::RequestReader},
    traffic::{level::Level, sample::Outcome},
};
use proptest::prelude::*;
use tokio::io::ReadBuf;

use crate::support::{
    client::{Client, End, Ending, Response},
    origin::{Origin, ok, response},
    program::Program,
    proxy::Proxy,
    until,
};

/// An origin that says what it was asked for, and with which body.
fn echo() -> Origin {
    Origin::answering(|request| {
        let said = [
            request.method().as_bytes(),
            b" ",
            &request.target(),
            b" ",
            &request.body,
        ]
        .concat();
        match request.method().as_str() {
            "HEAD" => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", said.len()).into(),
            _ => ok(said),
        }
    })
}

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: p\r\n\r\n";

#[test]
fn a_request_with_a_body_is_answered_by_itself_whatever_comes_behind_it_in_one_packet() {
    for level in [Level::Low, Level::High] {
        let origin = echo();
        let proxy = Proxy::before(&origin, |s| s.optimization.level = level);
        for (method, body, sent) in [
            ("GET", "content-length: 0\r\n\r\n", ""),
            ("POST", "content-length: 0\r\n\r\n", ""),
            ("GET", "content-length: 3\r\n\r\nabc", "abc"),
            ("POST", "content-length: 3\r\n\r\nabc", "abc"),
            (
                "PUT",
                "transfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n",
                "abc",
            ),
        ] {
            let first = format!("{method} /one HTTP/1.1\r\nhost: p\r\n{body}");
            let mut client = proxy.client();
            client.send(format!(
                "{first}HEAD /two HTTP/1.1\r\nhost: p\r\n\r\n{first}GET /three HTTP/1.0\r\n\r\n"
            ));
            let answer = format!("{method} /one {sent}");
            assert_eq!(client.response().text(), answer);
            let told = client.response_to_head().field("content-length");
            assert_eq!(told.unwrap(), "HEAD /two ".len().to_string());
            let again = client.response();
            assert_eq!(again.text(), answer);
            assert!(again.head.starts_with(b"HTTP/1.1 "), "{again:?}");
            let last = client.response();
            assert_eq!(last.text(), "GET /three ");
            assert!(last.head.starts_with(b"HTTP/1.0 "), "{last:?}");
            assert!(client.closes());
        }
    }
}

#[test]
fn a_request_is_not_begun_before_the_answer_to_the_one_before_is_out() {
    let origin = Origin::following(|connection| {
        while let Some(request) = connection.request() {
            if request.target() == b"/one" {
                connection.wait();
            }
            connection.send(ok(request.target()));
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send(format!(
        "POST /one HTTP/1.1\r\nhost: p\r\ncontent-length: 3\r\n\r\nabc{SMUGGLED}"
    ));
    until("the first is there", || (origin.hits() == 1).then_some(()));
    assert_eq!(proxy.get("/other").text(), "/other");
    assert_eq!(origin.hits(), 2);
    origin.open_gate();
    assert_eq!(client.response().text(), "/one");
    assert_eq!(client.response().text(), "/smuggled");
}

#[test]
fn an_offer_to_switch_protocols_is_ignored_and_not_passed_on() {
    let offers = [
        "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
        "upgrade: h2c\r\n",
        "connection: upgrade\r\n",
        "connection: keep-alive, Upgrade\r\nupgrade: TLS/1.0, HTTP/2.0\r\n",
        "upgrade: websocket\r\n",
        "connection: upgrade\r\nupgrade: h2c, websocket\r\n",
    ];
    let bodies = [
        ("GET", "\r\n", ""),
        ("POST", "content-length: 5\r\n\r\nhello", "hello"),
        (
            "POST",
            "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "hello",
        ),
    ];
    let origin = echo();
    let proxy = Proxy::before(&origin, |_| {});
    for offer in offers {
        let mut client = proxy.client();
        for (method, body, sent) in bodies {
            client.send(format!(
                "{method} / HTTP/1.1\r\nhost: p\r\nx-kept: 1\r\n{offer}{body}"
            ));
            let answer = client.response();
            assert_eq!(answer.text(), format!("{method} / {sent}"), "{offer}");
            assert_eq!(answer.field("connection"), None, "{offer}");
            assert_eq!(answer.field("upgrade"), None, "{offer}");
            let last = origin.last();
            assert_eq!(last.field("x-kept").unwrap(), "1");
            for name in ["upgrade", "http2-settings"] {
                assert_eq!(last.field(name), None, "{offer}");
            }
            let connection = last.field("connection").unwrap_or_default();
            assert!(!connection.to_ascii_lowercase().contains("upgrade"));
        }
        // And a head that comes in pieces.
        let text = format!("GET /cut HTTP/1.1\r\nhost: p\r\n{offer}\r\n");
        let (begin, end) = text.split_at(30);
        client.send(begin);
        thread::sleep(Duration::from_millis(5));
        client.send(end);
        assert_eq!(client.response().text(), "GET /cut ", "{offer}");
    }
}

#[test]
fn an_upload_with_a_length_ends_there_whatever_it_offers() {
    let origin = echo();
    let proxy = Proxy::before(&origin, |_| {});
    for connection in ["connection: Upgrade\r\n", ""] {
        let mut client = proxy.client();
        client.send(format!(
            "POST /u HTTP/1.1\r\nhost: p\r\n{connection}upgrade: websocket\r\ncontent-length: 5\r\n\r\nhello{SMUGGLED}"
        ));
        assert_eq!(client.response().text(), "POST /u hello");
        assert_eq!(client.response().text(), "GET /smuggled ");
    }
}

#[test]
fn a_websocket_that_the_origin_does_not_take_gets_its_plain_answer_whole() {
    let chunked = "HTTP/1.1 403 Forbidden\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    for (answer, body) in [
        (chunked.as_bytes().to_vec(), "abcdefg"),
        (response("426 Upgrade Required", "", "no"), "no"),
        (ok(""), ""),
    ] {
        let origin = Origin::saying(&answer);
        let proxy = Proxy::before(&origin, |_| {});
        let mut client = proxy.client();
        client.send(
            "GET /ws HTTP/1.1\r\nhost: p\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        let got = client.response();
        assert_eq!(got.text(), body, "{got:?}");
        assert_ne!(got.ending, Ending::Reset);
        assert_eq!(got.field("connection").unwrap(), "close");
        assert!(client.closes());
    }
}

/// Bodies in chunks that are no HTTP, or that some server could read in another way.
const BAD_BODIES: [&str; 32] = [
    "0\r\n\n",
    "0\n\r\n",
    "0\n\n",
    "3\nabc\r\n0\r\n\r\n",
    "3\r\nabc\n0\r\n\r\n",
    "3\r\nabc\r\n0\r\nX: y\n\r\n",
    "3\r\nabc\r\n0\r\nnonsense\r\n\r\n",
    "3\r\nabc\r\n0\r\nX: \0\r\n\r\n",
    "3\r\nabc\r\n0\r\nX: a\r\n b\r\n\r\n",
    "3\r\nabc\r\n0\r\n X: a\r\n\r\n",
    "3\r\nabc\r\n0\r\nX : a\r\n\r\n",
    "3\r\nabc\r\n0\r\nX: a\rb\r\n\r\n",
    "3\r\nabc\r\n0\r\nGET /smuggled HTTP/1.1\r\nHost: p\r\n\r\n",
    "0\r\nContent-Length: 40\r\n\r\n",
    "0\r\ntransfer-encoding: chunked\r\n\r\n",
    "0\r\nHost: other\r\n\r\n",
    "0\r\nAuthorization: Basic eDp5\r\n\r\n",
    "+3\r\nabc\r\n0\r\n\r\n",
    "-3\r\nabc\r\n0\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n",
    "3_\r\nabc\r\n0\r\n\r\n",
    "1_0\r\nabc\r\n0\r\n\r\n",
    " 3\r\nabc\r\n0\r\n\r\n",
    "3 3\r\nabc\r\n0\r\n\r\n",
    "\r\n3\r\nabc\r\n0\r\n\r\n",
    "3;a\nb\r\nabc\r\n0\r\n\r\n",
    "3;\0\r\nabc\r\n0\r\n\r\n",
    "3\r\nabcd\r\n0\r\n\r\n",
    "4\r\nabc\r\n0\r\n\r\n",
    "10000000000000003\r\nabc\r\n0\r\n\r\n",
    "fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "0;\x0b\r\n\r\n",
];

#[test]
fn a_body_that_can_be_read_in_two_ways_is_answered_400_and_nothing_behind_it() {
    for level in [Level::Low, Level::High] {
        let origin = Origin::following(|connection| {
            while connection.request().is_some() {
                connection.took(1);
                connection.send(ok("taken for whole"));
            }
        });
        let proxy = Proxy::before(&origin, |s| s.optimization.level = level);
        let head = "POST /one HTTP/1.1\r\nhost: p\r\ntransfer-encoding: chunked\r\n\r\n";
        let in_flight = || proxy.published().clients.requests.get();
        for (n, body) in (1..).zip(BAD_BODIES) {
            let mut client = proxy.client();
            let hits = origin.hits();
            client.send(format!("{head}{body}{SMUGGLED}"));
            let answer = client.response();
            assert_eq!(answer.status, 400, "{body:?}: {answer:?}");
            answer.problem();
            assert_eq!(answer.field("connection").unwrap(), "close");
            assert!(client.closes(), "{body:?}: more than one answer");
            // In one packet with its head, nobody hears of it.
            assert_eq!(origin.hits(), hits, "{body:?}");
            assert_eq!(proxy.stats()["workers"]["bad_bodies"], n * 2 - 1);

            // Behind a head that is on its way already, the origin never takes it for whole.
            let mut client = proxy.client();
            client.send(format!("{head}2\r\nxy\r\n"));
            until("it begins", || (in_flight() == 1).then_some(()));
            client.send(format!("{body}{SMUGGLED}"));
            let answer = client.response();
            assert_eq!(answer.status, 400, "{body:?}: {answer:?}");
            assert!(client.closes(), "{body:?}: more than one answer");
            drop(client);
            until("it ends", || (in_flight() == 0).then_some(()));
            assert_eq!(proxy.stats()["workers"]["bad_bodies"], n * 2);
        }
        proxy.until_outcomes(Outcome::ClientFault, BAD_BODIES.len() as u64);
        assert_eq!(origin.taken(), 0);
    }
}

#[test]
fn floods_of_extensions_and_trailers_are_answered_400() {
    let origin = echo();
    let proxy = Proxy::before(&origin, |_| {});
    for body in [
        format!("1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(8000)),
        format!("1;{}\r\nx\r\n", "x".repeat(2000)).repeat(100),
        format!("{}1\r\nx\r\n0\r\n\r\n", "0".repeat(8000)),
        format!("0\r\n{}\r\n", "x: y\r\n".repeat(10_000)),
        format!("0\r\nx: {}\r\n\r\n", "y".repeat(40_000)),
    ] {
        let mut client = proxy.client();
        let head = "POST /one HTTP/1.1\r\nhost: p\r\ntransfer-encoding: chunked\r\n\r\n";
        client.send(format!("{head}{body}{SMUGGLED}"));
        assert_eq!(client.response().status, 400);
        assert!(client.closes());
    }
    assert!(origin.requests().iter().all(|r| r.target() == b"/one"));
}

#[test]
fn a_broken_body_behind_a_whole_answer_ends_the_connection_in_order() {
    let origin = Origin::following(|connection| {
        if connection.head().is_some() {
            connection.send(response("413 Content Too Large", "", "too much"));
            while connection.piece(64 * 1024) > 0 {}
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send("POST /one HTTP/1.1\r\nhost: p\r\ntransfer-encoding: chunked\r\n\r\nea60\r\n");
    client.send(vec![b'x'; 60_000]).send("\r\n");
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (413, "too much"));
    client.send(format!("zz\r\n\r\n{SMUGGLED}"));
    let (rest, _) = client.rest();
    assert_eq!(String::from_utf8_lossy(&rest), "");
    assert_eq!(origin.hits(), 1);
}

#[test]
fn behind_an_answer_that_ends_the_connection_nothing_goes_on() {
    let origin = Origin::following(|connection| {
        if connection.head().is_some() {
            connection.send(response("413 Content Too Large", "", "too much"));
            while connection.piece(64 * 1024) > 0 {}
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send("POST /one HTTP/1.1\r\nhost: p\r\ncontent-length: 100000\r\n\r\n");
    client.send(vec![b'x'; 60_000]);
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (413, "too much"));
    assert_eq!(answer.field("connection").unwrap(), "close");
    _ = client.try_send(vec![b'x'; 40_000]);
    _ = client.try_send(SMUGGLED);
    let (rest, end) = client.rest();
    assert_eq!((rest, end), (Vec::new(), End::Close));
    assert_eq!(origin.hits(), 1);
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it_and_one_answer() {
    let origin = echo();
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    for target in ["/one", "/two"] {
        client.send(format!(
            "PUT {target} HTTP/1.1\r\nhost: p\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"
        ));
        assert_eq!(client.response().status, 100);
        client.send("hello");
        assert_eq!(client.response().text(), format!("PUT {target} hello"));
    }
    // An endpoint of the proxy's own: the 100 is not taken for its answer.
    client.send(
        "POST /admin/optimization HTTP/1.1\r\nhost: p\r\nexpect: 100-continue\r\n\
         authorization: Bearer the-admin-token\r\ncontent-length: 16\r\n\r\n",
    );
    assert_eq!(client.response().status, 100);
    client.send(format!(
        "{{\"level\": \"low\"}}HEAD /two HTTP/1.1\r\nhost: p\r\n\r\n{SMUGGLED}"
    ));
    assert_eq!(client.response().status, 200);
    assert_eq!(client.response_to_head().status, 200);
    assert_eq!(client.response().text(), "GET /smuggled ");
}

#[test]
fn a_client_of_http_1_0_keeps_its_connection_where_it_asks_for_that() {
    let origin = echo();
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send(
            "POST /u HTTP/1.0\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nhi\
             GET /g HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        );
        for body in ["POST /u hi", "GET /g "] {
            let answer = client.response();
            assert_eq!(answer.text(), body);
            assert_eq!(answer.field("connection").unwrap(), "keep-alive");
        }
    }
    client.send("GET /last HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().text(), "GET /last ");
    assert!(client.closes());
}

#[test]
fn an_upload_of_many_megabytes_passes_whole_with_a_request_behind_it() {
    let origin = Origin::answering(|request| ok(request.body.len().to_string()));
    let proxy = Proxy::before(&origin, |_| {});
    let size = 20_000_000;
    for head in ["content-length: 20000000", "transfer-encoding: chunked"] {
        let mut client = proxy.client();
        let mut sender = client.socket.try_clone().unwrap();
        let text = format!("PUT / HTTP/1.1\r\nhost: p\r\n{head}\r\n\r\n");
        let chunked = head.starts_with('t');
        let sending = thread::spawn(move || {
            use std::io::Write as _;
            sender.write_all(text.as_bytes()).unwrap();
            let piece = vec![b'x'; 100_000];
            for _ in 0..size / piece.len() {
                if chunked {
                    sender.write_all(b"186A0;a=b\r\n").unwrap();
                }
                sender.write_all(&piece).unwrap();
                if chunked {
                    sender.write_all(b"\r\n").unwrap();
                }
            }
            if chunked {
                sender.write_all(b"0\r\nx-sum: 1\r\n\r\n").unwrap();
            }
            sender.write_all(SMUGGLED.as_bytes()).unwrap();
        });
        assert_eq!(client.response().text(), size.to_string());
        assert_eq!(client.response().text(), "0");
        sending.join().unwrap();
    }
}

#[test]
fn a_refused_head_gets_an_access_line_without_a_word_of_it_and_a_flood_few() {
    let origin = echo();
    let program = Program::before(&format!("http://{}", origin.address()), "");
    let refused = |bytes: &str| {
        let mut client = program.client();
        client.send(bytes);
        let status = client.response().status;
        client.rest();
        status
    };
    let secret = "authorization: Bearer s3cr3t";
    let twice = "content-length: 1\r\ncontent-length: 2";
    let bad = format!("POST /p4th?t0ken HTTP/1.1\r\nhost: p\r\n{secret}\r\n{twice}\r\n\r\nx");
    assert_eq!(refused(&bad), 400);
    let line = program.until_logged("refused");
    assert_eq!(line["target"], "access", "{line}");
    assert_eq!(line["status"], 400);
    assert_eq!(line["outcome"], "client_fault");
    assert_eq!(line["client"], "127.0.0.1");
    assert!(
        line["cause"]
            .as_str()
            .unwrap()
            .contains("how long the body is")
    );
    for word in ["s3cr3t", "p4th", "t0ken"] {
        assert!(!line.to_string().contains(word), "{line}");
    }
    for _ in 0..200 {
        assert_eq!(refused("garbage\r\n\r\n"), 400);
    }
    program.client().get("/the-last");
    let mut lines = 0;
    loop {
        let line = program.next_line();
        if line["path"] == "/the-last" {
            break;
        }
        lines += u64::from(line["message"] == "refused");
    }
    // 20 at once and one a second: a machine that needs a minute for this writes 80.
    assert!((19..120).contains(&lines), "{lines} lines");
}

/// One request, and what a server of HTTP/1.1 reads of it.
#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    number: u16,
    bytes: Vec<u8>,
    body: Vec<u8>,
}

prop_compose! {
    fn asked()(
        method in prop::sample::select(vec!["GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS"]),
        number in any::<u16>(),
        framing in 0..4_u8,
        body in prop::collection::vec(any::<u8>(), 0..400),
        chunks in prop::collection::vec(1..120_usize, 1..6),
        extension in "(;[a-z]{1,8}(=[a-z0-9]{0,8})?){0,2}",
        trailers in prop::collection::vec(("x-[a-z]{1,10}", "[!-~]{0,20}"), 0..3),
        lines in prop::collection::vec(("x-[a-z]{1,10}", "[!-~]{0,30}"), 0..4),
        offer in prop::sample::select(vec!["", "", "Upgrade: h2c\r\n", "Connection: upgrade\r\nUpgrade: h2c\r\n"]),
        before in prop::sample::select(vec!["", "", "\r\n"]),
    ) -> Asked {
        let body = if framing < 2 || method == "HEAD" { Vec::new() } else { body };
        let mut bytes = format!("{before}{method} /{number} HTTP/1.1\r\nHost: p\r\n{offer}").into_bytes();
        for (name, value) in &lines {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        match framing {
            0 => bytes.extend_from_slice(b"\r\n"),
            3 => {
                bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                let mut left = &body[..];
                for size in chunks.iter().cycle() {
                    if left.is_empty() {
                        break;
                    }
                    let (chunk, rest) = left.split_at((*size).min(left.len()));
                    bytes.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                    left = rest;
                }
                bytes.extend_from_slice(b"0\r\n");
                for (name, value) in &trailers {
                    bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
                }
                bytes.extend_from_slice(b"\r\n");
            }
            _ => {
                bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                bytes.extend_from_slice(&body);
            }
        }
        Asked { method, number, bytes, body }
    }
}

/// Cuts `bytes` at these places.
fn cut<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2)
        .map(|ends| &bytes[ends[0]..ends[1]])
        .filter(|piece| !piece.is_empty())
        .collect()
}

/// Feeds a reader as a connection does, through buffers of `room` bytes; what it hands on for each request.
fn read(pieces: &[&[u8]], room: usize) -> Result<Vec<Vec<u8>>, Refusal> {
    let mut reader = RequestReader::new(64 * 1024);
    let mut handed: Vec<Vec<u8>> = Vec::new();
    let mut pieces = pieces.iter().flat_map(|piece| piece.chunks(room));
    let mut space = vec![0; room];
    loop {
        let before = reader.requests();
        let mut buf = ReadBuf::new(&mut space);
        reader.release(&mut buf)?;
        let mut ended = false;
        if buf.filled().is_empty() {
            if reader.waits() {
                // The answer to what was handed on so far.
                reader.answer();
                continue;
            }
            match pieces.next() {
                Some(piece) => {
                    buf.put_slice(piece);
                    reader.accept(&mut buf, 0)?;
                }
                None => ended = true,
            }
        }
        assert!(reader.requests() <= before + 1, "two at once");
        if reader.requests() > before {
            handed.push(Vec::new());
        }
        if let Some(request) = handed.last_mut() {
            request.extend_from_slice(buf.filled());
        }
        if ended {
            // Empty lines before a head go on or not.
            let heads = handed
                .iter()
                .map(|request| request.trim_ascii_start().to_vec());
            return Ok(heads.collect());
        }
    }
}

/// One proxy for all cases.
fn echoing() -> &'static Proxy {
    static ECHOING: OnceLock<Proxy> = OnceLock::new();
    ECHOING.get_or_init(|| {
        let origin = echo();
        let proxy = Proxy::before(&origin, |s| s.rate_limit.min = s.rate_limit.max);
        // It must outlive the test.
        std::mem::forget(origin);
        proxy
    })
}

fn answer(client: &mut Client, to: &Asked) -> Response {
    match to.method {
        "HEAD" => client.response_to_head(),
        _ => client.response(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_reader_hands_on_each_request_by_itself_however_the_bytes_are_cut(
        asked in prop::collection::vec(asked(), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        room in 1..2000_usize,
    ) {
        let bytes: Vec<u8> = asked.iter().flat_map(|asked| asked.bytes.clone()).collect();
        let alone: Vec<_> = asked
            .iter()
            .map(|asked| read(&[&asked.bytes], 64 * 1024).unwrap().concat())
            .collect();
        prop_assert_eq!(&read(&cut(&bytes, &cuts), room).unwrap(), &alone);
        let single: Vec<_> = bytes.chunks(1).collect();
        prop_assert_eq!(&read(&single, room).unwrap(), &alone);
    }

    #[test]
    fn a_reader_hands_on_nothing_behind_what_is_no_http(
        asked in prop::collection::vec(asked(), 0..3),
        bad in prop::sample::select(BAD_BODIES.to_vec()),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        room in 1..2000_usize,
    ) {
        let head = "POST /bad HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut bytes: Vec<u8> = asked.iter().flat_map(|asked| asked.bytes.clone()).collect();
        bytes.extend_from_slice(format!("{head}{bad}{SMUGGLED}").as_bytes());
        prop_assert!(matches!(read(&cut(&bytes, &cuts), room), Err(Refusal::Body(_))));
    }

    #[test]
    fn a_reader_takes_any_bytes_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        begin in prop::sample::select(vec!["", "GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"]),
        room in 1..200_usize,
    ) {
        _ = read(&[begin.as_bytes(), &bytes], room);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn requests_in_one_go_are_answered_as_when_sent_one_by_one(
        asked in prop::collection::vec(asked(), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        bad in prop::option::of(prop::sample::select(BAD_BODIES.to_vec())),
    ) {
        let mut bytes: Vec<u8> = asked.iter().flat_map(|asked| asked.bytes.clone()).collect();
        if let Some(bad) = bad {
            let head = "POST /bad HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n";
            bytes.extend_from_slice(format!("{head}{bad}{SMUGGLED}").as_bytes());
        }
        let mut client = echoing().client();
        for piece in cut(&bytes, &cuts) {
            if client.try_send(piece).is_err() {
                break;
            }
        }
        for one in &asked {
            let answer = answer(&mut client, one);
            prop_assert_eq!(answer.status, 200, "{:?}", answer);
            if one.method != "HEAD" {
                let said = [one.method.as_bytes(), format!(" /{} ", one.number).as_bytes(), &one.body].concat();
                prop_assert_eq!(answer.body, said);
            }
        }
        if bad.is_some() {
            prop_assert_eq!(client.response().status, 400);
            prop_assert!(client.closes());
        } else {
            client.shut();
            let (rest, end) = client.rest();
            prop_assert_eq!((rest, end), (Vec::new(), End::Close));
        }
    }
}

#[test]
fn an_offer_that_is_taken_lets_every_byte_pass() {
    let mut reader = RequestReader::new(1024);
    let head = b"GET /ws HTTP/1.1\r\nHost: p\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut space = [0; 200];
    let mut buf = ReadBuf::new(&mut space);
    buf.put_slice(&[head, &b"\x81\x00early"[..]].concat());
    reader.accept(&mut buf, 0).unwrap();
    assert_eq!(buf.filled(), head);
    assert!(reader.offers_websocket() && reader.waits());
    reader.switch();
    buf.clear();
    reader.release(&mut buf).unwrap();
    assert_eq!(buf.filled(), b"\x81\x00early");
    buf.clear();
    buf.put_slice(b"POST / HTTP/1.1\r\n\0\n\r\n");
    reader.accept(&mut buf, 0).unwrap();
    assert_eq!(buf.filled(), b"POST / HTTP/1.1\r\n\0\n\r\n");
}
