//! WebSocket through the proxy: the origin accepts it, and from then on bytes pass as they are.

use std::{io::Write as _, time::Duration};

use fileproxy::traffic::{level::Level, sample::Outcome};

use crate::support::{
    certificate::Certificate,
    client::{Client, End, Ending},
    message,
    origin::{Connection, Origin, ok},
    proxy::Proxy,
    secure::Secure,
    until,
};

const OFFER: &str = "GET /socket?token=a HTTP/1.1\r\nhost: proxy\r\nconnection: keep-alive, Upgrade\r\n\
                     upgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                     sec-websocket-version: 13\r\n\r\n";
const ACCEPT: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Accepts, greets, and sends back what comes; says bye to who sends no more.
fn echo(connection: &mut Connection) {
    while let Some(request) = connection.head() {
        if request.field("upgrade").is_none() {
            connection.send(ok("plain"));
            continue;
        }
        connection.send(format!("{ACCEPT}hello"));
        loop {
            let piece = connection.bytes(64 * 1024);
            if piece.is_empty() {
                connection.send("bye");
                return;
            }
            if !connection.send(&piece) {
                return;
            }
        }
    }
}

fn switched(client: &mut Client) {
    client.send(OFFER);
    let head = client.head();
    assert_eq!(
        message::status(&head),
        101,
        "{}",
        String::from_utf8_lossy(&head)
    );
    assert_eq!(message::fields(&head, "upgrade"), ["websocket"]);
    assert_eq!(message::fields(&head, "connection"), ["upgrade"]);
    assert_eq!(message::fields(&head, "sec-websocket-accept").len(), 1);
    assert_eq!(client.exactly(5), b"hello");
}

fn open(proxy: &Proxy) -> u64 {
    proxy.published().clients.upgraded.get()
}

fn until_open(proxy: &Proxy, n: u64) {
    until(&format!("{n} are open"), || {
        (open(proxy) == n).then_some(())
    });
}

#[test]
fn bytes_pass_as_they_are_both_ways_until_the_client_ends() {
    for level in [Level::Low, Level::High] {
        let origin = Origin::following(echo);
        let proxy = Proxy::before(&origin, |s| s.optimization.level = level);
        let mut client = proxy.client();
        switched(&mut client);
        let request = origin.last();
        assert_eq!(request.target(), b"/socket?token=a");
        assert_eq!(request.field("upgrade").as_deref(), Some("websocket"));
        let connection = request.field("connection").unwrap();
        assert!(connection.eq_ignore_ascii_case("upgrade"));
        assert_eq!(
            request.field("sec-websocket-version").as_deref(),
            Some("13")
        );
        assert_eq!(request.field("content-length"), None);
        for frame in [
            &b"\x81\x05again"[..],
            b"GET / HTTP/1.1\r\n\r\n",
            b"\0",
            b"0\r\n\r\n",
        ] {
            client.send(frame);
            assert_eq!(client.exactly(frame.len()), frame);
        }
        let large: Vec<u8> = (0..16 << 20).map(|n: usize| (n / 7) as u8).collect();
        let (mut sender, sent) = (client.socket.try_clone().unwrap(), large.clone());
        let sending = std::thread::spawn(move || sender.write_all(&sent).unwrap());
        assert!(client.patient().exactly(large.len()) == large);
        sending.join().unwrap();
        assert_eq!(open(&proxy), 1);
        // Only the client's direction ends.
        client.shut();
        assert_eq!(client.rest(), (b"bye".to_vec(), End::Close));
        until_open(&proxy, 0);
        proxy.until_outcomes(Outcome::Completed, 1);
    }
}

#[test]
fn another_protocol_passes_too_and_only_where_the_origin_accepts_it() {
    let origin = Origin::following(|connection| {
        while let Some(request) = connection.head() {
            if request.target() != b"/attach" {
                connection.send(ok(request.target()));
                continue;
            }
            assert_eq!(request.field("upgrade").as_deref(), Some("tcp"));
            connection
                .send("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhello");
            let piece = connection.bytes(100);
            connection.send(piece);
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    for method in ["GET", "POST"] {
        let mut client = proxy.client();
        client.send(format!(
            "{method} /attach HTTP/1.1\r\nhost: proxy\r\nconnection: upgrade\r\nupgrade: tcp\r\n\r\n"
        ));
        let head = client.head();
        assert_eq!(message::status(&head), 101);
        assert_eq!(message::fields(&head, "upgrade"), ["tcp"]);
        client.send("back");
        assert_eq!(client.exactly(9), b"helloback");
    }
    // HTTP/2 begins otherwise: nobody is asked.
    let mut client = proxy.client();
    for n in 0..2 {
        let target = format!("/{n}");
        let offer =
            "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n";
        assert_eq!(client.get_with(&target, offer).text(), target);
        assert_eq!(origin.last().field("upgrade"), None);
    }
}

#[test]
fn what_the_client_sends_ahead_of_the_101_reaches_the_origin_behind_its_request() {
    let origin = Origin::following(echo);
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send(format!("{OFFER}ahead"));
    assert_eq!(message::status(&client.head()), 101);
    assert_eq!(client.exactly(10), b"helloahead");
}

#[test]
fn an_origin_that_does_not_accept_is_answered_as_ever() {
    let origin = Origin::saying("HTTP/1.1 426 Upgrade Required\r\ncontent-length: 2\r\n\r\nno");
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send(OFFER);
    let answer = client.response();
    assert_eq!(
        (answer.status, answer.text().as_str(), answer.ending),
        (426, "no", Ending::Whole)
    );
    until_open(&proxy, 0);
    assert_eq!(proxy.get("/").status, 426);
}

#[test]
fn an_origin_that_switches_to_something_else_gives_502() {
    for accept in [
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket, h2c\r\nconnection: upgrade\r\n\r\n",
    ] {
        let origin = Origin::saying(accept);
        let proxy = Proxy::before(&origin, |_| {});
        let mut client = proxy.client();
        client.send(OFFER);
        assert_eq!(client.response().status, 502);
        until_open(&proxy, 0);
    }
}

#[test]
fn the_end_of_either_side_ends_the_other() {
    let origin = Origin::following(|connection| {
        if connection.head().is_some() {
            connection.send(ACCEPT);
            connection.wait();
            connection.send("last words");
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send(OFFER);
    assert_eq!(message::status(&client.head()), 101);
    origin.open_gate();
    assert_eq!(client.rest(), (b"last words".to_vec(), End::Close));
    until_open(&proxy, 0);

    let origin = Origin::following(echo);
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    switched(&mut client);
    client.reset();
    until_open(&proxy, 0);
    until("the origin's connection ends", || {
        (origin.open() == 0).then_some(())
    });
}

#[test]
fn they_take_no_place_of_a_request_and_none_of_an_origin_connection() {
    let origin = Origin::following(echo);
    let proxy = Proxy::before(&origin, |s| {
        s.levels.high.connections = 1;
        s.levels.high.connections_per_host = 1;
        s.concurrency.min = 1;
    });
    let mut clients: Vec<_> = (0..5).map(|_| proxy.client()).collect();
    for client in &mut clients {
        switched(client);
        assert_eq!(proxy.get("/").text(), "plain");
    }
    assert_eq!(open(&proxy), 5);
    assert_eq!(proxy.published().origin().counters.in_use.get(), 0);
    let stats = proxy.stats();
    assert_eq!(stats["workers"]["upgraded_connections"], 5);
    assert_eq!(stats["workers"]["upgrades"], 5);
}

#[test]
fn one_client_has_so_many_and_all_have_so_many() {
    let origin = Origin::following(echo);
    let proxy = Proxy::before(&origin, |s| {
        s.upgrades.per_client = 2;
        s.upgrades.max = 3;
    });
    let from = |n: u8| Client::from([127, 0, 0, n].into(), proxy.address());
    let refused = |mut client: Client| {
        client.send(OFFER);
        let answer = client.response();
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.field("retry-after").is_some());
        answer.problem();
    };
    let mut one = [from(1), from(1)];
    one.iter_mut().for_each(switched);
    refused(from(1));
    let mut other = from(2);
    switched(&mut other);
    refused(from(2));
    assert_eq!(origin.hits(), 3);
    drop(other);
    until_open(&proxy, 2);
    switched(&mut from(2));
    assert_eq!(proxy.published().clients.upgrades_refused.get(), 2);
}

#[test]
fn where_none_is_allowed_the_offer_is_not_passed_on() {
    let origin = Origin::following(echo);
    let proxy = Proxy::before(&origin, |s| s.upgrades.max = 0);
    let mut client = proxy.client();
    client.send(OFFER);
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (200, "plain"));
    assert_eq!(origin.last().field("upgrade"), None);
}

#[test]
fn one_that_nothing_passes_on_for_too_long_is_closed() {
    let origin = Origin::following(echo);
    let proxy = Proxy::before(&origin, |s| {
        s.upgrades.idle = Duration::from_secs(1);
        // No spare connections.
        s.optimization.level = Level::Medium;
    });
    let mut client = proxy.client();
    switched(&mut client);
    assert!(client.closes());
    until_open(&proxy, 0);
    until("the origin's connection ends", || {
        (origin.open() == 0).then_some(())
    });
}

#[test]
fn a_drain_ends_them_in_order() {
    let origin = Origin::following(echo);
    let mut proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    switched(&mut client);
    proxy.drain();
    assert_eq!(client.rest(), (Vec::new(), End::Close));
    drop(client);
    proxy.until_ended();
}

#[test]
fn over_tls_on_both_sides_bytes_pass_too() {
    let certificate = Certificate::new();
    let origin = Origin::on("127.0.0.1:0", Some(certificate.server.clone()), echo);
    let proxy = Proxy::before(&origin, |s| {
        certificate.show(s);
        s.origin.tls.verify = false;
    });
    let mut client = Secure::to(proxy.address(), &certificate, &["http/1.1"]).unwrap();
    client.send(OFFER);
    assert_eq!(message::status(&client.head()), 101);
    client.send("over tls");
    assert_eq!(client.exactly(13), b"helloover tls");
}

#[test]
fn one_that_the_origin_resets_is_reset_for_the_client() {
    let origin = Origin::following(|connection| {
        if connection.head().is_some() {
            connection.send(format!("{ACCEPT}hello"));
            connection.wait();
            connection.reset();
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    switched(&mut client);
    origin.open_gate();
    assert_eq!(client.rest(), (Vec::new(), End::Reset));
}
