//! No client, and nothing slow, takes the origin from others: what a plain proxy would give them, they get.

use std::{net::IpAddr, sync::OnceLock, time::Duration};

use fileproxy::{settings::Settings, traffic::level::Level};
use socket2::SockRef;

use crate::support::{
    certificate::Certificate,
    client::{Client, Ending},
    origin::{Connection, Origin, Request, file, response},
    proxy::Proxy,
    secure::{Frame, Frames},
    until,
};

/// More than all buffers on the way hold for a client that reads nothing.
const LARGE: usize = 24 << 20;

/// Exchanges with the origin at once.
const SLOTS: usize = 8;

fn few(level: Level) -> impl FnOnce(&mut Settings) {
    move |s| {
        s.optimization.level = level;
        for level in [&mut s.levels.low, &mut s.levels.medium, &mut s.levels.high] {
            level.connections_per_host = SLOTS;
            level.connections = 4 * SLOTS;
        }
    }
}

/// A large body.
fn large() -> &'static [u8] {
    static BODY: OnceLock<Vec<u8>> = OnceLock::new();
    BODY.get_or_init(|| file(LARGE))
}

/// `/large...` is [`LARGE`], with ranges or, as `/large-plain`, without, or, as `/large-once`, only said to have them;
/// `/poll...` is answered when the gate opens; the rest at once.
fn serve(connection: &mut Connection, request: &Request) -> bool {
    let target = String::from_utf8(request.target()).unwrap();
    if target.starts_with("/poll") {
        connection.wait();
    }
    if !target.starts_with("/large") {
        return connection.send(response("200 OK", "", "small"));
    }
    if target.starts_with("/large-once") && request.field("range").is_some() {
        return connection.send(response("403 Forbidden", "", "it was good for one request"));
    }
    let (status, lines, from) = if target.starts_with("/large-plain") {
        ("200 OK", String::new(), 0)
    } else {
        let (from, _) = request.range(LARGE).unwrap_or_default();
        let lines = "etag: \"a\"\r\naccept-ranges: bytes\r\n";
        if request.field("range").is_some() {
            let last = LARGE - 1;
            let range = format!("{lines}content-range: bytes {from}-{last}/{LARGE}\r\n");
            ("206 Partial Content", range, from)
        } else {
            ("200 OK", lines.to_owned(), 0)
        }
    };
    let length = LARGE - from;
    connection.send(format!(
        "HTTP/1.1 {status}\r\n{lines}content-length: {length}\r\n\r\n"
    ));
    connection.send(&large()[from..])
}

fn origin() -> Origin {
    Origin::following(|connection| {
        while let Some(request) = connection.request() {
            if !serve(connection, &request) {
                return;
            }
        }
    })
}

/// Clients that each ask for something large, and read nothing of it.
fn slow_readers(proxy: &Proxy, origin: &Origin, count: usize, target: &str) -> Vec<Client> {
    (0..count)
        .map(|n| {
            let before = origin.hits();
            let mut client = Client::with_little_room(proxy.address());
            client.send(format!("GET {target}?{n} HTTP/1.1\r\nhost: p\r\n\r\n"));
            until("it is at the origin", || {
                (origin.hits() > before).then_some(())
            });
            client
        })
        .collect()
}

fn read_whole(client: &mut Client) {
    // It reads on, and fast.
    let socket = SockRef::from(&client.socket);
    socket.set_recv_buffer_size(1 << 20).unwrap();
    let head = client.patient().head();
    assert!(head.starts_with(b"HTTP/1.1 200"), "{head:?}");
    let (read, ending) = client.patient().body(&head);
    assert_eq!(ending, Ending::Whole);
    assert!(read == large(), "{} bytes, not those", read.len());
}

fn slow_readers_leave_room(level: Level) {
    let origin = origin();
    let proxy = Proxy::before(&origin, few(level));
    let mut slow = slow_readers(&proxy, &origin, SLOTS + 4, "/large-plain");
    until("they are seen to wait for their clients", || {
        (proxy.stats()["origin_pool"]["parked"] == SLOTS as u64 + 4).then_some(())
    });
    for n in 0..2 * SLOTS {
        assert_eq!(proxy.get(&format!("/small?{n}")).text(), "small");
    }
    for client in &mut slow {
        read_whole(client);
    }
    let pool = &proxy.stats()["origin_pool"];
    assert_eq!(pool["slot_timeouts"], 0);
    assert_eq!(pool["given_up"], 0, "there was room for all");
    until("nothing is left over", || {
        let pool = &proxy.stats()["origin_pool"];
        (pool["in_use"] == 0 && pool["parked"] == 0 && pool["beyond"] == 0).then_some(())
    });
}

#[test]
fn at_level_high_clients_that_read_nothing_leave_the_origin_to_others_and_get_it_all_later() {
    slow_readers_leave_room(Level::High);
}

#[test]
fn at_level_low_clients_that_read_nothing_leave_the_origin_to_others_and_get_it_all_later() {
    slow_readers_leave_room(Level::Low);
}

#[test]
fn streams_whose_windows_stay_closed_leave_the_origin_to_others() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = Proxy::before(&origin, |s| {
        few(Level::High)(s);
        certificate.show(s);
    });
    let mut client = Frames::to(proxy.address(), &certificate, &[(4, 1)]);
    for n in 0..SLOTS as u32 + 4 {
        client.get(2 * n + 1, &format!("/large?{n}"));
    }
    until("all are at the origin", || {
        (origin.hits() == SLOTS + 4).then_some(())
    });
    let mut other = Frames::to(proxy.address(), &certificate, &[]);
    for n in 0..SLOTS as u32 {
        other.get(2 * n + 1, "/small");
        assert_eq!(other.until(Frame::DATA, 2 * n + 1).payload, b"small");
    }
}

#[test]
fn beyond_the_connections_that_may_wait_the_longest_parked_body_goes_on_by_range_later() {
    let origin = origin();
    let proxy = Proxy::before(&origin, |s| {
        few(Level::High)(s);
        s.origin.waiting_connections = 2;
    });
    let mut slow = slow_readers(&proxy, &origin, SLOTS + 4, "/large");
    assert_eq!(proxy.get("/small").text(), "small");
    let given_up = proxy.stats()["origin_pool"]["given_up"].as_u64().unwrap();
    assert!(given_up >= 3, "{given_up}");
    for client in &mut slow {
        read_whole(client);
    }
    assert!(
        origin
            .requests()
            .iter()
            .any(|request| request.field("if-range").is_some())
    );
}

/// The targets that were asked for again.
fn asked_again(origin: &Origin) -> Vec<String> {
    let again = |request: &Request| request.field("range").is_some();
    let requests = origin.requests();
    let again = requests.iter().filter(|request| again(request));
    again
        .map(|request| String::from_utf8(request.target()).unwrap())
        .collect()
}

#[test]
fn a_link_that_may_be_good_for_one_request_keeps_its_connection_where_others_go_on_by_range() {
    let origin = origin();
    let proxy = Proxy::before(&origin, |s| {
        few(Level::High)(s);
        s.origin.waiting_connections = 2;
    });
    // The one that waits for its client longest.
    let mut signed = slow_readers(&proxy, &origin, 1, "/large?signature=x&n=");
    let mut slow = slow_readers(&proxy, &origin, SLOTS + 3, "/large/other");
    assert_eq!(proxy.get("/small").text(), "small");
    for client in signed.iter_mut().chain(&mut slow) {
        read_whole(client);
    }
    let again = asked_again(&origin);
    assert!(!again.is_empty());
    assert!(again.iter().all(|target| !target.contains("signature")));
}

#[test]
fn where_the_rest_of_one_body_was_refused_its_like_keep_their_connections() {
    let origin = origin();
    let proxy = Proxy::before(&origin, |s| {
        few(Level::High)(s);
        s.origin.waiting_connections = 2;
    });
    let mut first = slow_readers(&proxy, &origin, 1, "/large-once");
    let mut slow = slow_readers(&proxy, &origin, SLOTS + 1, "/large/other");
    until("the rest of it is to be asked for later", || {
        _ = proxy.get("/small");
        (proxy.stats()["origin_pool"]["given_up"] != 0).then_some(())
    });
    let head = first[0].patient().head();
    assert_ne!(first[0].patient().body(&head).1, Ending::Whole);
    slow.iter_mut().for_each(read_whole);

    let mut again = slow_readers(&proxy, &origin, 1, "/large-once");
    let mut slow = slow_readers(&proxy, &origin, SLOTS + 1, "/large/other");
    assert_eq!(proxy.get("/small").text(), "small");
    again.iter_mut().chain(&mut slow).for_each(read_whole);
}

#[test]
fn a_body_that_cannot_be_resumed_is_not_cut_because_others_wait() {
    let origin = origin();
    let proxy = Proxy::before(&origin, |s| {
        few(Level::High)(s);
        s.origin.waiting_connections = SLOTS + 8;
    });
    let mut slow = slow_readers(&proxy, &origin, SLOTS + 2, "/large-plain");
    assert_eq!(proxy.get("/small").text(), "small");
    for client in &mut slow {
        read_whole(client);
    }
    assert_eq!(proxy.stats()["origin_pool"]["cut"], 0);
}

#[test]
fn a_network_that_leaves_no_connection_to_others_loses_a_body_that_it_does_not_read() {
    let origin = origin();
    let proxy = Proxy::before(&origin, |s| {
        few(Level::High)(s);
        s.origin.waiting_connections = 1;
    });
    let mut slow = slow_readers(&proxy, &origin, SLOTS + 1, "/large-plain");
    until("they are seen to wait for their clients", || {
        (proxy.stats()["origin_pool"]["parked"] == SLOTS as u64 + 1).then_some(())
    });
    let mut other = Client::from(IpAddr::from([127, 0, 0, 9]), proxy.address());
    assert_eq!(other.get("/small").text(), "small");
    assert_eq!(proxy.stats()["origin_pool"]["cut"], 1);
    let endings: Vec<_> = slow
        .iter_mut()
        .map(|client| {
            let head = client.patient().head();
            client.patient().body(&head)
        })
        .collect();
    let (whole, cut): (Vec<_>, Vec<_>) = endings
        .into_iter()
        .partition(|(_, ending)| *ending == Ending::Whole);
    assert_eq!(cut.len(), 1, "and it does not look whole");
    assert!(whole.iter().all(|(read, _)| read == large()));
}

#[test]
fn streams_that_upload_nothing_leave_the_origin_to_others() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = Proxy::before(&origin, |s| {
        few(Level::High)(s);
        certificate.show(s);
    });
    let mut client = Frames::to(proxy.address(), &certificate, &[]);
    for n in 0..2 * SLOTS as u32 {
        let mut fields = Frames::fields("/upload");
        fields[0] = 0x83; // POST
        client.send(Frame::HEADERS, 0x4, 2 * n + 1, &fields);
        client.send(Frame::DATA, 0, 2 * n + 1, b"12345");
    }
    until("they are seen to wait for their client", || {
        (proxy.published().origin().counters.parked.get() == 2 * SLOTS as u64).then_some(())
    });
    let mut other = Frames::to(proxy.address(), &certificate, &[]);
    other.get(1, "/small");
    assert_eq!(other.until(Frame::DATA, 1).payload, b"small");
    for n in 0..2 * SLOTS as u32 {
        client.send(Frame::DATA, 0x1, 2 * n + 1, b"67890");
        assert_eq!(client.until(Frame::DATA, 2 * n + 1).payload, b"small");
    }
    let uploads = origin.requests();
    let mut uploads = uploads.iter().filter(|request| request.method() == "POST");
    assert!(uploads.all(|upload| upload.body == b"1234567890"));
}

fn uploads_leave_room(level: Level, length: usize) {
    let origin = origin();
    let proxy = Proxy::before(&origin, few(level));
    let mut trickling: Vec<_> = (0..2 * SLOTS)
        .map(|_| {
            let mut client = proxy.client();
            client.send(format!(
                "PUT /upload HTTP/1.1\r\nhost: p\r\ncontent-length: {length}\r\n\r\n12345"
            ));
            client
        })
        .collect();
    until("all are under way", || {
        (proxy.published().clients.requests.get() == 2 * SLOTS as u64).then_some(())
    });
    for n in 0..2 * SLOTS {
        assert_eq!(proxy.get(&format!("/small?{n}")).text(), "small");
    }
    for client in &mut trickling {
        client.send(vec![b'x'; length - 5]);
        assert_eq!(client.patient().response().status, 200);
    }
    let uploads = origin.requests();
    let uploads = uploads.iter().filter(|request| request.method() == "PUT");
    assert_eq!(uploads.clone().count(), 2 * SLOTS);
    for upload in uploads {
        let begin = String::from_utf8_lossy(&upload.body[..upload.body.len().min(20)]);
        assert_eq!(
            (upload.body.len(), &*begin),
            (length, "12345xxxxxxxxxxxxxxx")
        );
    }
}

#[test]
fn small_uploads_that_trickle_leave_the_origin_to_others() {
    uploads_leave_room(Level::High, 2_000);
    uploads_leave_room(Level::Low, 2_000);
}

#[test]
fn large_uploads_that_trickle_leave_the_origin_to_others() {
    uploads_leave_room(Level::High, 1_000_000);
    uploads_leave_room(Level::Low, 1_000_000);
}

#[test]
fn a_small_upload_that_finds_no_place_waits_for_one_only_once_all_of_it_came() {
    let origin = origin();
    let proxy = Proxy::before(&origin, |settings| {
        settings.levels.high.connections = 1;
        settings.levels.high.connections_per_host = 1;
        settings.origin.waiting_connections = 0;
    });
    let mut poll = proxy.client();
    poll.send("GET /poll HTTP/1.1\r\nhost: p\r\n\r\n");
    until("the only place is taken", || {
        (origin.hits() == 1).then_some(())
    });
    let mut client = proxy.client();
    client.send("PUT /upload HTTP/1.1\r\nhost: p\r\ncontent-length: 10\r\n\r\n12345");
    let held = || proxy.stats()["origin_pool"]["uploads_held_bytes"].clone();
    until("it is held", || (held() == 10).then_some(()));
    assert_eq!(proxy.stats()["origin_pool"]["waiting"], 0);
    client.send("67890");
    until("it waits", || {
        (proxy.stats()["origin_pool"]["waiting"] == 1).then_some(())
    });
    origin.open_gate();
    assert_eq!(client.response().status, 200);
    assert_eq!(origin.last().body, b"1234567890");
    assert_eq!(held(), 0);
    assert_eq!(poll.response().status, 200);
}

fn polls_leave_room(level: Level, of: impl Fn(usize) -> String) {
    let origin = origin();
    let proxy = Proxy::before(&origin, few(level));
    assert_eq!(proxy.get("/small").text(), "small");
    let mut polls: Vec<_> = (0..SLOTS + 2)
        .map(|n| {
            let mut client = proxy.client();
            client.send(format!("GET {} HTTP/1.1\r\nhost: p\r\n\r\n", of(n)));
            client
        })
        .collect();
    until("they hold all slots", || {
        (origin.hits() > SLOTS).then_some(())
    });
    for n in 0..2 * SLOTS {
        assert_eq!(proxy.get(&format!("/small?{n}")).text(), "small");
    }
    origin.open_gate();
    for client in &mut polls {
        assert_eq!(client.patient().response().status, 200);
    }
}

#[test]
fn long_polls_of_one_stream_leave_the_origin_to_others() {
    polls_leave_room(Level::High, |n| format!("/poll?{n}"));
    polls_leave_room(Level::Low, |n| format!("/poll?{n}"));
}

#[test]
fn long_polls_of_many_targets_leave_the_origin_to_others() {
    polls_leave_room(Level::High, |n| format!("/poll/{n}"));
}

#[test]
fn who_has_least_under_way_goes_first_whoever_came_first() {
    let origin = origin();
    let proxy = Proxy::before(&origin, |s| {
        few(Level::High)(s);
        // Nothing goes without a slot.
        s.origin.waiting_connections = 0;
    });
    let send = |from: [u8; 4], target: String| {
        let mut client = Client::from(IpAddr::from(from), proxy.address());
        client.send(format!("GET {target} HTTP/1.1\r\nhost: p\r\n\r\n"));
        client
    };
    let waiting = || proxy.stats()["origin_pool"]["waiting"].as_u64().unwrap();
    let mut clients: Vec<_> = (0..SLOTS)
        .map(|n| send([127, 0, 0, 2], format!("/poll?{n}")))
        .collect();
    until("the slots are held", || {
        (origin.hits() == SLOTS).then_some(())
    });
    for n in 0..4 {
        clients.push(send([127, 0, 0, 2], format!("/later?{n}")));
        until("it waits", || (waiting() > n).then_some(()));
    }
    clients.push(send([127, 0, 0, 3], "/other".to_owned()));
    until("it waits", || (waiting() == 5).then_some(()));
    // One slot comes free.
    drop(clients.remove(0));
    assert_eq!(clients.last_mut().unwrap().response().status, 200);
    let targets: Vec<_> = origin.requests()[SLOTS..]
        .iter()
        .map(|request| String::from_utf8(request.target()).unwrap())
        .collect();
    assert_eq!(targets[0], "/other", "{targets:?}");
}

#[test]
fn large_bodies_that_hold_all_slots_let_others_in_after_a_while() {
    // Bodies that keep moving, slowly: nobody waits for a client here.
    let origin = Origin::following(|connection| {
        while let Some(request) = connection.request() {
            if request.target() != b"/stream" {
                connection.send(response("200 OK", "", "small"));
                continue;
            }
            connection.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n");
            while connection.send("x") {
                std::thread::sleep(Duration::from_millis(50));
            }
            return;
        }
    });
    let proxy = Proxy::before(&origin, few(Level::Low));
    let streams: Vec<_> = (0..SLOTS)
        .map(|_| {
            let mut client = proxy.client();
            client.send("GET /stream HTTP/1.1\r\nhost: p\r\n\r\n");
            client.head();
            client
        })
        .collect();
    for n in 0..SLOTS {
        assert_eq!(proxy.get(&format!("/small?{n}")).text(), "small");
    }
    drop(streams);
}
