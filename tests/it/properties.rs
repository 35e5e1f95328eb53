//! What holds for every header, every framing and every range, not only for those that somebody thought of.

use std::sync::OnceLock;

use bytes::BytesMut;
use fileproxy::{
    demo::{Network, origin::Origin},
    path::{
        framing::{Decoder, Framing, Head, Step},
        headers,
    },
};
use proptest::prelude::*;

use crate::support::proxy::Proxy;

/// Feeds `bytes` cut at `cuts`; the body, and whether its end was reported.
fn decode(framing: Framing, bytes: &[u8], cuts: &[usize]) -> (Vec<u8>, bool, usize) {
    let mut decoder = Decoder::new(framing);
    let mut at: Vec<_> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    let (mut body, mut buf) = (Vec::new(), BytesMut::new());
    for ends in at.windows(2) {
        buf.extend_from_slice(&bytes[ends[0]..ends[1]]);
        loop {
            match decoder.step(&mut buf).unwrap() {
                Step::Data(data) => {
                    assert!(!data.is_empty());
                    body.extend_from_slice(&data);
                }
                Step::NeedMore => break,
                Step::End => {
                    // What follows belongs to nobody.
                    let rest = buf.len() + bytes.len() - ends[1];
                    return (body, true, rest);
                }
            }
        }
    }
    let ended = decoder.is_end();
    (body, ended, buf.len())
}

/// A body in chunks of these sizes, with extensions and trailers.
fn chunked(chunks: &[(Vec<u8>, String, bool)], trailers: &[(String, String)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (chunk, extension, upper) in chunks {
        let size = if *upper {
            format!("{:X}", chunk.len())
        } else {
            format!("00{:x}", chunk.len())
        };
        bytes.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

prop_compose! {
    fn coded()(
        chunks in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 1..300), "(;[a-z]{1,8}(=[a-z0-9]{0,8})?){0,3}", any::<bool>()),
            0..12,
        ),
        trailers in prop::collection::vec(("x-[a-z]{1,10}", "[ -~]{0,30}"), 0..4),
    ) -> (Vec<u8>, Vec<u8>) {
        let body = chunks.iter().flat_map(|(chunk, ..)| chunk.clone()).collect();
        (body, chunked(&chunks, &trailers))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_chunked_body_cut_anywhere_decodes_to_the_same_bytes(
        (body, bytes) in coded(),
        behind in prop::collection::vec(any::<u8>(), 0..40),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let all = [&bytes[..], &behind].concat();
        let (decoded, ended, rest) = decode(Framing::Chunked, &all, &cuts);
        prop_assert!(ended);
        prop_assert_eq!(decoded, body);
        prop_assert_eq!(rest, behind.len(), "what follows the body is not the body's");
    }

    #[test]
    fn no_proper_prefix_of_a_chunked_body_is_whole(
        (body, bytes) in coded(),
        cut in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let cut = cut.index(bytes.len());
        let (decoded, ended, _) = decode(Framing::Chunked, &bytes[..cut], &cuts);
        prop_assert!(!ended);
        prop_assert!(body.starts_with(&decoded));
        let mut decoder = Decoder::new(Framing::Chunked);
        let mut buf = BytesMut::from(&bytes[..cut]);
        while let Ok(Step::Data(_)) = decoder.step(&mut buf) {}
        prop_assert!(!decoder.ends_at_close());
    }

    #[test]
    fn a_body_with_a_length_is_whole_at_its_last_byte_and_not_before(
        body in prop::collection::vec(any::<u8>(), 1..2000),
        missing in any::<prop::sample::Index>(),
        behind in prop::collection::vec(any::<u8>(), 0..40),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let framing = Framing::Length(body.len() as u64);
        let all = [&body[..], &behind].concat();
        let (decoded, ended, rest) = decode(framing, &all, &cuts);
        prop_assert!(ended);
        prop_assert_eq!(&decoded, &body);
        prop_assert_eq!(rest, behind.len());
        let (part, ended, _) = decode(framing, &body[..missing.index(body.len())], &cuts);
        prop_assert!(!ended);
        prop_assert!(body.starts_with(&part));
    }

    #[test]
    fn a_decoder_takes_any_bytes_without_panic_and_never_makes_some_up(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let mut decoder = Decoder::new(Framing::Chunked);
        let mut buf = BytesMut::from(&bytes[..]);
        let mut len = 0;
        while let Ok(Step::Data(data)) = decoder.step(&mut buf) {
            len += data.len();
        }
        prop_assert!(len <= bytes.len());
        _ = Head::parse(&bytes, false);
    }

    #[test]
    fn a_head_is_the_same_however_it_arrives(
        status in 200_u16..600,
        length in any::<u64>(),
        close in any::<bool>(),
        fields in prop::collection::vec(("x-[a-z]{1,12}", "[ -~]{0,40}"), 0..20),
        behind in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut text = format!("HTTP/1.1 {status} Words\r\nContent-Length: {length}\r\n");
        for (name, value) in &fields {
            text += &format!("{name}: {value}\r\n");
        }
        if close {
            text += "Connection: foo, Close\r\n";
        }
        text += "\r\n";
        for cut in 0..text.len() {
            prop_assert_eq!(Head::parse(&text.as_bytes()[..cut], false), Ok(None));
        }
        let all = [text.as_bytes(), &behind].concat();
        let head = Head::parse(&all, false).unwrap().unwrap();
        prop_assert_eq!(head.len, text.len());
        prop_assert_eq!(head.status, status);
        prop_assert_eq!(head.keep_alive, !close);
        let expected = match status {
            204 | 304 => Framing::None,
            _ => Framing::Length(length),
        };
        prop_assert_eq!(head.framing, expected);
    }

    #[test]
    fn every_end_to_end_field_arrives_with_all_its_values_in_order_and_no_other_does(
        fields in prop::collection::vec(("[a-z][a-z0-9-]{0,12}", "[!-~]([ -~]{0,20}[!-~])?"), 0..20),
        named in prop::collection::vec("[a-z][a-z0-9-]{0,12}", 0..3),
    ) {
        use actix_http::header::{HeaderMap, HeaderName, HeaderValue};
        let mut from = HeaderMap::new();
        let mut names = named;
        // Some that are there for sure.
        names.extend(fields.iter().step_by(5).map(|(name, _)| name.clone()));
        for (name, value) in &fields {
            from.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        from.insert("connection".parse().unwrap(), HeaderValue::from_str(&names.join(" ,")).unwrap());
        let address = HeaderValue::from_static("192.0.2.7");
        let client = headers::Client { address: &address, trusted: false, scheme: "http", version: actix_http::Version::HTTP_11 };
        let (host, id) = (HeaderValue::from_static("origin"), HeaderValue::from_static("id"));
        let mut to = from;
        headers::to_origin(&mut to, client, Some(&host), &id);
        let own = [
            "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "host", "via",
            "expect", "content-length", "forwarded", "x-request-id", "proxy-connection",
            "proxy-authenticate", "proxy-authorization", "x-forwarded-for", "x-forwarded-proto",
            "x-forwarded-host",
        ];
        for (name, _) in &fields {
            if own.contains(&name.as_str()) {
                continue;
            }
            let arrived: Vec<_> = to.get_all(name).map(|v| v.to_str().unwrap().to_owned()).collect();
            let sent: Vec<_> = fields.iter().filter(|(n, _)| n == name).map(|(_, v)| v.clone()).collect();
            if names.contains(name) && name != "close" {
                prop_assert!(arrived.is_empty(), "{} is named by Connection", name);
            } else {
                prop_assert_eq!(arrived, sent);
            }
        }
        for (name, _) in to.iter() {
            let name = name.as_str();
            prop_assert!(
                fields.iter().any(|(n, _)| n == name) || own.contains(&name),
                "{} came from nowhere", name
            );
        }
        prop_assert_eq!(to.get_all("host").count(), 1);
        prop_assert_eq!(to.get_all("x-forwarded-for").count(), 1);
    }
}

/// One proxy before the demo's origin for all cases.
fn demo() -> &'static (Proxy, Vec<u8>) {
    static DEMO: OnceLock<(Proxy, Vec<u8>)> = OnceLock::new();
    DEMO.get_or_init(|| {
        let origin = Origin::start("127.0.0.1:0".parse().unwrap(), Network::Good, 1).unwrap();
        let proxy = Proxy::before(&origin, |s| s.rate_limit.min = s.rate_limit.max);
        let whole = proxy.get(FILE).body;
        assert!(!whole.is_empty());
        // It must outlive the test.
        std::mem::forget(origin);
        (proxy, whole)
    })
}

const FILE: &str = "/files/64KB.bin";

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_range_through_the_proxy_is_that_part_of_the_whole(
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        kind in 0..3_u8,
    ) {
        let (proxy, whole) = demo();
        let len = whole.len();
        let (mut a, mut b) = (from.index(len), to.index(len + 1000));
        if a > b {
            (a, b) = (b, a);
        }
        let (range, expected) = match kind {
            0 => (format!("bytes={a}-{b}"), &whole[a..(b + 1).min(len)]),
            1 => (format!("bytes={a}-"), &whole[a..]),
            _ => (format!("bytes=-{}", a + 1), &whole[len - (a + 1).min(len)..]),
        };
        let answer = proxy.client().get_with(FILE, &format!("range: {range}\r\n"));
        prop_assert_eq!(answer.status, 206, "{}: {:?}", range, answer);
        prop_assert!(answer.body == expected, "{}", range);
        let begin = len - whole.len() + expected.as_ptr() as usize - whole.as_ptr() as usize;
        prop_assert_eq!(
            answer.field("content-range").unwrap(),
            format!("bytes {begin}-{}/{len}", begin + expected.len() - 1)
        );
    }
}

#[test]
fn several_ranges_come_as_parts_and_one_beyond_the_end_as_416() {
    let (proxy, whole) = demo();
    let mut client = proxy.client();
    let answer = client.get_with(FILE, "range: bytes=0-9, 100-119, -5\r\n");
    assert_eq!(answer.status, 206);
    let kind = answer.field("content-type").unwrap();
    assert!(kind.starts_with("multipart/byteranges"), "{kind}");
    let holds = |part: &[u8]| answer.body.windows(part.len()).any(|w| w == part);
    assert!(holds(&whole[..10]) && holds(&whole[100..120]) && holds(&whole[whole.len() - 5..]));

    let beyond = client.get_with(FILE, "range: bytes=99999999-\r\n");
    assert_eq!(beyond.status, 416);
    assert_eq!(
        beyond.field("content-range").unwrap(),
        format!("bytes */{}", whole.len())
    );
}

#[test]
fn if_range_decides_between_the_part_and_the_whole() {
    let (proxy, whole) = demo();
    let mut client = proxy.client();
    let etag = client.get(FILE).field("etag").unwrap();
    let part = client.get_with(FILE, &format!("range: bytes=5-9\r\nif-range: {etag}\r\n"));
    assert_eq!((part.status, &part.body[..]), (206, &whole[5..10]));
    let all = client.get_with(FILE, "range: bytes=5-9\r\nif-range: \"another\"\r\n");
    assert_eq!(all.status, 200);
    assert!(all.body == *whole);
    let same = client.get_with(FILE, &format!("if-none-match: {etag}\r\n"));
    assert_eq!(same.status, 304);
    assert_eq!(same.field("etag").unwrap(), etag);
}
