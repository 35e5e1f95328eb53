//! Bodies that break, stall or come slowly, from origins that are honest and from origins that lie.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use fileproxy::traffic::{level::Level, quality::Class};
use proptest::prelude::*;

use super::support::{
    client::Ending,
    origin::{Connection, Origin, Request},
    proxy::Proxy,
    until,
};

/// Bytes that differ everywhere, so that a shifted or a mixed body shows.
pub(super) fn object(version: u8, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ version)
        .collect()
}

/// What the origin does with one request.
#[derive(Clone, Debug)]
pub(super) enum Deed {
    /// All that was asked for.
    Whole,
    /// So many bytes of it, then the end of the connection.
    Cut(usize),
    /// So many bytes of it, then a reset.
    Reset(usize),
    /// So many bytes, then silence.
    Silence(usize),
    /// The same, without a length: chunked, and cut before the last chunk.
    CutChunks(usize),
    /// A 200 with everything, whatever range was asked for.
    NoRange,
    /// Another version than before, under its own tag.
    Changed,
    /// Another version than before, under the tag of the first: only a weak one may do that, so it is weak.
    Weak,
    /// The right bytes under a range that is not theirs.
    WrongRange,
    /// A shorter range than was asked for.
    ShortRange,
    /// More bytes than the range says, with a length that says so.
    TooMany,
    /// Chunked, and the first chunk's size is one too large.
    ChunkTooLarge,
    /// Chunked, with a proper end one byte too early.
    ChunkedShort,
    /// Chunked, with more bytes than were told and a proper end.
    ChunkedLong,
    /// A range in parts.
    Multipart,
    /// 416, though the range can be had.
    Unsatisfied,
    /// Coded by gzip.
    Gzip,
    /// 503 for now.
    Busy,
    /// 429, with the wish to be left alone for so many seconds.
    TooSoon(u32),
    /// 400: it does not like the request.
    Bad,
    /// All that was asked for, after so many milliseconds without a word.
    Late(u64),
    /// Not even a head.
    Mute,
}

pub(super) fn act(
    connection: &mut Connection,
    request: &Request,
    deed: &Deed,
    object: &[u8],
) -> bool {
    let range = request.range(object.len());
    let (first, last) = range.unwrap_or((0, object.len() - 1));
    let part = &object[first..=last];
    let tag = "etag: \"v1\"\r\naccept-ranges: bytes\r\n";
    let content_range = format!("content-range: bytes {first}-{last}/{}\r\n", object.len());
    let status = if range.is_some() {
        "206 Partial Content"
    } else {
        "200 OK"
    };
    let told = if range.is_some() {
        content_range.as_str()
    } else {
        ""
    };
    let head = format!(
        "HTTP/1.1 {status}\r\n{tag}{told}content-length: {}\r\n\r\n",
        part.len()
    );
    match *deed {
        Deed::Whole => {
            connection.send(head);
            connection.send(part);
            true
        }
        Deed::Cut(n) | Deed::Reset(n) | Deed::Silence(n) => {
            connection.send(head);
            connection.send(&part[..n.min(part.len())]);
            match deed {
                Deed::Reset(_) => connection.reset_when_read(),
                Deed::Silence(_) if n < part.len() => drop(connection.stall()),
                _ => {}
            }
            n >= part.len()
        }
        Deed::CutChunks(n) => {
            connection.send(format!(
                "HTTP/1.1 {status}\r\n{tag}{told}transfer-encoding: chunked\r\n\r\n"
            ));
            let part = &part[..n.min(part.len())];
            for piece in part.chunks(7000) {
                connection.send(format!("{:x}\r\n", piece.len()));
                connection.send(piece);
                connection.send("\r\n");
            }
            false
        }
        Deed::ChunkTooLarge | Deed::ChunkedShort | Deed::ChunkedLong => {
            connection.send(format!(
                "HTTP/1.1 {status}\r\n{tag}{told}transfer-encoding: chunked\r\n\r\n"
            ));
            let (body, says) = match deed {
                Deed::ChunkTooLarge => (part.to_vec(), part.len() + 1),
                Deed::ChunkedShort if part.len() > 1 => {
                    (part[..part.len() - 1].to_vec(), part.len() - 1)
                }
                _ => ([part, b"extra"].concat(), part.len() + 5),
            };
            connection.send(format!("{says:x}\r\n"));
            connection.send(body);
            connection.send("\r\n0\r\n\r\n");
            true
        }
        Deed::NoRange => {
            connection.send(format!(
                "HTTP/1.1 200 OK\r\n{tag}content-length: {}\r\n\r\n",
                object.len()
            ));
            connection.send(object);
            true
        }
        Deed::Changed | Deed::Weak => {
            let tag = if matches!(deed, Deed::Weak) {
                "W/\"v1\""
            } else {
                "\"v2\""
            };
            let other: Vec<u8> = part.iter().map(|byte| byte ^ 0xff).collect();
            connection.send(format!(
                "HTTP/1.1 {status}\r\netag: {tag}\r\n{told}content-length: {}\r\n\r\n",
                other.len()
            ));
            connection.send(other);
            true
        }
        Deed::WrongRange => {
            let told = format!(
                "content-range: bytes {}-{}/{}\r\n",
                first + 1,
                last + 1,
                object.len() + 1
            );
            connection.send(format!(
                "HTTP/1.1 206 Partial Content\r\n{tag}{told}content-length: {}\r\n\r\n",
                part.len()
            ));
            connection.send(part);
            true
        }
        Deed::ShortRange => {
            let last = first + (last - first) / 2;
            let part = &object[first..=last];
            connection.send(format!(
                "HTTP/1.1 206 Partial Content\r\n{tag}content-range: bytes {first}-{last}/{}\r\ncontent-length: {}\r\n\r\n",
                object.len(),
                part.len()
            ));
            connection.send(part);
            true
        }
        Deed::TooMany => {
            connection.send(format!(
                "HTTP/1.1 {status}\r\n{tag}{told}content-length: {}\r\n\r\n",
                part.len() + 5
            ));
            connection.send(part);
            connection.send("extra");
            true
        }
        Deed::Multipart => {
            let body = format!("--x\r\n{content_range}\r\nbytes\r\n--x--\r\n");
            connection.send(format!(
                "HTTP/1.1 206 Partial Content\r\n{tag}content-type: multipart/byteranges; boundary=x\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ));
            true
        }
        Deed::Unsatisfied => {
            connection.send(format!(
                "HTTP/1.1 416 Range Not Satisfiable\r\ncontent-range: bytes */{}\r\ncontent-length: 0\r\n\r\n",
                object.len()
            ));
            true
        }
        Deed::Gzip => {
            connection.send(format!(
                "HTTP/1.1 {status}\r\n{tag}{told}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
                part.len()
            ));
            connection.send(vec![0x1f; part.len()]);
            true
        }
        Deed::Busy => {
            connection.send("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
            true
        }
        Deed::TooSoon(seconds) => {
            connection.send(format!(
                "HTTP/1.1 429 Too Many Requests\r\nretry-after: {seconds}\r\ncontent-length: 0\r\n\r\n"
            ));
            true
        }
        Deed::Bad => {
            connection.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
            true
        }
        Deed::Late(ms) => {
            std::thread::sleep(Duration::from_millis(ms));
            connection.send(head);
            connection.send(part);
            true
        }
        Deed::Mute => {
            connection.stall();
            false
        }
    }
}

/// An origin that does one deed after the other, and then gives all that is asked for.
fn origin(object: Vec<u8>, deeds: Vec<Deed>) -> Origin {
    let next = Arc::new(AtomicUsize::new(0));
    Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let deed = deeds.get(next.fetch_add(1, SeqCst)).unwrap_or(&Deed::Whole);
            if !act(connection, &request, deed, &object) {
                return;
            }
        }
    })
}

pub(super) fn quick(settings: &mut fileproxy::settings::Settings) {
    settings.transfers.backoff_min = Duration::from_millis(1);
    settings.transfers.backoff_max = Duration::from_millis(5);
}

pub(super) fn count(proxy: &Proxy, name: &str) -> u64 {
    proxy.stats()["transfers"][name].as_u64().unwrap()
}

#[test]
fn a_body_that_is_cut_again_and_again_arrives_whole() {
    let object = object(1, 3_000_000);
    let deeds = vec![
        Deed::Cut(500_000),
        Deed::Reset(400_000),
        Deed::Cut(0),
        Deed::Busy,
        Deed::CutChunks(300_000),
    ];
    let origin = origin(object.clone(), deeds);
    let proxy = Proxy::before(&origin, quick);
    let response = proxy.get("/film.mp4");
    assert_eq!((response.status, response.ending), (200, Ending::Whole));
    assert!(response.body == object, "the body differs");
    assert!(count(&proxy, "resumed") >= 3);
}

#[test]
fn the_rest_is_asked_for_below_the_path_of_the_origins_url() {
    let object = object(4, 400_000);
    let origin = origin(object.clone(), vec![Deed::Cut(100_000)]);
    let proxy = Proxy::before(&format!("http://{}/base", origin.address()), quick);
    let response = proxy.get("/film.mp4");
    assert_eq!((response.status, response.ending), (200, Ending::Whole));
    assert!(response.body == object, "the body differs");
    let targets: Vec<_> = origin.requests().iter().map(Request::target).collect();
    assert!(targets.len() > 1 && targets.iter().all(|target| target == b"/base/film.mp4"));
}

#[test]
fn a_thousand_cuts_of_which_each_brings_something_do_not_end_a_body() {
    let object = object(2, 20_000_000);
    let origin = origin(object.clone(), vec![Deed::Cut(100_000); 190]);
    let proxy = Proxy::before(&origin, quick);
    let response = proxy.get("/film.mp4");
    assert_eq!(response.ending, Ending::Whole);
    assert!(response.body == object, "the body differs");
}

#[test]
fn a_body_without_length_is_resumed_too() {
    let object = object(3, 500_000);
    let origin = origin(
        object.clone(),
        vec![Deed::CutChunks(200_000), Deed::CutChunks(100_000)],
    );
    let proxy = Proxy::before(&origin, quick);
    let response = proxy.get("/film.mp4");
    assert_eq!(response.ending, Ending::Whole);
    assert!(response.body == object, "the body differs");
}

#[test]
fn a_body_without_length_that_broke_behind_its_last_byte_is_whole() {
    let object = object(3, 200_000);
    let origin = origin(
        object.clone(),
        vec![Deed::CutChunks(200_000), Deed::Unsatisfied],
    );
    let proxy = Proxy::before(&origin, quick);
    let response = proxy.get("/film.mp4");
    assert_eq!(response.ending, Ending::Whole);
    assert!(response.body == object, "the body differs");
}

#[test]
fn a_range_that_a_client_asked_for_is_resumed_within_it() {
    let object = object(4, 2_000_000);
    let origin = origin(object.clone(), vec![Deed::Cut(300_000), Deed::Cut(300_000)]);
    let proxy = Proxy::before(&origin, quick);
    let response = proxy
        .client()
        .get_with("/film.mp4", "range: bytes=500000-1499999\r\n");
    assert_eq!((response.status, response.ending), (206, Ending::Whole));
    assert!(
        response.body == object[500_000..1_500_000],
        "the body differs"
    );
    let last = origin.last();
    assert_eq!(last.field("range").unwrap(), "bytes=1100000-1499999");
    assert_eq!(last.field("if-range").unwrap(), "\"v1\"");
    assert_eq!(last.field("accept-encoding").unwrap(), "identity");
}

#[test]
fn a_silent_connection_is_left_for_one_that_delivers() {
    let object = object(5, 1_000_000);
    let origin = origin(object.clone(), vec![Deed::Silence(300_000)]);
    let proxy = Proxy::before(&origin, |settings| {
        quick(settings);
        settings.transfers.stall_window = Duration::from_millis(300);
    });
    let response = proxy.client().patient().get("/film.mp4");
    assert_eq!(response.ending, Ending::Whole);
    assert!(response.body == object, "the body differs");
    assert_eq!(count(&proxy, "stalls_mended"), 1);
}

#[test]
fn a_link_that_may_be_good_for_so_many_uses_is_not_used_twice_for_a_silence() {
    let object = object(5, 500_000);
    let origin = origin(object.clone(), vec![Deed::Silence(100_000); 2]);
    let proxy = Proxy::before(&origin, |settings| {
        quick(settings);
        settings.transfers.stall_window = Duration::from_millis(100);
    });
    for target in ["/film.mp4?token=1", "/film.mp4?expires=2"] {
        let mut client = proxy.client();
        client.send(format!("GET {target} HTTP/1.1\r\nhost: proxy\r\n\r\n"));
        client.head();
        assert!(client.exactly(100_000) == object[..100_000]);
        let before = count(&proxy, "stalls_denied");
        until("it was found stalled again and again", || {
            (count(&proxy, "stalls_denied") >= before + 3).then_some(())
        });
    }
    assert_eq!(origin.hits(), 2);
}

#[test]
fn a_request_for_the_rest_that_is_not_answered_is_made_once_more() {
    let object = object(5, 600_000);
    let origin = origin(object.clone(), vec![Deed::Cut(100_000), Deed::Mute]);
    let proxy = Proxy::before(&origin, |settings| {
        quick(settings);
        settings.transfers.stall_window = Duration::from_millis(300);
    });
    let response = proxy.client().patient().get("/film.mp4");
    assert_eq!(response.ending, Ending::Whole);
    assert!(response.body == object, "the body differs");
    assert_eq!(origin.hits(), 3);
}

#[test]
fn a_stalled_body_that_gets_no_second_connection_asks_again_later() {
    let object = object(5, 500_000);
    let whole = object.clone();
    let origin = Origin::following(move |connection| {
        while connection.request().is_some() {
            connection.send(format!(
                "HTTP/1.1 200 OK\r\netag: \"v1\"\r\ncontent-length: {}\r\n\r\n",
                object.len()
            ));
            connection.send(&object[..1000]);
            connection.wait();
            connection.send(&object[1000..]);
        }
    });
    let proxy = Proxy::before(&origin, |settings| {
        settings.levels.high.connections_per_host = 1;
        settings.transfers.stall_window = Duration::from_millis(100);
    });
    let mut client = proxy.client();
    client.send("GET /film.mp4 HTTP/1.1\r\nhost: p\r\n\r\n");
    until("it is denied again and again", || {
        (count(&proxy, "stalls_denied") >= 5).then_some(())
    });
    origin.open_gate();
    assert!(client.response().body == whole, "the body differs");
}

#[test]
fn requests_for_the_rest_that_bring_enough_on_average_never_run_dry() {
    let object = object(6, 7_000_000);
    let cuts = [Deed::Cut(300_000), Deed::Cut(10_000)];
    let origin = origin(object.clone(), vec![cuts; 20].concat());
    let proxy = Proxy::before(&origin, |settings| {
        quick(settings);
        settings.transfers.resume_burst = 3.0;
        settings.transfers.resume_rate = 0.0;
        settings.transfers.resume_share = 0.0;
    });
    let response = proxy.client().patient().get("/film.mp4");
    assert_eq!(response.ending, Ending::Whole);
    assert!(response.body == object, "the body differs");
    assert_eq!(count(&proxy, "resumes_denied"), 0);
}

#[test]
fn an_origin_that_cuts_every_body_is_not_buried_in_requests() {
    let origin = origin(object(6, 100_000), vec![Deed::Cut(10); 10_000]);
    let proxy = Proxy::before(&origin, |settings| {
        quick(settings);
        settings.transfers.resume_burst = 5.0;
        settings.transfers.resume_rate = 0.0;
        settings.transfers.resume_share = 0.0;
    });
    for _ in 0..20 {
        assert_ne!(proxy.get("/film.mp4").ending, Ending::Whole);
    }
    assert!(origin.hits() <= 20 + 5, "{} requests", origin.hits());
    assert!(count(&proxy, "resumes_denied") > 0);
}

#[test]
fn at_level_medium_a_cut_body_ends_visibly() {
    let origin = origin(object(7, 1_000_000), vec![Deed::Cut(500_000)]);
    let proxy = Proxy::before(&origin, |settings| {
        settings.optimization.level = Level::Medium
    });
    assert_ne!(proxy.get("/film.mp4").ending, Ending::Whole);
    assert_eq!(origin.hits(), 1);
}

/// An origin that gives each connection little at a time, as a long or lossy path does.
fn narrow(object: Vec<u8>, after: Vec<Deed>) -> Origin {
    let next = Arc::new(AtomicUsize::new(0));
    Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let n = next.fetch_add(1, SeqCst);
            if let Some(deed) = n.checked_sub(1).and_then(|n| after.get(n)) {
                if !act(connection, &request, deed, &object) {
                    return;
                }
                continue;
            }
            if !trickle(connection, &request, &object) {
                return;
            }
        }
    })
}

/// Sends what was asked for, little at a time.
pub(super) fn trickle(connection: &mut Connection, request: &Request, object: &[u8]) -> bool {
    let range = request.range(object.len());
    let (first, last) = range.unwrap_or((0, object.len() - 1));
    let head = match range {
        Some(_) => format!(
            "206 Partial Content\r\ncontent-range: bytes {first}-{last}/{}",
            object.len()
        ),
        None => "200 OK".to_owned(),
    };
    let part = &object[first..=last];
    connection.send(format!(
        "HTTP/1.1 {head}\r\netag: \"v1\"\r\naccept-ranges: bytes\r\ncontent-length: {}\r\n\r\n",
        part.len()
    ));
    part.chunks(16 * 1024).all(|piece| {
        std::thread::sleep(Duration::from_millis(10));
        connection.send(piece)
    })
}

pub(super) fn several(settings: &mut fileproxy::settings::Settings) {
    quick(settings);
    settings.transfers.parallel_from = Class::Good;
}

#[test]
fn a_path_that_holds_each_connection_back_is_used_by_several() {
    let object = object(8, 12_000_000);
    let origin = narrow(object.clone(), Vec::new());
    let proxy = Proxy::before(&origin, several);
    let response = proxy.client().patient().get("/film.mp4");
    assert_eq!((response.status, response.ending), (200, Ending::Whole));
    assert!(response.body == object, "the body differs");
    assert!(response.field("content-range").is_none());
    assert_eq!(response.field("content-length").unwrap(), "12000000");
    assert!(origin.most_open() > 2, "{} connections", origin.most_open());
    assert_eq!(count(&proxy, "parallel"), 1);
    assert_eq!(count(&proxy, "parts_given_up"), 0);
}

#[test]
fn an_origin_without_ranges_is_fetched_the_plain_way() {
    let object = object(9, 4_000_000);
    let origin = narrow(object.clone(), vec![Deed::NoRange; 100]);
    let proxy = Proxy::before(&origin, several);
    let response = proxy.client().patient().get("/film.mp4");
    assert_eq!(response.ending, Ending::Whole);
    assert!(response.body == object, "the body differs");
    assert!(count(&proxy, "parts_given_up") > 0);
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let at = 0..400_000usize;
    let deed = prop_oneof![
        3 => at.clone().prop_map(Deed::Cut),
        2 => at.clone().prop_map(Deed::Reset),
        2 => at.prop_map(Deed::CutChunks),
        1 => Just(Deed::Whole),
        1 => Just(Deed::NoRange),
        1 => Just(Deed::Changed),
        1 => Just(Deed::Weak),
        1 => Just(Deed::WrongRange),
        1 => Just(Deed::ShortRange),
        1 => Just(Deed::TooMany),
        1 => Just(Deed::ChunkTooLarge),
        1 => Just(Deed::ChunkedShort),
        1 => Just(Deed::ChunkedLong),
        1 => Just(Deed::Multipart),
        1 => Just(Deed::Unsatisfied),
        1 => Just(Deed::Gzip),
        1 => Just(Deed::Busy),
        1 => Just(Deed::TooSoon(0)),
        1 => (0..400_000usize).prop_map(Deed::Silence),
        1 => (0..300u64).prop_map(Deed::Late),
        1 => Just(Deed::Mute),
    ];
    prop::collection::vec(deed, 0..8)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_origin_does_no_wrong_byte_reaches_the_client(
        first in 0..300_000usize,
        deeds in deeds(),
        len in 1..400_000usize,
        several_connections in any::<bool>(),
    ) {
        let object = object(10, len);
        let mut all = vec![Deed::Cut(first)];
        all.extend(deeds);
        let origin = origin(object.clone(), all.clone());
        let proxy = Proxy::before(&origin, |settings| {
            quick(settings);
            settings.transfers.stall_window = Duration::from_millis(100);
            if several_connections {
                several(settings);
                settings.transfers.parallel_least = bytesize::ByteSize::kib(64);
                settings.transfers.parallel_segment = bytesize::ByteSize::kib(32);
            }
        });
        let response = proxy.client().patient().get("/film.mp4");
        prop_assert!(
            object.starts_with(&response.body),
            "{} bytes that are not the object's, after {all:?}", response.body.len()
        );
        if response.ending == Ending::Whole {
            prop_assert_eq!(response.body.len(), object.len(), "a part looks whole, after {:?}", all);
        }
    }
}

/// An origin with ranges that gives each connection little at a time; the deeds that are put in come first.
pub(super) fn surprising(object: Vec<u8>) -> (Origin, Arc<Mutex<VecDeque<Deed>>>) {
    let deeds = Arc::new(Mutex::new(VecDeque::new()));
    let next = Arc::clone(&deeds);
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let deed = next.lock().unwrap().pop_front();
            if let Some(deed) = deed {
                if !act(connection, &request, &deed, &object) {
                    return;
                }
            } else if !trickle(connection, &request, &object) {
                return;
            }
        }
    });
    (origin, deeds)
}
