//! What may look whole: bodies without a length, codings that lie, answers of a version that only a date names.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use actix_rt::System;
use bytesize::ByteSize;
use fileproxy::{settings::Settings, traffic::level::Level};
use proptest::prelude::*;

use super::{
    support::{
        certificate::Certificate,
        client::Ending,
        origin::{Connection, Origin, Request},
        proxy::Proxy,
        secure::{answer, h2, request},
        until,
    },
    transfers::{count, object, quick},
};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\netag: \"v1\"\r\ntransfer-encoding: chunked\r\n\r\n";

fn soon_stalled(settings: &mut Settings) {
    quick(settings);
    settings.transfers.stall_window = Duration::from_millis(100);
}

/// A chunk whose size line says so many bytes, whatever there are.
fn chunk(says: usize, bytes: &[u8]) -> Vec<u8> {
    [format!("{says:x}\r\n").as_bytes(), bytes, b"\r\n"].concat()
}

/// The part that was asked for, of what there is by now.
fn part(connection: &mut Connection, request: &Request, there: &[u8]) -> bool {
    match request.range(there.len()) {
        Some((first, last)) => connection.send(
            [
                format!(
                    "HTTP/1.1 206 Partial Content\r\netag: \"v1\"\r\ncontent-range: bytes {first}-{last}/{}\r\ncontent-length: {}\r\n\r\n",
                    there.len(),
                    last + 1 - first
                )
                .as_bytes(),
                &there[first..=last],
            ]
            .concat(),
        ),
        None => connection.send(format!(
            "HTTP/1.1 416 Range Not Satisfiable\r\netag: \"v1\"\r\ncontent-range: bytes */{}\r\ncontent-length: 0\r\n\r\n",
            there.len()
        )),
    }
}

#[test]
fn a_body_without_a_told_length_that_pauses_is_not_replaced_by_one_that_ends_earlier() {
    for head in [
        CHUNKED,
        "HTTP/1.1 200 OK\r\netag: \"v1\"\r\nconnection: close\r\n\r\n",
    ] {
        let object = object(1, 300_000);
        let whole = object.clone();
        let chunked = head == CHUNKED;
        let origin = Origin::following(move |connection| {
            while let Some(request) = connection.request() {
                let there = &object[..100_000];
                if request.target() == b"/told" && request.field("range").is_none() {
                    // The clock of this test: its stalls are seen.
                    connection.send("HTTP/1.1 200 OK\r\netag: \"v1\"\r\ncontent-length: 9\r\n\r\n");
                    connection.stall();
                    return;
                }
                if request.field("range").is_some() {
                    part(connection, &request, there);
                    continue;
                }
                let piece = |bytes: &[u8]| {
                    if chunked {
                        chunk(bytes.len(), bytes)
                    } else {
                        bytes.to_vec()
                    }
                };
                connection.send(head);
                connection.send(piece(there));
                connection.wait();
                connection.send(piece(&object[100_000..]));
                if !chunked {
                    return;
                }
                connection.send("0\r\n\r\n");
            }
        });
        let proxy = Proxy::before(&origin, soon_stalled);
        let mut live = proxy.client();
        live.send("GET /live HTTP/1.1\r\nhost: p\r\n\r\n");
        let head = live.head();
        let mut told = proxy.client();
        told.send("GET /told HTTP/1.1\r\nhost: p\r\n\r\n");
        until("the other one was found stalled again and again", || {
            (count(&proxy, "stalls") + count(&proxy, "stalls_denied") >= 6).then_some(())
        });
        origin.open_gate();
        let (body, ending) = live.body(&head);
        assert!(body == whole, "{} bytes", body.len());
        assert!(!chunked || ending == Ending::Whole);
        let ranges = origin.requests();
        let beside = ranges
            .iter()
            .filter(|request| request.target() == b"/live" && request.field("range").is_some());
        assert_eq!(beside.count(), 0);
    }
}

/// A file in the making, of which `there` bytes are by the time that the first response breaks. Parts know only those;
/// `again` answers whoever asks for all of it once more.
fn growing(
    object: Vec<u8>,
    there: usize,
    sent: usize,
    again: impl Fn(&mut Connection, &[u8]) -> bool + Send + Sync + 'static,
) -> Origin {
    let whole = AtomicUsize::new(0);
    Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            if request.field("range").is_some() {
                part(connection, &request, &object[..there]);
            } else if whole.fetch_add(1, SeqCst) == 0 {
                connection.send(CHUNKED);
                connection.send(chunk(sent, &object[..sent]));
                connection.reset_when_read();
                return;
            } else if !again(connection, &object) {
                return;
            }
        }
    })
}

#[test]
fn a_file_in_the_making_whose_response_broke_goes_on_to_its_own_end() {
    for (there, sent) in [(60_000, 20_000), (20_000, 20_000)] {
        let object = object(2, 100_000);
        let origin = growing(object.clone(), there, sent, |connection, object| {
            connection.send(CHUNKED);
            connection.send(chunk(70_000, &object[..70_000]));
            connection.send(chunk(30_000, &object[70_000..]));
            connection.send("0\r\n\r\n")
        });
        let proxy = Proxy::before(&origin, quick);
        let response = proxy.get("/live.m4s");
        assert_eq!(response.ending, Ending::Whole);
        assert!(response.body == object, "{} bytes", response.body.len());
        assert_eq!(count(&proxy, "reread_bytes"), there as u64);
    }
}

#[test]
fn what_there_is_of_a_file_in_the_making_never_looks_whole() {
    let ways: [fn(&mut Connection, &[u8]) -> bool; 5] = [
        |connection, _| connection.send("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
        // Another version, all of it.
        |connection, object| {
            connection
                .send("HTTP/1.1 200 OK\r\netag: \"v2\"\r\ntransfer-encoding: chunked\r\n\r\n");
            connection.send(chunk(object.len(), object));
            connection.send("0\r\n\r\n")
        },
        // Less than was sent, and a proper end.
        |connection, object| {
            connection.send(CHUNKED);
            connection.send(chunk(10_000, &object[..10_000]));
            connection.send("0\r\n\r\n")
        },
        // Only the close says that it is all.
        |connection, object| {
            connection.send("HTTP/1.1 200 OK\r\netag: \"v1\"\r\n\r\n");
            connection.send(&object[..60_000]);
            false
        },
        // It breaks at the same place, each time.
        |connection, object| {
            connection.send(CHUNKED);
            connection.send(chunk(60_000, &object[..60_000]));
            false
        },
    ];
    for (there, sent) in [(60_000, 20_000), (20_000, 20_000)] {
        for (n, again) in ways.into_iter().enumerate() {
            let object = object(3, 100_000);
            let origin = growing(object.clone(), there, sent, again);
            let proxy = Proxy::before(&origin, quick);
            let response = proxy.get("/live.m4s");
            assert!(object.starts_with(&response.body), "way {n}");
            assert_ne!(
                response.ending,
                Ending::Whole,
                "way {n}, {there} bytes there"
            );
        }
    }
}

/// Ways to break the chunked coding around the first part of a body; the rest of it follows, or the connection's end.
fn lies() -> Vec<(&'static str, Vec<u8>)> {
    let object = object(4, 60_000);
    let (a, b) = object.split_at(20_000);
    let rest = [chunk(b.len(), b), b"0\r\n\r\n".to_vec()].concat();
    let text = [b"a text with line ends\r\n".repeat(10), vec![b'x'; 1000]].concat();
    vec![
        ("one too large", [chunk(20_001, a), rest.clone()].concat()),
        ("two too large", [chunk(20_002, a), rest.clone()].concat()),
        ("one too small", [chunk(19_999, a), rest.clone()].concat()),
        (
            "two too small",
            [
                chunk(230 - 2, &text[..230]),
                chunk(1000, &text[230..]),
                b"0\r\n\r\n".to_vec(),
            ]
            .concat(),
        ),
        ("no line end", [&b"4e20\r\n"[..], a, &rest].concat()),
        (
            "no size",
            [chunk(20_000, a), b"\r\n".to_vec(), rest.clone()].concat(),
        ),
        (
            "garbage",
            [chunk(20_000, a), b"<html>502</html>\r\n".to_vec()].concat(),
        ),
        (
            "a size over 64 bits",
            [
                chunk(20_000, a),
                b"10000000000000000\r\n".to_vec(),
                b.to_vec(),
            ]
            .concat(),
        ),
        (
            "a trailer that is none",
            [
                chunk(20_000, a),
                b"0\r\n".to_vec(),
                b.to_vec(),
                b"\r\n\r\n".to_vec(),
            ]
            .concat(),
        ),
        // The break comes before the lie could be seen.
        (
            "one too large, then the end",
            [format!("{:x}\r\n", 20_001).as_bytes(), a, b"\r"].concat(),
        ),
        (
            "two too large, then the end",
            [format!("{:x}\r\n", 20_002).as_bytes(), a, b"\r\n"].concat(),
        ),
        (
            "far too large, then the end",
            [
                format!("{:x}\r\n", 50_000).as_bytes(),
                a,
                b"\r\n",
                &chunk(9000, &b[..9000]),
            ]
            .concat(),
        ),
    ]
}

/// An origin that answers honestly where a part is asked for, and so where the whole is asked for.
fn lying(bytes: Vec<u8>) -> Origin {
    let object = object(4, 60_000);
    Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            if request.field("range").is_some() {
                part(connection, &request, &object);
            } else {
                connection.send(CHUNKED);
                connection.send(&bytes);
                return;
            }
        }
    })
}

#[test]
fn a_body_whose_chunked_coding_lies_ends_visibly_at_every_level() {
    for level in [Level::Low, Level::High] {
        for (how, bytes) in lies() {
            let origin = lying(bytes);
            let proxy = Proxy::before(&origin, |settings| {
                quick(settings);
                settings.optimization.level = level;
            });
            let response = proxy.get("/file");
            assert_ne!(response.ending, Ending::Whole, "{how} at {level:?}");
            let asked = origin.requests();
            let resumed = asked.iter().any(|request| request.field("range").is_some());
            // An end of the connection is a break like any other, until the rest shows what came before it.
            assert_eq!(
                resumed,
                level == Level::High && how.contains("the end"),
                "{how}"
            );
        }
    }
}

#[test]
fn a_body_whose_chunked_coding_lies_resets_its_stream_over_http2() {
    for level in [Level::Low, Level::High] {
        for (how, bytes) in lies() {
            let (origin, certificate) = (lying(bytes), Certificate::new());
            let proxy = Proxy::before(&origin, |settings| {
                quick(settings);
                certificate.show(settings);
                settings.optimization.level = level;
            });
            System::new().block_on(async {
                let mut client = h2(proxy.address(), &certificate).await;
                let (_, body) = answer(&mut client, request("GET", "/file")).await;
                assert!(body.unwrap_err().is_reset(), "{how} at {level:?}");
            });
        }
    }
}

#[test]
fn a_body_that_breaks_in_the_middle_of_a_chunk_is_resumed_where_the_chunk_began() {
    let object = object(5, 200_000);
    let parts = object.clone();
    let broken = AtomicUsize::new(0);
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            if request.field("range").is_some() {
                part(connection, &request, &parts);
                continue;
            }
            connection.send(CHUNKED);
            connection.send(chunk(50_000, &parts[..50_000]));
            if broken.fetch_add(1, SeqCst) == 0 {
                connection.send(format!("{:x}\r\n", 100_000));
                connection.send(&parts[50_000..120_000]);
                return;
            }
            connection.send(chunk(150_000, &parts[50_000..]));
            connection.send("0\r\n\r\n");
        }
    });
    let proxy = Proxy::before(&origin, quick);
    let response = proxy.get("/file");
    assert_eq!(response.ending, Ending::Whole);
    assert!(response.body == object, "the body differs");
    assert_eq!(origin.requests()[1].field("range").unwrap(), "bytes=50000-");
}

/// An origin with the whole alone, whatever range is asked for: the first answer is cut after so many bytes.
fn without_ranges(object: Vec<u8>, fields: &'static str, cut: usize) -> Origin {
    let first = AtomicUsize::new(0);
    Origin::following(move |connection| {
        while connection.request().is_some() {
            connection.send(format!(
                "HTTP/1.1 200 OK\r\n{fields}content-length: {}\r\n\r\n",
                object.len()
            ));
            if first.fetch_add(1, SeqCst) == 0 {
                connection.send(&object[..cut]);
                return;
            }
            connection.send(&object);
        }
    })
}

const DATED: &str =
    "date: Mon, 01 Jan 2024 00:00:11 GMT\r\nlast-modified: Mon, 01 Jan 2024 00:00:10 GMT\r\n";

#[test]
fn a_200_with_the_same_version_and_length_is_read_past_what_was_sent() {
    for fields in ["etag: \"v1\"\r\n", DATED] {
        let object = object(6, 500_000);
        let origin = without_ranges(object.clone(), fields, 200_000);
        let proxy = Proxy::before(&origin, quick);
        let response = proxy.get("/file");
        assert_eq!(response.ending, Ending::Whole, "{fields}");
        assert!(response.body == object, "the body differs");
        assert_eq!(count(&proxy, "reread_bytes"), 200_000);
        assert_eq!(origin.hits(), 2);
    }
}

#[test]
fn no_more_is_read_once_more_than_may_be() {
    let origin = without_ranges(object(6, 500_000), "etag: \"v1\"\r\n", 200_000);
    let proxy = Proxy::before(&origin, |settings| {
        quick(settings);
        settings.transfers.resume_reread = ByteSize::b(199_999);
    });
    assert_ne!(proxy.get("/file").ending, Ending::Whole);
    assert_eq!(count(&proxy, "reread_bytes"), 0);
}

/// A file server without entity tags: the first answer, with `first` for its fields, is cut, the rest has `rest`.
fn dated(object: Vec<u8>, first: &'static str, rest: &'static str) -> Origin {
    Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let Some((from, to)) = request.range(object.len()) else {
                connection.send(format!(
                    "HTTP/1.1 200 OK\r\n{first}content-length: {}\r\n\r\n",
                    object.len()
                ));
                connection.send(&object[..100_000]);
                return;
            };
            connection.send(format!(
                "HTTP/1.1 206 Partial Content\r\n{rest}content-range: bytes {from}-{to}/{}\r\ncontent-length: {}\r\n\r\n",
                object.len(),
                to + 1 - from
            ));
            connection.send(&object[from..=to]);
        }
    })
}

#[test]
fn a_body_is_resumed_by_a_last_modified_that_is_strong() {
    let object = object(7, 300_000);
    let origin = dated(object.clone(), DATED, DATED);
    let proxy = Proxy::before(&origin, quick);
    let response = proxy.get("/file");
    assert_eq!(response.ending, Ending::Whole);
    assert!(response.body == object, "the body differs");
    let rest = origin.last();
    assert_eq!(rest.field("range").unwrap(), "bytes=100000-");
    assert_eq!(
        rest.field("if-range").unwrap(),
        "Mon, 01 Jan 2024 00:00:10 GMT"
    );
}

#[test]
fn a_last_modified_that_could_be_of_two_versions_resumes_nothing() {
    for first in [
        // Within the same second there may have been two.
        "date: Mon, 01 Jan 2024 00:00:10 GMT\r\nlast-modified: Mon, 01 Jan 2024 00:00:10 GMT\r\n",
        "date: Mon, 01 Jan 2024 00:00:09 GMT\r\nlast-modified: Mon, 01 Jan 2024 00:00:10 GMT\r\n",
        "last-modified: Mon, 01 Jan 2024 00:00:10 GMT\r\n",
        "date: Mon, 01 Jan 2024 00:00:11 GMT\r\nlast-modified: Mon, 01 Jan 2024 00:00:10 GMT\r\netag: W/\"a\"\r\n",
    ] {
        let origin = dated(object(7, 300_000), first, DATED);
        let proxy = Proxy::before(&origin, quick);
        assert_ne!(proxy.get("/file").ending, Ending::Whole, "{first}");
        assert_eq!(origin.hits(), 1, "{first}");
    }
}

#[test]
fn a_rest_of_another_date_or_without_one_is_not_used() {
    for rest in [
        "date: Mon, 01 Jan 2024 00:00:12 GMT\r\n",
        "date: Mon, 01 Jan 2024 00:00:12 GMT\r\nlast-modified: Mon, 01 Jan 2024 00:00:11 GMT\r\n",
        "last-modified: Mon, 01 Jan 2024 00:00:10 GMT\r\netag: \"other\"\r\n",
    ] {
        let object = object(7, 300_000);
        let origin = dated(object.clone(), DATED, rest);
        let proxy = Proxy::before(&origin, quick);
        let response = proxy.get("/file");
        assert_ne!(response.ending, Ending::Whole, "{rest}");
        assert!(response.body == object[..100_000], "two versions are mixed");
    }
}

#[test]
fn the_first_response_goes_on_where_the_one_that_took_over_breaks_for_good() {
    let object = object(8, 500_000);
    let whole = object.clone();
    let beside = AtomicUsize::new(0);
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let Some((first, last)) = request.range(object.len()) else {
                connection.send(format!(
                    "HTTP/1.1 200 OK\r\netag: \"v1\"\r\ncontent-length: {}\r\n\r\n",
                    object.len()
                ));
                connection.send(&object[..100_000]);
                connection.wait();
                connection.send(&object[100_000..]);
                continue;
            };
            if beside.fetch_add(1, SeqCst) == 0 {
                connection.send(format!(
                    "HTTP/1.1 206 Partial Content\r\netag: \"v1\"\r\ncontent-range: bytes {first}-{last}/{}\r\ncontent-length: {}\r\n\r\n",
                    object.len(),
                    last + 1 - first
                ));
                connection.send(&object[first..first + 50_000]);
                return;
            }
            // A link that was good once.
            connection.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let proxy = Proxy::before(&origin, soon_stalled);
    let mut client = proxy.client();
    client.send("GET /film.mp4 HTTP/1.1\r\nhost: p\r\n\r\n");
    until("the second response broke", || {
        (count(&proxy, "resumes_given_up") >= 1).then_some(())
    });
    origin.open_gate();
    let response = client.response();
    assert_eq!(response.ending, Ending::Whole);
    assert!(response.body == whole, "the body differs");
}

#[test]
fn a_body_that_pauses_is_not_left_for_a_second_response_that_has_no_byte_either() {
    let object = object(8, 500_000);
    let whole = object.clone();
    let beside = Arc::new(AtomicUsize::new(0));
    let asked_beside = Arc::clone(&beside);
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            let Some((first, last)) = request.range(object.len()) else {
                connection.send(format!(
                    "HTTP/1.1 200 OK\r\netag: \"v1\"\r\ncontent-length: {}\r\n\r\n",
                    object.len()
                ));
                connection.send(&object[..100_000]);
                connection.wait();
                connection.send(&object[100_000..]);
                continue;
            };
            connection.send(format!(
                "HTTP/1.1 206 Partial Content\r\netag: \"v1\"\r\ncontent-range: bytes {first}-{last}/{}\r\ncontent-length: {}\r\n\r\n",
                object.len(),
                last + 1 - first
            ));
            asked_beside.fetch_add(1, SeqCst);
            connection.stall();
            return;
        }
    });
    let proxy = Proxy::before(&origin, |settings| {
        soon_stalled(settings);
        settings.transfers.stall_budget = 1.0;
    });
    let mut client = proxy.client();
    client.send("GET /film.mp4 HTTP/1.1\r\nhost: p\r\n\r\n");
    until(
        "a second response has begun, and another one after it",
        || (beside.load(SeqCst) >= 2).then_some(()),
    );
    origin.open_gate();
    let response = client.patient().response();
    assert_eq!(response.ending, Ending::Whole);
    assert!(response.body == whole, "the body differs");
    assert_eq!(count(&proxy, "stalls_mended"), 0);
}

#[test]
fn a_body_that_falls_to_a_trickle_is_left_for_one_that_comes_as_before() {
    let object = object(9, 1_000_000);
    let whole = object.clone();
    let origin = Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            if request.field("range").is_some() {
                part(connection, &request, &object);
                continue;
            }
            connection.send(format!(
                "HTTP/1.1 200 OK\r\netag: \"v1\"\r\ncontent-length: {}\r\n\r\n",
                object.len()
            ));
            if request.target() == b"/fast" {
                connection.send(&object);
                continue;
            }
            connection.send(&object[..300_000]);
            let mut trickle = object[300_000..].iter();
            while trickle.next().is_some_and(|&byte| connection.send([byte])) {
                std::thread::sleep(Duration::from_millis(10));
            }
            return;
        }
    });
    let proxy = Proxy::before(&origin, |settings| {
        quick(settings);
        settings.transfers.stall_window = Duration::from_millis(500);
    });
    until("it is known how fast the origin is", || {
        proxy.get("/fast");
        (proxy.published().origin().counters.exchanges.count() > 2).then_some(())
    });
    let response = proxy.client().patient().get("/film.mp4");
    assert_eq!(response.ending, Ending::Whole);
    assert!(response.body == whole, "the body differs");
    assert!(count(&proxy, "stalls_mended") >= 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_chunked_coding_says_no_wrong_byte_is_in_a_body_that_looks_whole(
        len in 1..60_000usize,
        chunks in prop::collection::vec((1..20_000usize, -3..4isize), 1..6),
        cut in prop::option::of(0..70_000usize),
        of_lines in any::<bool>(),
    ) {
        let object: Vec<u8> = if of_lines {
            b"\r\n".iter().copied().cycle().take(len).collect()
        } else {
            object(10, len)
        };
        let honest = object.clone();
        let mut coded = Vec::new();
        let mut at = 0;
        for (size, lie) in chunks {
            let to = (at + size).min(len);
            if to > at {
                let says = (to - at).saturating_add_signed(lie).max(1);
                coded.extend(chunk(says, &object[at..to]));
                at = to;
            }
        }
        if at < len {
            coded.extend(chunk(len - at, &object[at..]));
        }
        coded.extend(b"0\r\n\r\n");
        coded.truncate(cut.unwrap_or(coded.len()));
        let coded = Arc::new(coded);
        let origin = Origin::following(move |connection| {
            while let Some(request) = connection.request() {
                if request.field("range").is_some() {
                    part(connection, &request, &honest);
                } else {
                    connection.send(CHUNKED);
                    connection.send(&*coded);
                    return;
                }
            }
        });
        let proxy = Proxy::before(&origin, quick);
        let response = proxy.client().patient().get("/file");
        if response.ending == Ending::Whole {
            prop_assert!(response.body == object, "{} of {len} bytes look whole", response.body.len());
        }
    }
}
