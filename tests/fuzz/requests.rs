//! A client's requests over HTTP/1.1: heads, bodies, several in one go, and what they are for. What goes on never depends on
//! how the bytes came.

use actix_http::{
    Method, Uri, Version,
    header::{self, HeaderMap, HeaderValue},
};
use bytes::BytesMut;
use fileproxy::path::{
    body_scan::{BadBody, BodyScan},
    framing::{Decoder, Framing, Step},
    head_scan::HeadScan,
    refusal::Refusal,
    request_head::{Offer, RequestFraming, RequestHead, remove_offer},
    request_reader::RequestReader,
    target::Target,
};
use tokio::io::ReadBuf;

pub const TARGET: crate::Target = crate::Target {
    name: "requests",
    words: WORDS,
    check,
};

const WORDS: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST /a?b HTTP/1.1\r\n",
    "GET http://b.example:80/x HTTP/1.1\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "Host: a.example\r\n",
    "Host: [::1]:80\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 18446744073709551615\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: upgrade, close\r\n",
    "Upgrade: websocket\r\n",
    "Upgrade: h2c\r\n",
    "HTTP2-Settings: AAMAAABk\r\n",
    "Expect: 100-continue\r\n",
    "\r\n\r\n",
    "\r\n",
    "\n",
    "\r",
    " ",
    ":",
    ",",
    "#",
    "@",
    "%2f",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nX: y\r\n\r\n",
    "0\r\nHost: y\r\n\r\n",
    "ffffffffffffffff\r\n",
    ";a=b",
];

/// No input is as long.
const MAX_HEAD: usize = 1 << 16;

fn check(bytes: &[u8]) {
    check_scan(bytes);
    check_bodies(bytes);
    check_connection(bytes);
    check_target(bytes);
}

/// The end of a head is where httparse finds it.
fn check_scan(bytes: &[u8]) {
    let mut whole = HeadScan::default();
    let end = whole.step(bytes);
    for pieces in crate::cuts(bytes) {
        let mut scan = HeadScan::default();
        let mut at = 0;
        for piece in pieces {
            let n = scan.step(piece);
            at += n;
            if n < piece.len() {
                break;
            }
        }
        assert_eq!(
            (at, scan.is_whole(), scan.has_begun()),
            (end, whole.is_whole(), whole.has_begun())
        );
    }
    let mut fields = [httparse::EMPTY_HEADER; 200];
    if let Ok(httparse::Status::Complete(len)) = httparse::Request::new(&mut fields).parse(bytes) {
        assert_eq!((end, whole.is_whole()), (len, true));
    }
    if !whole.is_whole() {
        return;
    }
    let Ok(head) = RequestHead::parse(&bytes[..end]) else {
        return;
    };
    let mut left = BytesMut::from(&bytes[..end]);
    remove_offer(&mut left);
    let parsed = RequestHead::parse(&left).expect("a head without its offer is a head");
    assert_eq!((parsed.framing, parsed.offer), (head.framing, Offer::None));
    if head.offer == Offer::None {
        assert_eq!(left, &bytes[..end]);
    }
    let once = left.clone();
    remove_offer(&mut left);
    assert_eq!(left, once);
}

fn follow(framing: RequestFraming, pieces: &[&[u8]]) -> Result<(usize, bool), BadBody> {
    let mut scan = BodyScan::new(framing);
    let mut len = 0;
    for piece in pieces {
        len += scan.step(piece)?;
    }
    Ok((len, scan.is_over()))
}

/// A body ends where it is told to, and where what reads an origin's chunks would end it.
fn check_bodies(bytes: &[u8]) {
    for framing in [RequestFraming::Chunked, RequestFraming::Length(9)] {
        let told = follow(framing, &[bytes]);
        for pieces in crate::cuts(bytes) {
            assert_eq!(follow(framing, &pieces), told);
        }
        match (framing, told) {
            (RequestFraming::Length(length), told) => {
                let there = bytes.len().min(length as usize);
                assert_eq!(told, Ok((there, there == length as usize)));
            }
            (RequestFraming::Chunked, Ok((len, true))) => {
                let mut decoder = Decoder::new(Framing::Chunked);
                let mut buf = BytesMut::from(bytes);
                while let Ok(Step::Data(_)) = decoder.step(&mut buf) {}
                assert!(decoder.is_end());
                assert_eq!(buf.len(), bytes.len() - len);
            }
            (RequestFraming::Chunked, Ok((len, false))) => assert_eq!(len, bytes.len()),
            (RequestFraming::Chunked, Err(_)) => {}
        }
    }
}

/// What goes on of a connection's bytes, request by request, and why no more does.
#[derive(Debug, PartialEq)]
struct Passed {
    requests: Vec<Vec<u8>>,
    refused: Option<Refusal>,
}

/// A connection whose bytes come in these pieces, and go on in pieces of at most `room` bytes; whether answers come early,
/// before a body is over but never before all of its head went on, and whether bytes come while an answer is waited for.
fn pass(pieces: &[&[u8]], room: usize, early: bool, ahead: bool) -> Passed {
    let mut reader = RequestReader::new(MAX_HEAD);
    let mut storage = vec![0; room];
    let (mut coming, mut passed, mut refused) = (Vec::new(), Vec::new(), None);
    // The pieces as reads of at most `room` bytes.
    for piece in pieces {
        coming.extend(piece.chunks(room));
    }
    let mut coming = coming.into_iter();
    loop {
        let mut buf = ReadBuf::new(&mut storage);
        let requests = reader.requests();
        let mut looked = reader.release(&mut buf);
        if looked.is_ok() && buf.filled().is_empty() {
            if reader.waits() {
                if ahead && let Some(piece) = coming.next() {
                    reader.keep(piece);
                }
                reader.answer();
                continue;
            }
            let Some(piece) = coming.next() else {
                break;
            };
            buf.put_slice(piece);
            looked = reader.accept(&mut buf, 0);
        }
        if let Err(refusal) = looked {
            refused = Some(refusal);
            break;
        }
        passed.extend_from_slice(buf.filled());
        if early && reader.requests() > requests {
            reader.answer();
        }
    }
    let requests = requests_of(&passed);
    if refused.is_none() {
        // A last one may be under way.
        assert_eq!(requests.len() as u64, reader.requests());
        // A byte of a target that is none of a URI is written as three.
        assert!(passed.len() <= 3 * pieces.iter().map(|piece| piece.len()).sum::<usize>());
    }
    Passed { requests, refused }
}

/// The requests in bytes that went on; the last one may be cut.
fn requests_of(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut requests = Vec::new();
    loop {
        // Empty lines before a head mean nothing.
        while let [b'\r' | b'\n', rest @ ..] = bytes {
            bytes = rest;
        }
        let mut scan = HeadScan::default();
        let head_len = scan.step(bytes);
        if !scan.is_whole() {
            assert!(bytes.is_empty(), "a head went on that is not whole");
            return requests;
        }
        let head = RequestHead::parse(&bytes[..head_len]).expect("a bad head went on");
        assert_ne!(head.offer, Offer::Ignored, "the offer went on");
        let mut body = BodyScan::new(head.framing);
        let len = head_len + body.step(&bytes[head_len..]).expect("a bad body went on");
        requests.push(bytes[..len].to_vec());
        bytes = &bytes[len..];
    }
}

fn check_connection(bytes: &[u8]) {
    let whole = pass(&[bytes], bytes.len().max(1), false, false);
    for (n, pieces) in crate::cuts(bytes).into_iter().enumerate() {
        for (room, early) in [(1, false), (7, false), (MAX_HEAD, n % 2 == 0)] {
            let passed = pass(&pieces, room, early, n % 3 == 0);
            assert_eq!(passed.refused, whole.refused);
            if whole.refused.is_none() {
                assert_eq!(passed, whole);
            }
        }
    }
}

/// The first line's target and the second line's host, where they are that.
fn check_target(bytes: &[u8]) {
    let mut lines = bytes.split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
    let mut words = lines.next().unwrap_or_default().split(|&b| b == b' ');
    let (method, text) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let (Ok(method), Ok(uri)) = (Method::from_bytes(method), Uri::try_from(text)) else {
        return;
    };
    let host = lines.next().and_then(|line| line.strip_prefix(b"Host: "));
    let mut headers = HeaderMap::new();
    if let Some(Ok(host)) = host.map(HeaderValue::from_bytes) {
        headers.insert(header::HOST, host);
    }
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let Ok(target) = Target::of(&method, version, &uri, &headers) else {
            continue;
        };
        let path = target.path.as_str().as_bytes();
        assert!(path.starts_with(b"/") || path == b"*" && method == Method::OPTIONS);
        assert!(
            !path
                .iter()
                .any(|b| b.is_ascii_control() || b" #".contains(b))
        );
        if text.starts_with(b"/") && !text.contains(&b'#') {
            assert_eq!(path, text, "a path passes byte for byte");
        }
        for host in target.host.iter().chain(headers.get(header::HOST)) {
            assert!(!host.is_empty());
            let is_odd = |b: &u8| !b.is_ascii_graphic() || b"@/\\,;?#\"<>|^`{}".contains(b);
            assert!(!host.as_bytes().iter().any(is_odd), "{host:?}");
        }
    }
}
