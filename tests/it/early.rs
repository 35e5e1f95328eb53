//! Bodies in parts on their way into the store: what comes early is there for whoever needs it, and stays.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use fileproxy::settings::Settings;

use super::{
    support::{
        client::{Client, Ending},
        origin::{Connection, Origin, Request, response},
        proxy::Proxy,
        until,
    },
    transfers::{count, object, several},
};

const LENGTH: usize = 4_000_000;
/// From where on the response to who asks for all of it hardly comes.
const STUCK: usize = 100_000;
/// A part that the others bring meanwhile.
const LATER: std::ops::Range<usize> = 2_000_000..2_100_000;

fn kept(settings: &mut Settings) {
    several(settings);
    settings.levels.high.store = true;
    settings.levels.high.concurrency_limit = false;
    // What hardly comes is left alone.
    settings.transfers.stall_window = Duration::from_secs(60);
    settings.transfers.stall_budget = 0.0;
}

/// What an origin does that tests steer.
#[derive(Default)]
struct Script {
    /// The next response to who asks for all of it hardly comes.
    sticks: AtomicBool,
    /// It goes on, as fast as it can.
    goes_on: AtomicBool,
    /// Who asks for a part is refused.
    refuses: AtomicBool,
    /// Who asks for a part is given all.
    ignores: AtomicBool,
    /// It breaks, and nobody is given anything.
    breaks: AtomicBool,
    /// Which version it has.
    version: AtomicU64,
}

fn head(status: &str, version: u64, lines: &str, len: usize) -> String {
    format!(
        "HTTP/1.1 {status}\r\netag: \"v{version}\"\r\naccept-ranges: bytes\r\ncache-control: max-age=600\r\n{lines}content-length: {len}\r\n\r\n"
    )
}

/// Sends a response at the pace of a bad line.
fn slowly(connection: &mut Connection, head: String, body: &[u8]) -> bool {
    connection.send(head);
    body.chunks(16 * 1024).all(|piece| {
        thread::sleep(Duration::from_millis(3));
        connection.send(piece)
    })
}

fn bytes(version: u64) -> Vec<u8> {
    object(version as u8, LENGTH)
}

fn serve(connection: &mut Connection, request: &Request, script: &Script) -> bool {
    let version = script.version.load(SeqCst);
    let body = bytes(version);
    if script.breaks.load(SeqCst) {
        return connection.send(response("503 Service Unavailable", "", "no"));
    }
    let is_other = |known: String| known != format!("\"v{version}\"");
    let range = match request.field("if-range").is_some_and(is_other) {
        true => None,
        false => request.range(LENGTH),
    };
    if range.is_some() && script.refuses.load(SeqCst) {
        return connection.send(response("503 Service Unavailable", "", "no"));
    }
    if let Some((first, last)) = range.filter(|_| !script.ignores.load(SeqCst)) {
        let told = format!("content-range: bytes {first}-{last}/{LENGTH}\r\n");
        let part = &body[first..=last];
        let head = head("206 Partial Content", version, &told, part.len());
        return slowly(connection, head, part);
    }
    let head = head("200 OK", version, "", LENGTH);
    if !script.sticks.swap(false, SeqCst) {
        return slowly(connection, head, &body);
    }
    slowly(connection, head, &body[..STUCK]);
    let mut at = STUCK;
    while !script.goes_on.load(SeqCst) {
        thread::sleep(Duration::from_millis(10));
        let is_over = script.breaks.load(SeqCst) || !connection.send(&body[at..at + 10]);
        if is_over {
            return false;
        }
        at += 10;
    }
    connection.send(&body[at..])
}

/// An origin that follows this script.
fn following(script: &Arc<Script>) -> Origin {
    let script = Arc::clone(script);
    Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            if !serve(connection, &request, &script) {
                return;
            }
        }
    })
}

/// A client that has all that comes before its response hardly comes, while others bring what lies behind.
fn first_of(proxy: &Proxy, script: &Script) -> (Client, Vec<u8>) {
    // From now on parts are known to be given in this folder.
    assert!(proxy.client().patient().get("/warm.mp4").body == bytes(0));
    script.sticks.store(true, SeqCst);
    let mut client = proxy.client();
    client.send("GET /film.mp4 HTTP/1.1\r\nhost: proxy\r\n\r\n");
    client.head();
    let begun = client.patient().exactly(STUCK);
    (client, begun)
}

fn later(proxy: &Proxy) -> Vec<u8> {
    let range = format!("range: bytes={}-{}\r\n", LATER.start, LATER.end - 1);
    let part = proxy.client().patient().get_with("/film.mp4", &range);
    assert_eq!((part.status, part.ending), (206, Ending::Whole));
    part.body
}

/// Waits until only the part of the response that hardly comes is missing.
fn all_else_is_here(proxy: &Proxy) {
    until("all else is here", || {
        let filled = proxy.stats()["store"]["bytes"]["filled"].as_u64().unwrap();
        (filled >= 2 * LENGTH as u64 - 400_000).then_some(())
    });
}

/// How many bytes of the film were asked for since so many requests.
fn asked(origin: &Origin, since: usize) -> usize {
    let ranges = ranges(origin, since).into_iter();
    ranges.map(|(first, last)| last + 1 - first).sum()
}

/// The ranges that were asked for of the film since so many requests.
fn ranges(origin: &Origin, since: usize) -> Vec<(usize, usize)> {
    let requests = origin.requests();
    let film = requests[since..]
        .iter()
        .filter(|request| request.target() == b"/film.mp4");
    film.filter_map(|request| request.range(LENGTH)).collect()
}

#[test]
fn a_later_part_is_given_before_an_earlier_one_is_here() {
    let script = Arc::new(Script::default());
    let origin = following(&script);
    let proxy = Proxy::before(&origin, kept);
    let (mut first, mut body) = first_of(&proxy, &script);
    assert!(later(&proxy) == bytes(0)[LATER]);
    // What lies before it is not here: nobody else was asked for it.
    let missing = STUCK + 30_000;
    let asked = ranges(&origin, 0);
    assert!(
        !asked
            .iter()
            .any(|&(first, last)| (first..=last).contains(&missing)),
        "{asked:?}"
    );
    all_else_is_here(&proxy);
    // The memory of parts is for what waits for its turn: here nothing does.
    assert!(count(&proxy, "parts_held_bytes") < 1_000_000);
    script.goes_on.store(true, SeqCst);
    body.extend(first.patient().exactly(LENGTH - body.len()));
    assert!(body == bytes(0), "the body differs");
    let hits = origin.hits();
    assert!(proxy.get("/film.mp4").body == bytes(0));
    assert_eq!(origin.hits(), hits);
}

#[test]
fn who_reads_on_where_parts_come_asks_for_the_rest_once_at_most() {
    let script = Arc::new(Script::default());
    let origin = following(&script);
    let proxy = Proxy::before(&origin, kept);
    let (mut first, mut body) = first_of(&proxy, &script);
    let range = format!("range: bytes={}-\r\n", LATER.start);
    let rest = proxy.client().patient().get_with("/film.mp4", &range);
    assert!(rest.ending == Ending::Whole && rest.body == bytes(0)[LATER.start..]);
    let asked = ranges(&origin, 0).into_iter();
    let to_the_end = asked.filter(|&(first, last)| last == LENGTH - 1 && LENGTH - first > 300_000);
    assert!(to_the_end.count() <= 1);
    script.goes_on.store(true, SeqCst);
    body.extend(first.patient().exactly(LENGTH - body.len()));
    assert!(body == bytes(0), "the body differs");
}

/// A client that has the head of all that lies behind [`LATER`]'s begin.
fn seeking(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    let range = format!("range: bytes={}-", LATER.start);
    client.send(format!(
        "GET /film.mp4 HTTP/1.1\r\nhost: proxy\r\n{range}\r\n\r\n"
    ));
    client.head();
    client
}

/// No body is fetched in parts.
fn in_one(settings: &mut Settings) {
    kept(settings);
    settings.levels.high.parallel = false;
    settings.store.finish_bytes = bytesize::ByteSize::kib(64);
}

#[test]
fn who_needs_what_comes_much_later_has_a_request_of_its_own() {
    let script = Arc::new(Script::default());
    let origin = following(&script);
    let proxy = Proxy::before(&origin, in_one);
    let (mut first, mut body) = first_of(&proxy, &script);
    let begun = origin.hits();
    assert!(later(&proxy) == bytes(0)[LATER]);
    assert_eq!(
        ranges(&origin, begun),
        [(LATER.start, LATER.end - 1)],
        "one request for what is needed"
    );
    // What is near comes with the rest.
    let near = format!("range: bytes={}-{}\r\n", STUCK + 100_000, STUCK + 100_009);
    let mut second = proxy.client();
    second.send(format!(
        "GET /film.mp4 HTTP/1.1\r\nhost: proxy\r\n{near}\r\n"
    ));
    second.head();
    script.goes_on.store(true, SeqCst);
    let near = STUCK + 100_000..STUCK + 100_010;
    assert!(second.patient().exactly(10) == bytes(0)[near]);
    body.extend(first.patient().exactly(LENGTH - body.len()));
    assert!(body == bytes(0), "the body differs");
    assert_eq!(origin.hits(), begun + 1);
    assert!(proxy.get("/film.mp4").body == bytes(0));
    assert_eq!(origin.hits(), begun + 1, "all of it is kept");
}

#[test]
fn if_the_origin_refuses_that_the_fill_is_waited_for() {
    for ignores in [false, true] {
        let script = Arc::new(Script::default());
        let origin = following(&script);
        let proxy = Proxy::before(&origin, in_one);
        let (mut first, mut body) = first_of(&proxy, &script);
        script.ignores.store(ignores, SeqCst);
        script.refuses.store(!ignores, SeqCst);
        let begun = origin.hits();
        let got = thread::scope(|scope| {
            let later = scope.spawn(|| later(&proxy));
            until("a part was asked for", || {
                (origin.hits() > begun).then_some(())
            });
            thread::sleep(Duration::from_millis(200));
            script.goes_on.store(true, SeqCst);
            later.join().unwrap()
        });
        assert!(got == bytes(0)[LATER]);
        body.extend(first.patient().exactly(LENGTH - body.len()));
        assert!(body == bytes(0), "the body differs");
        assert_eq!(origin.hits(), begun + 1, "it was asked for once");
    }
}

#[test]
fn a_fill_that_is_faster_than_a_request_of_ones_own_is_read() {
    let script = Arc::new(Script::default());
    let origin = following(&script);
    let proxy = Proxy::before(&origin, |settings| {
        in_one(settings);
        // The other one waits for its turn.
        settings.levels.high.connections_per_host = 1;
        settings.origin.waiting_connections = 0;
    });
    let (mut first, mut body) = first_of(&proxy, &script);
    let mut far = seeking(&proxy);
    until("it waits for its turn", || {
        (proxy.stats()["concurrency"]["waiting"].as_u64()? > 0).then_some(())
    });
    script.goes_on.store(true, SeqCst);
    assert!(far.patient().exactly(LENGTH - LATER.start) == bytes(0)[LATER.start..]);
    body.extend(first.patient().exactly(LENGTH - body.len()));
    assert!(body == bytes(0), "the body differs");
    assert_eq!(proxy.get("/film.mp4").body, bytes(0));
}

#[test]
fn what_only_those_need_who_have_requests_of_their_own_is_not_fetched() {
    let script = Arc::new(Script::default());
    let origin = following(&script);
    let proxy = Proxy::before(&origin, in_one);
    let (first, _) = first_of(&proxy, &script);
    let mut far = seeking(&proxy);
    let store = || proxy.stats()["store"].clone();
    until("it has a request of its own", || {
        (store()["left_behind"] == 1).then_some(())
    });
    // As a player does that seeks.
    drop(first);
    until("nothing is filled", || {
        (store()["fills"]["running"] == 0).then_some(())
    });
    assert!(far.patient().exactly(LENGTH - LATER.start) == bytes(0)[LATER.start..]);
    let filled = store()["bytes"]["filled"].as_u64().unwrap();
    assert!(filled < (LENGTH + 2 * STUCK) as u64, "{filled}");
}

#[test]
fn of_what_broke_only_the_gap_is_asked_for() {
    let script = Arc::new(Script::default());
    let origin = following(&script);
    let proxy = Proxy::before(&origin, kept);
    let (first, body) = first_of(&proxy, &script);
    assert!(body == bytes(0)[..STUCK]);
    all_else_is_here(&proxy);
    script.breaks.store(true, SeqCst);
    // Nobody can mend it now.
    { first }.patient().rest();
    until("nothing is under way", || {
        (proxy.stats()["store"]["fills"]["running"] == 0).then_some(())
    });
    script.breaks.store(false, SeqCst);
    let begun = origin.hits();
    let again = proxy.client().patient().get("/film.mp4");
    assert!(again.ending == Ending::Whole && again.body == bytes(0));
    let asked = asked(&origin, begun);
    assert!(asked > 0 && asked < 600_000, "{asked} bytes once more");
}

#[test]
fn of_two_versions_no_byte_is_mixed() {
    let script = Arc::new(Script::default());
    let origin = following(&script);
    let proxy = Proxy::before(&origin, kept);
    let (first, mut body) = first_of(&proxy, &script);
    let early = later(&proxy);
    script.version.store(1, SeqCst);
    script.breaks.store(true, SeqCst);
    thread::sleep(Duration::from_millis(50));
    script.breaks.store(false, SeqCst);
    let (rest, _) = { first }.patient().rest();
    body.extend(rest);
    // Either all of the old version could be had, or the response ended visibly.
    assert!(bytes(0).starts_with(&body) && early == bytes(0)[LATER]);
    for _ in 0..2 {
        let next = proxy.client().patient().get("/film.mp4");
        assert_eq!((next.status, next.ending), (200, Ending::Whole));
        let is = next.field("etag").unwrap();
        assert!(next.body == bytes(u64::from(is == "\"v1\"")), "mixed");
    }
}

#[test]
fn what_came_early_is_on_disk_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let script = Arc::new(Script::default());
    let origin = following(&script);
    let on_disk = |settings: &mut Settings| {
        kept(settings);
        settings.store.directory = folder.path().join("store");
    };
    let mut proxy = Proxy::before(&origin, on_disk);
    let (first, _) = first_of(&proxy, &script);
    all_else_is_here(&proxy);
    // A disk that has no time for a block leaves it out.
    let left_out = until("what is here is on disk", || {
        let disk = proxy.stats()["store"]["disk"].clone();
        let count = |name: &str| disk[name].as_u64().unwrap();
        (count("blocks_written") + count("not_written") >= 62 + 50).then(|| count("not_written"))
    });
    script.breaks.store(true, SeqCst);
    { first }.patient().rest();
    proxy.drain();
    proxy.until_ended();
    script.breaks.store(false, SeqCst);
    let proxy = Proxy::before(&origin, on_disk);
    until("the journal is read", || {
        let warm = proxy.client().patient().get("/warm.mp4");
        let status = warm.field("cache-status").unwrap();
        status.starts_with("fileproxy; hit").then_some(())
    });
    let begun = origin.hits();
    let again = proxy.client().patient().get("/film.mp4");
    assert!(again.ending == Ending::Whole && again.body == bytes(0));
    let asked = asked(&origin, begun);
    assert!(
        left_out > 0 || asked > 0 && asked < 700_000,
        "{asked} bytes once more"
    );
}

/// Clients that read this and that at once, of a body that comes in any order, with so much memory.
fn crowd(memory: bytesize::ByteSize, change: impl FnOnce(&mut Settings)) {
    let origin = {
        let body = bytes(0);
        let seed = AtomicU64::new(7);
        Origin::following(move |connection| {
            while let Some(request) = connection.request() {
                let mut random = fastrand::Rng::with_seed(seed.fetch_add(1, SeqCst));
                let (first, last) = request.range(LENGTH).unwrap_or((0, LENGTH - 1));
                let told = format!("content-range: bytes {first}-{last}/{LENGTH}\r\n");
                let (status, told) = match request.field("range") {
                    Some(_) => ("206 Partial Content", told.as_str()),
                    None => ("200 OK", ""),
                };
                connection.send(head(status, 0, told, last + 1 - first));
                let whole = body[first..=last].chunks(12_345).all(|piece| {
                    thread::sleep(Duration::from_millis(random.u64(0..8)));
                    // Some break, and are gone on with.
                    random.u32(0..200) > 0 && connection.send(piece)
                });
                if !whole {
                    return;
                }
            }
        })
    };
    let proxy = Proxy::before(&origin, |settings| {
        kept(settings);
        settings.store.memory = memory;
        settings.transfers.resume_burst = 100_000.0;
        change(settings);
    });
    let body = bytes(0);
    assert!(proxy.client().patient().get("/warm.mp4").body == body);
    let wrong = Mutex::new(Vec::new());
    thread::scope(|scope| {
        let clients: Vec<_> = (0..12_u64)
            .map(|n| {
                let (proxy, body, wrong) = (&proxy, &body, &wrong);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(n);
                    for round in 0..3 {
                        let first = random.usize(0..LENGTH) * usize::from(n % 3 != 0);
                        let last = match n % 4 {
                            1 => random.usize(first..LENGTH),
                            _ => LENGTH - 1,
                        };
                        let mut client = match n % 5 {
                            4 => Client::with_little_room(proxy.address()),
                            _ => proxy.client(),
                        };
                        let range = format!("range: bytes={first}-{last}\r\n");
                        let target = format!("/{}.mp4", round % 2);
                        let got = client.patient().get_with(&target, &range);
                        let is_right = (got.status, got.ending) == (206, Ending::Whole)
                            && got.body == body[first..=last];
                        if !is_right {
                            let problem =
                                format!("{first}-{last}: {} {:?}", got.status, got.ending);
                            wrong.lock().unwrap().push(problem);
                        }
                    }
                })
            })
            .collect();
        while clients.iter().any(|client| !client.is_finished()) {
            let used = proxy.stats()["store"]["memory"]["used_bytes"]
                .as_u64()
                .unwrap();
            assert!(used <= memory.as_u64(), "{used} bytes of {memory}");
            thread::sleep(Duration::from_millis(20));
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn whoever_reads_what_comes_in_any_order_gets_the_right_bytes() {
    crowd(bytesize::ByteSize::mib(64), |_| {});
}

#[test]
fn whoever_reads_what_memory_has_too_little_room_for_gets_the_right_bytes() {
    crowd(bytesize::ByteSize::mib(1), |_| {});
    crowd(bytesize::ByteSize::mib(4), |_| {});
}

#[test]
fn whoever_reads_what_is_on_disk_only_in_parts_gets_the_right_bytes() {
    let folder = tempfile::tempdir().unwrap();
    crowd(bytesize::ByteSize::mib(2), |settings| {
        settings.store.directory = folder.path().join("store");
    });
}
