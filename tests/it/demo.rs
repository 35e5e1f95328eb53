//! The built-in origin and its viewers, over real sockets.

#![allow(clippy::unwrap_used)] // a helper that fails has failed the test

use std::{
    cell::RefCell,
    io::{self, BufRead as _, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    rc::Rc,
    sync::LazyLock,
    time::{Duration, Instant},
};

use awc::{
    Client, ClientResponse,
    http::{
        StatusCode,
        header::{
            ACCEPT_RANGES, ALLOW, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap,
            HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE,
        },
    },
};
use bytes::Bytes;
use fileproxy::{
    demo::{Demo, Network, Options, Origin, Viewers, network::Fault},
    traffic::level::Level,
};
use fileproxy_testbed::fault::How;
use proptest::prelude::*;
use ring::digest::{SHA256, digest};

use crate::support::{
    eventually,
    proxy::{Proxy, TOKEN},
};

fn origin(network: Network) -> Origin {
    Origin::start(SocketAddr::from(([127, 0, 0, 1], 0)), network, 1).unwrap()
}

/// One good origin for all tests that only read from it.
static GOOD: LazyLock<Origin> = LazyLock::new(|| origin(Network::Good));

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn header(&self, name: HeaderName) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

async fn get(path: &str, headers: &[(HeaderName, &str)]) -> Answer {
    let mut request = Client::new().get(format!("{}{path}", GOOD.url()));
    for (name, value) in headers {
        request = request.insert_header((name.clone(), *value));
    }
    whole(request.send().await.unwrap()).await
}

async fn whole<S>(mut response: ClientResponse<S>) -> Answer
where
    S: futures_util::Stream<Item = Result<Bytes, awc::error::PayloadError>> + Unpin,
{
    let body = if response.status() == StatusCode::NOT_MODIFIED {
        Bytes::new()
    } else {
        response.body().limit(256 << 20).await.unwrap()
    };
    Answer {
        status: response.status(),
        headers: response.headers().clone(),
        body,
    }
}

/// Sends `head` over a connection of its own and reads to the end, however it comes.
fn raw(addr: SocketAddr, head: &str) -> (Vec<u8>, std::io::Result<()>) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let end = stream.read_to_end(&mut answer).map(|_| ());
    (answer, end)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[actix_rt::test]
async fn a_file_has_its_length_and_the_same_bytes_each_time() {
    let first = get("/files/1MB.bin", &[]).await;
    let again = get("/files/1MB.bin", &[]).await;

    assert_eq!(first.status, 200);
    assert_eq!(first.header(CONTENT_LENGTH), "1048576");
    assert_eq!(first.header(ACCEPT_RANGES), "bytes");
    assert_eq!(first.body.len(), 1 << 20);
    assert!(first.body == again.body);
}

#[actix_rt::test]
async fn files_of_one_length_at_two_paths_differ() {
    let kilobyte = get("/files/1KB.bin", &[]).await;
    let same = get("/files/1024.bin", &[]).await;

    assert_eq!(kilobyte.body.len(), same.body.len());
    assert_ne!(kilobyte.body, same.body);
    assert_ne!(kilobyte.header(ETAG), same.header(ETAG));
}

#[actix_rt::test]
async fn the_checksums_are_those_of_the_files() {
    let sums = get("/files/SHA256SUMS", &[]).await;
    let sums = std::str::from_utf8(&sums.body).unwrap();

    assert_eq!(sums.lines().count(), 5);
    for line in sums.lines().take(4) {
        let (sum, name) = line.split_once("  ").unwrap();
        let file = get(&format!("/files/{name}"), &[]).await;
        assert_eq!(hex(digest(&SHA256, &file.body).as_ref()), sum, "{name}");
    }
}

#[actix_rt::test]
async fn a_range_deep_in_a_huge_file_comes_at_once() {
    let answer = get("/files/10GB.bin", &[(RANGE, "bytes=10737418000-")]).await;

    assert_eq!(answer.status, 206);
    assert_eq!(
        answer.header(CONTENT_RANGE),
        "bytes 10737418000-10737418239/10737418240"
    );
    assert_eq!(answer.body.len(), 240);
}

#[test]
fn any_single_range_is_that_part_of_the_whole() {
    let runtime = actix_rt::System::new();
    let file = runtime.block_on(get("/files/64KB.bin", &[])).body;
    let len = file.len();
    let specs = prop_oneof![
        (0..len, 0..2 * len).prop_map(|(a, n)| (format!("{a}-{}", a + n), a..(a + n + 1).min(len))),
        (0..len).prop_map(|a| (format!("{a}-"), a..len)),
        (1..2 * len).prop_map(|n| (format!("-{n}"), len.saturating_sub(n)..len)),
    ];

    proptest!(ProptestConfig::with_cases(64), |((spec, part) in specs)| {
        let range = format!("bytes={spec}");
        let answer = runtime.block_on(get("/files/64KB.bin", &[(RANGE, &range)]));
        prop_assert_eq!(answer.status, 206);
        prop_assert_eq!(
            answer.header(CONTENT_RANGE),
            format!("bytes {}-{}/{len}", part.start, part.end - 1)
        );
        prop_assert_eq!(answer.header(CONTENT_LENGTH), part.len().to_string());
        prop_assert!(answer.body == file[part]);
    });
}

#[actix_rt::test]
async fn several_ranges_come_as_parts_with_an_exact_length() {
    let file = get("/files/64KB.bin", &[]).await.body;
    let answer = get("/files/64KB.bin", &[(RANGE, "bytes=0-9, 100-149,-5")]).await;

    assert_eq!(answer.status, 206);
    assert_eq!(answer.header(CONTENT_LENGTH), answer.body.len().to_string());
    let kind = answer.header(CONTENT_TYPE);
    let boundary = kind
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    let mut expected = Vec::new();
    for part in [0..10, 100..150, 65531..65536] {
        write!(
            expected,
            "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n\
             Content-Range: bytes {}-{}/65536\r\n\r\n",
            part.start,
            part.end - 1
        )
        .unwrap();
        expected.extend(&file[part]);
    }
    write!(expected, "\r\n--{boundary}--\r\n").unwrap();
    assert!(answer.body == expected);
}

#[actix_rt::test]
async fn a_range_beyond_the_end_gives_416_and_the_length() {
    for range in ["bytes=1024-", "bytes=5000-6000", "bytes=-0"] {
        let answer = get("/files/1KB.bin", &[(RANGE, range)]).await;
        assert_eq!(answer.status, 416, "{range}");
        assert_eq!(answer.header(CONTENT_RANGE), "bytes */1024", "{range}");
    }
}

#[actix_rt::test]
async fn a_range_header_that_is_no_range_is_ignored() {
    for range in ["lines=1-2", "bytes=9-2", "bytes", "bytes=x-y"] {
        let answer = get("/files/1KB.bin", &[(RANGE, range)]).await;
        assert_eq!(answer.status, 200, "{range}");
        assert_eq!(answer.body.len(), 1024, "{range}");
    }
}

#[actix_rt::test]
async fn a_range_is_given_only_for_the_same_file() {
    let file = get("/files/1KB.bin", &[]).await;
    let cases = [
        (file.header(ETAG), 206),
        (file.header(LAST_MODIFIED), 206),
        ("\"another\"", 200),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 200),
    ];
    for (validator, status) in cases {
        let headers = [(RANGE, "bytes=0-9"), (IF_RANGE, validator)];
        assert_eq!(
            get("/files/1KB.bin", &headers).await.status,
            status,
            "{validator}"
        );
    }
}

#[actix_rt::test]
async fn a_client_that_has_the_file_gets_304() {
    let file = get("/files/1KB.bin", &[]).await;
    let (etag, date) = (file.header(ETAG), file.header(LAST_MODIFIED));
    assert!(etag.starts_with('"'), "{etag} is weak");
    let several = format!("\"x\", W/{etag}");
    let known = [
        vec![(IF_NONE_MATCH, etag)],
        vec![(IF_NONE_MATCH, "*")],
        vec![(IF_NONE_MATCH, &several)],
        vec![(IF_MODIFIED_SINCE, date)],
    ];
    for headers in known {
        let answer = get("/files/1KB.bin", &headers).await;
        assert_eq!(answer.status, 304, "{headers:?}");
        assert_eq!(answer.header(ETAG), etag);
    }
    let unknown = [
        vec![(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, date)],
        vec![(IF_MODIFIED_SINCE, "Mon, 01 Jan 2001 00:00:00 GMT")],
    ];
    for headers in unknown {
        assert_eq!(
            get("/files/1KB.bin", &headers).await.status,
            200,
            "{headers:?}"
        );
    }
}

#[actix_rt::test]
async fn a_client_that_wants_another_file_gets_412() {
    let answer = get("/files/1KB.bin", &[(IF_MATCH, "\"x\"")]).await;
    assert_eq!(answer.status, 412);
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    for path in [
        "/files/1MB.bin",
        "/",
        "/hls/stream.m3u8",
        "/hls/seg-00001.ts",
    ] {
        let ask = |method| {
            raw(
                GOOD.addr(),
                &format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
            )
        };
        let (head, end) = ask("HEAD");
        let (whole, _) = ask("GET");
        end.unwrap();
        let length = |answer: &[u8]| {
            let text = String::from_utf8_lossy(answer).to_lowercase();
            let line = text.lines().find(|line| line.starts_with("content-length"));
            line.unwrap().to_owned()
        };
        assert!(head.starts_with(b"HTTP/1.1 200"), "{path}");
        assert!(head.ends_with(b"\r\n\r\n"), "{path}");
        assert_eq!(length(&head), length(&whole), "{path}");
    }
}

#[actix_rt::test]
async fn what_is_not_there_gives_404_and_what_cannot_be_done_405() {
    for path in [
        "/x",
        "/files/",
        "/files/11GB.bin",
        "/files/1XB.bin",
        "/hls/seg-00000.ts",
    ] {
        assert_eq!(get(path, &[]).await.status, 404, "{path}");
    }
    let url = format!("{}/files/1KB.bin", GOOD.url());
    let answer = whole(Client::new().delete(url).send().await.unwrap()).await;
    assert_eq!(answer.status, 405);
    assert_eq!(answer.header(ALLOW), "GET, HEAD");
}

#[actix_rt::test]
async fn a_status_comes_as_asked_for() {
    for status in [200, 204, 404, 418, 503] {
        assert_eq!(get(&format!("/status/{status}"), &[]).await.status, status);
    }
    for wrong in ["100", "600", "70000", "x"] {
        let status = get(&format!("/status/{wrong}"), &[]).await.status;
        assert!(status.is_client_error(), "{wrong}: {status}");
    }
}

#[actix_rt::test]
async fn a_slow_answer_takes_its_time() {
    let start = Instant::now();
    let answer = get("/slow?ms=200", &[]).await;
    assert_eq!(answer.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[actix_rt::test]
async fn a_chunked_body_has_no_length_and_all_bytes() {
    let answer = get("/chunked/300KB", &[]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header(CONTENT_LENGTH), "");
    assert_eq!(answer.body.len(), 300 * 1024);
}

#[actix_rt::test]
async fn an_upload_is_answered_with_its_length_and_hash() {
    let body = vec![7; 3_000_000];
    for request in [
        Client::new().post(format!("{}/upload", GOOD.url())),
        Client::new().put(format!("{}/upload", GOOD.url())),
    ] {
        let answer = whole(request.send_body(body.clone()).await.unwrap()).await;
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(json["bytes"], 3_000_000);
        assert_eq!(json["sha256"], hex(digest(&SHA256, &body).as_ref()));
    }
}

#[test]
fn a_taken_port_is_an_error_that_says_so() {
    let error = Origin::start(GOOD.addr(), Network::Good, 1).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
fn a_stopped_origin_frees_its_port() {
    let first = origin(Network::Good);
    let addr = first.addr();
    first.stop();
    Origin::start(addr, Network::Good, 1).unwrap().stop();
}

#[actix_rt::test]
async fn the_playlists_lead_to_segments_of_the_announced_rate() {
    let master = get("/hls/master.m3u8", &[]).await;
    assert_eq!(master.header(CONTENT_TYPE), "application/vnd.apple.mpegurl");
    let master = std::str::from_utf8(&master.body).unwrap();
    assert!(master.lines().any(|line| line == "stream.m3u8"));

    let playlist = get("/hls/stream.m3u8", &[]).await.body;
    let playlist = std::str::from_utf8(&playlist).unwrap();
    assert!(playlist.starts_with("#EXTM3U\n") && playlist.ends_with("#EXT-X-ENDLIST\n"));
    let names: Vec<_> = playlist
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(names.len(), 150);
    assert_eq!(playlist.matches("#EXTINF:4.000,\n").count(), 150);
    for name in [names[0], names[149]] {
        let segment = get(&format!("/hls/{name}"), &[]).await;
        assert_eq!(segment.header(CONTENT_TYPE), "video/mp2t");
        assert!(segment.body.chunks(188).all(|packet| packet[0] == 0x47));
        let rate = segment.body.len() * 8 / 4;
        assert!((1_490_000..1_500_000).contains(&rate), "{rate}");
    }
}

/// How a request over a bad network ended.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Whole,
    Unavailable,
    Cut,
    Reset,
}

#[test]
fn a_very_poor_network_breaks_the_answers_that_its_seed_says() {
    const REQUESTS: u64 = 120;
    const LEN: usize = 8 * 1024;
    let conditions = Network::VeryPoor.conditions(Duration::ZERO);
    let ends = |seed| -> Vec<_> {
        let end = |number| match conditions.fate(seed, number).fault {
            None => End::Whole,
            Some(Fault::Unavailable) => End::Unavailable,
            Some(Fault::Broken(_, How::Close)) => End::Cut,
            Some(Fault::Broken(..)) => End::Reset,
        };
        (0..REQUESTS).map(end).collect()
    };
    let all = [End::Unavailable, End::Cut, End::Reset];
    let seed = (0..)
        .find(|seed| all.iter().all(|fault| ends(*seed).contains(fault)))
        .unwrap();
    let mut expected = ends(seed);
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let origin = Origin::start(listen, Network::VeryPoor, seed).unwrap();
    let addr = origin.addr();

    let requests: Vec<_> = (0..REQUESTS)
        .map(|_| {
            std::thread::spawn(move || {
                let head = "GET /files/8KB.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
                let (answer, end) = raw(addr, head);
                if answer.starts_with(b"HTTP/1.1 503") {
                    return End::Unavailable;
                }
                let text = String::from_utf8_lossy(&answer);
                assert!(text.contains("content-length: 8192"), "{text}");
                let body = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
                match end {
                    Err(_) => End::Reset,
                    Ok(()) if answer.len() - body < LEN => End::Cut,
                    Ok(()) => End::Whole,
                }
            })
        })
        .collect();
    let mut ends: Vec<_> = requests.into_iter().map(|r| r.join().unwrap()).collect();

    ends.sort();
    expected.sort();
    assert_eq!(ends, expected);
}

#[actix_rt::test]
async fn a_poor_network_takes_the_time_that_its_delay_and_rate_say() {
    let origin = origin(Network::Poor);
    let start = Instant::now();
    let url = format!("{}/files/1MB.bin", origin.url());
    let response = Client::new().get(url).send().await.unwrap();
    let head = start.elapsed();
    let answer = whole(response).await;
    let body = start.elapsed() - head;

    assert_eq!(answer.body.len(), 1 << 20);
    assert!(head >= Duration::from_millis(150), "{head:?}");
    // 1 MiB at 10 Mbit/s are 839 ms, of which some may be on the way when the head comes
    assert!(body >= Duration::from_millis(750), "{body:?}");
}

/// Waits until `done` or, at most, for 20 seconds.
async fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline, "it did not come to that");
        actix_rt::time::sleep(Duration::from_millis(20)).await;
    }
}

#[actix_rt::test]
async fn viewers_hold_three_segments_each_and_check_them() {
    let viewers = Viewers::start(GOOD.url(), 2).unwrap();
    until(|| viewers.summary().segments >= 6).await;
    actix_rt::time::sleep(Duration::from_millis(200)).await;

    let summary = viewers.stop();

    assert_eq!(summary.viewers, 2);
    let held = summary.segments as f64 * 4.0 - summary.played.as_secs_f64();
    assert!(held <= 2.0 * 12.0, "{summary:?}");
    assert_eq!(summary.bytes, summary.segments * 748_240);
    assert_eq!((summary.failed, summary.wrong, summary.stalls), (0, 0, 0));
    assert!(summary.played > Duration::ZERO);
}

/// Serves the good origin's stream, its segments changed by `spoil` after their length was said.
fn spoiler(spoil: fn(&mut Vec<u8>)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let len = stream.read(&mut head).unwrap();
            let head = String::from_utf8_lossy(&head[..len]);
            let path = head.split(' ').nth(1).unwrap();
            let ask = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let (mut answer, _) = raw(GOOD.addr(), &ask);
            if path.ends_with(".ts") {
                spoil(&mut answer);
            }
            _ = stream.write_all(&answer); // a viewer that saw enough has left
        }
    });
    addr
}

#[actix_rt::test]
async fn a_segment_that_breaks_off_has_failed() {
    let addr = spoiler(|answer| answer.truncate(300_000));
    let viewers = Viewers::start(format!("http://{addr}"), 1).unwrap();
    until(|| viewers.summary().failed >= 2).await;
    let summary = viewers.stop();
    assert_eq!((summary.segments, summary.wrong), (0, 0));
}

#[actix_rt::test]
async fn a_segment_with_one_wrong_byte_is_wrong() {
    let addr = spoiler(|answer| answer[300_000] ^= 1);
    let viewers = Viewers::start(format!("http://{addr}"), 1).unwrap();
    until(|| viewers.summary().wrong >= 2).await;
    let summary = viewers.stop();
    assert_eq!((summary.segments, summary.failed), (0, 0));
}

/// What the demo writes, for who waits until it is there.
#[derive(Clone, Default)]
struct Screen(Rc<RefCell<Vec<u8>>>);

impl Screen {
    fn text(&self) -> String {
        String::from_utf8(self.0.borrow().clone()).unwrap()
    }

    fn shows(&self, words: &'static str) -> impl Future<Output = ()> + use<> {
        let screen = self.clone();
        async move { until(|| screen.text().contains(words)).await }
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[actix_rt::test]
async fn the_demo_shows_the_tour_and_how_the_viewers_fared() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let demo = Demo::start(Options {
        network: Network::Good,
        viewers: 1,
        canary: false,
        listen: any,
        origin: any,
        seed: 1,
    })
    .unwrap();
    let mut out = Screen::default();
    // The first line comes after the tour.
    let stop = out.shows("/stats: status");

    // no proxy: the origin itself, which has no /stats
    demo.show(GOOD.addr(), None, "http://monitor", "t0ken", &mut out, stop)
        .await
        .unwrap();

    let text = out.text();
    let lines: Vec<_> = text.lines().collect();
    assert!(text.contains(&demo.origin_url()), "{text}");
    assert!(text.contains("Bearer t0ken"), "{text}");
    assert!(text.contains("nothing goes wrong"), "{text}");
    let told = lines
        .iter()
        .rposition(|line| line.ends_with("/stats: status 404 Not Found"));
    let summary = &lines[told.unwrap() + 2..];
    assert_eq!(
        summary[0], "The viewers, in all         this proxy",
        "{text}"
    );
    assert_eq!(
        summary[2], "attempts that failed                 0",
        "{text}"
    );
    assert_eq!(
        summary[3], "segments with wrong bytes            0",
        "{text}"
    );
}

#[test]
fn the_demo_shows_each_figure_beside_that_of_a_plain_proxy_and_ends_with_a_summary() {
    let any = "127.0.0.1:0";
    let mut demo = Command::new(env!("CARGO_BIN_EXE_fileproxy"))
        .args(["demo", "--viewers", "1", "--listen", any, "--origin", any])
        .env("FILEPROXY_SETTINGS", env!("CARGO_TARGET_TMPDIR"))
        .env("FILEPROXY__ADMIN__LOCAL", any)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let mut text = String::new();
    for line in lines.by_ref() {
        text += &format!("{line}\n");
        let figures = line.trim().strip_prefix("viewers 1: segments ");
        let both = figures.and_then(|figures| figures.split_once(',')?.0.split_once(" / "));
        if both.is_some_and(|(proxy, plain)| proxy != "0" && plain != "0") {
            break;
        }
    }
    let int = Command::new("kill")
        .args(["-s", "INT", &demo.id().to_string()])
        .status();
    assert!(int.unwrap().success());
    text.extend(lines.map(|line| format!("{line}\n")));
    assert_eq!(demo.wait().unwrap().code(), Some(0), "{text}");
    assert!(text.contains("a plain proxy (level low)"), "{text}");
    assert!(text.contains("failed 0 / 0, wrong 0 / 0"), "{text}");
    let table = "The viewers, in all         this proxy   a plain one\n";
    let (_, summary) = text.split_once(table).unwrap_or_else(|| panic!("{text}"));
    assert_eq!(summary.lines().count(), 5, "{text}");
}

#[actix_rt::test]
async fn the_demo_shows_a_canary_with_viewers_in_both_groups() {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let demo = Demo::start(Options {
        network: Network::Poor,
        viewers: 0,
        canary: true,
        listen: any,
        origin: any,
        seed: 1,
    })
    .unwrap();
    let proxy = Proxy::before(&demo.origin_url(), |s| s.optimization.level = Level::Low);
    let mut out = Screen::default();
    let shown = out.clone();
    let stop = async {
        eventually("both groups have been served", || async {
            let comparison = proxy.published().comparison.load();
            let both = comparison.as_deref()?;
            (both.stable.counted > 0 && both.candidate.counted > 0).then_some(())
        })
        .await;
        shown.shows("canary high for 50 %: failed ").await;
    };

    demo.show(
        proxy.address(),
        None,
        "http://monitor",
        TOKEN,
        &mut out,
        stop,
    )
    .await
    .unwrap();

    let text = out.text();
    assert!(
        text.contains("Half of the viewers have level high now"),
        "{text}"
    );
    assert!(text.contains("level low"), "{text}");
    assert!(text.contains("canary high for 50 %: failed "), "{text}");
    assert!(text.contains("viewers 12: segments "), "{text}");
    let is_short = |line: &str| !line.contains(" s  class ") || line.len() < 100;
    assert!(text.lines().all(is_short), "{text}");
}
