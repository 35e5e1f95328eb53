//! An origin's response: its head and the framing of its body. A body never looks whole that is not.

use bytes::BytesMut;
use fileproxy::path::framing::{Decoder, Framing, Head, Malformed, Step};

pub const TARGET: crate::Target = crate::Target {
    name: "responses",
    words: WORDS,
    check,
};

const WORDS: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 206 \r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\n",
    "Content-Length: 5\r\n",
    "content-length: 18446744073709551615\r\n",
    "Content-Length: 5, 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Connection: close\r\n",
    "connection: keep-alive, X\r\n",
    "\r\n\r\n",
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    ";",
    ";a=\"b\"",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "ffffffffffffffff\r\n",
    "10000000000000000\r\n",
    "00000000000000000000000000000001\r\n",
    "0\r\nX: y\r\n\r\n",
];

fn check(bytes: &[u8]) {
    for to_head in [false, true] {
        let parsed = Head::parse(bytes, to_head);
        let Ok(Some(head)) = parsed else {
            // It does not become another message by what is behind it.
            if parsed.is_err() {
                let more = [bytes, b"x"].concat();
                assert!(!matches!(Head::parse(&more, to_head), Ok(Some(_))));
            }
            continue;
        };
        check_head(&bytes[..head.len], to_head, head);
        check_body(&bytes[head.len..], head.framing);
    }
    // A body is read whatever head was before it.
    for framing in [
        Framing::Chunked,
        Framing::Length(7),
        Framing::UntilClose,
        Framing::None,
    ] {
        check_body(bytes, framing);
    }
}

fn check_head(bytes: &[u8], to_head: bool, head: Head) {
    assert_eq!(Head::parse(bytes, to_head), Ok(Some(head)));
    for cut in 0..bytes.len() {
        assert_eq!(
            Head::parse(&bytes[..cut], to_head),
            Ok(None),
            "cut at {cut}"
        );
    }
    // Only a head that says so has a length, chunks, or neither.
    let says = |name: &str| {
        let mut lines = bytes.split(|&b| b == b'\n');
        lines.any(|line| {
            let line = line.trim_ascii();
            line.len() > name.len()
                && line[..name.len()].eq_ignore_ascii_case(name.as_bytes())
                && line[name.len()..].trim_ascii_start().starts_with(b":")
        })
    };
    match head.framing {
        Framing::None => {
            assert!(to_head || head.status < 200 || [204, 304].contains(&head.status));
        }
        Framing::Length(length) => {
            assert!(says("content-length") && !says("transfer-encoding"));
            assert!(
                length == 0
                    || bytes
                        .windows(length.to_string().len())
                        .any(|digits| { digits == length.to_string().as_bytes() })
            );
        }
        Framing::Chunked => assert!(says("transfer-encoding")),
        Framing::UntilClose => {
            assert!(!says("content-length") && !says("transfer-encoding"));
            assert!(!head.keep_alive, "nothing can come behind it");
        }
    }
    if head.keep_alive && says("transfer-encoding") && head.framing == Framing::Chunked {
        assert!(
            !says("content-length"),
            "the next head may be part of this body"
        );
    }
}

/// The bytes of a body, and how it stands: whole, with so many bytes behind it, or waiting, or broken.
fn decode(framing: Framing, pieces: &[&[u8]]) -> (Vec<u8>, Result<Option<usize>, Malformed>) {
    let (mut decoder, mut buf, mut body) = (Decoder::new(framing), BytesMut::new(), Vec::new());
    for piece in pieces {
        buf.extend_from_slice(piece);
        loop {
            let sure = decoder.expected();
            match decoder.step(&mut buf) {
                Ok(Step::Data(data)) => {
                    assert!(!data.is_empty());
                    assert!(sure.is_none_or(|sure| data.len() as u64 <= sure));
                    body.extend_from_slice(&data);
                }
                Ok(Step::NeedMore) => break,
                Ok(Step::End) => {
                    assert!(decoder.is_end());
                    break;
                }
                Err(error) => return (body, Err(error)),
            }
        }
    }
    let is_whole = decoder.is_end();
    if !is_whole {
        let mut decoder = decoder;
        assert_eq!(decoder.ends_at_close(), framing == Framing::UntilClose);
    }
    (body, Ok(is_whole.then_some(buf.len())))
}

fn check_body(bytes: &[u8], framing: Framing) {
    let (body, outcome) = decode(framing, &[bytes]);
    for pieces in crate::cuts(bytes) {
        assert_eq!(decode(framing, &pieces), (body.clone(), outcome));
    }
    match framing {
        Framing::None => assert!(body.is_empty() && outcome == Ok(Some(bytes.len()))),
        Framing::UntilClose => assert!(body == bytes && outcome == Ok(None)),
        Framing::Length(length) => {
            let there = usize::try_from(length)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            assert_eq!(body, &bytes[..there]);
            let is_whole = length == there as u64;
            assert_eq!(outcome, Ok(is_whole.then_some(bytes.len() - there)));
        }
        Framing::Chunked => {
            let read = read_chunks(bytes);
            if let Ok(Some(rest)) = outcome {
                assert_eq!(read, Some((body.clone(), rest)));
                // What is cut anywhere is not whole, whatever is behind it.
                let whole = &bytes[..bytes.len() - rest];
                for cut in 0..whole.len() {
                    let (part, outcome) = decode(framing, &[&whole[..cut]]);
                    assert_eq!(outcome, Ok(None), "cut at {cut}");
                    assert!(body.starts_with(&part));
                }
            }
        }
    }
}

/// The chunked coding read by another hand (RFC 9112 §7.1), from bytes that are all there: the body, and how many bytes are
/// behind it.
fn read_chunks(mut bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    fn line<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let line = &bytes[..end];
        *bytes = &bytes[end + 2..];
        Some(line)
    }
    let mut body = Vec::new();
    loop {
        let mut at = bytes;
        let told = line(&mut at)?;
        let digits = std::str::from_utf8(told.split(|b| b" \t;".contains(b)).next()?).ok()?;
        let size = usize::from_str_radix(digits, 16).ok()?;
        // Where both can read it (no more than 15 digits, and nothing but blanks behind), httparse agrees.
        if digits.len() < 16
            && let Ok(httparse::Status::Complete((len, number))) = httparse::parse_chunk_size(bytes)
        {
            assert_eq!((len, number), (told.len() + 2, size as u64));
        }
        if size == 0 {
            while !line(&mut at)?.is_empty() {}
            return Some((body, at.len()));
        }
        body.extend_from_slice(at.get(..size)?);
        bytes = at.get(size..)?.strip_prefix(b"\r\n")?;
    }
}
