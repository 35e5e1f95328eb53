//! Connections to the origin: how many, how long, to which address, with which options, over TLS.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use fileproxy::{
    settings::Settings,
    traffic::{level::Level, quality::Class, sample::Outcome},
};
use socket2::{Domain, Socket, Type};

use crate::support::{
    certificate::Certificate,
    client::{Client, Ending},
    need::need,
    origin::{Origin, file, ok},
    proxy::Proxy,
    sockets, until,
};

/// At most so many connections.
fn limit(connections: usize) -> impl Fn(&mut Settings) {
    move |s| {
        s.server.workers = 4;
        s.levels.high.connections = connections;
        s.levels.high.connections_per_host = connections;
        s.origin.waiting_connections = 0;
    }
}

/// An origin whose answers wait for the gate.
fn gated() -> Origin {
    Origin::following(|connection| {
        while let Some(request) = connection.request() {
            connection.wait();
            connection.send(ok(request.target()));
        }
    })
}

fn ask(proxy: &Proxy, target: &str) -> Client {
    let mut client = proxy.client();
    client.send(format!("GET {target} HTTP/1.1\r\nhost: proxy\r\n\r\n"));
    client
}

fn waiting(proxy: &Proxy, count: u64) {
    until(&format!("{count} requests wait"), || {
        (proxy.published().origin().counters.waiting.get() == count).then_some(())
    });
}

#[test]
fn the_limit_holds_over_all_workers_and_everybody_is_served() {
    let origin = gated();
    let proxy = Proxy::before(&origin, limit(3));
    let mut clients: Vec<_> = (0..20).map(|n| ask(&proxy, &format!("/{n}"))).collect();
    waiting(&proxy, 17);
    // The origin may be slower to accept them.
    until("3 are open", || (origin.open() == 3).then_some(()));
    origin.open_gate();
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.patient().response().text(), format!("/{n}"));
    }
    assert!(origin.most_open() <= 3, "{} were open", origin.most_open());
}

#[test]
fn idle_connections_of_one_worker_do_not_starve_another() {
    let origin = Origin::answering(|request| ok(request.target()));
    let proxy = Proxy::before(&origin, limit(1));
    // Accepted in turns: each of four workers meets the one connection that another one keeps.
    for n in 0..12 {
        let target = format!("/{n}");
        assert_eq!(proxy.get(&target).text(), target);
    }
    assert_eq!(origin.most_open(), 1);
}

#[test]
fn who_waits_longest_is_served_first() {
    let origin = gated();
    let proxy = Proxy::before(&origin, limit(1));
    let mut clients = vec![ask(&proxy, "/0")];
    until("the first is at the origin", || {
        (origin.hits() == 1).then_some(())
    });
    for n in 1..8 {
        clients.push(ask(&proxy, &format!("/{n}")));
        waiting(&proxy, n);
    }
    origin.open_gate();
    for client in &mut clients {
        assert_eq!(client.patient().response().status, 200);
    }
    let order: Vec<_> = origin
        .requests()
        .iter()
        .map(|r| String::from_utf8(r.target()).unwrap())
        .collect();
    assert_eq!(order, ["/0", "/1", "/2", "/3", "/4", "/5", "/6", "/7"]);
}

#[test]
fn a_wait_past_the_deadline_gives_503_and_says_when_to_come_again() {
    let origin = gated();
    let proxy = Proxy::before(&origin, |s| {
        limit(1)(s);
        s.levels.high.exchange_timeout = Some(Duration::from_millis(300));
        s.levels.high.idle_read = Some(Duration::from_secs(20));
    });
    let mut held = proxy.client();
    held.send("PUT /slow HTTP/1.1\r\nhost: proxy\r\ncontent-length: 1000000\r\n\r\n");
    held.send(vec![0; 50_000]);
    until("the first is at the origin", || {
        (origin.hits() == 1).then_some(())
    });
    // An upload that moves keeps its slot past the exchange timeout.
    let mut sender = held.socket.try_clone().unwrap();
    let moving = std::thread::spawn(move || {
        for _ in 0..95 {
            std::thread::sleep(Duration::from_millis(10));
            std::io::Write::write_all(&mut sender, &[0; 10_000]).unwrap();
        }
    });
    let mut late = ask(&proxy, "/late");
    let answer = late.response();
    assert_eq!(answer.status, 503);
    answer.problem();
    assert!(answer.field("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    proxy.until_outcomes(Outcome::Overloaded, 1);
    assert_eq!(proxy.stats()["origin_pool"]["slot_timeouts"], 1);
    moving.join().unwrap();
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_waiter_whose_client_left_takes_nobodys_place() {
    let origin = gated();
    let proxy = Proxy::before(&origin, limit(1));
    let mut first = ask(&proxy, "/first");
    until("the first is at the origin", || {
        (origin.hits() == 1).then_some(())
    });
    let gone = ask(&proxy, "/gone");
    waiting(&proxy, 1);
    gone.reset();
    waiting(&proxy, 0);
    let mut last = ask(&proxy, "/last");
    waiting(&proxy, 1);
    origin.open_gate();
    assert_eq!(first.response().text(), "/first");
    assert_eq!(last.response().text(), "/last");
    assert_eq!(origin.hits(), 2);
}

#[test]
fn a_lower_limit_closes_idle_connections() {
    let origin = gated();
    let proxy = Proxy::before(&origin, |s| {
        s.levels.low.connections = 2;
        s.levels.low.connections_per_host = 2;
    });
    let mut clients: Vec<_> = (0..8).map(|_| ask(&proxy, "/")).collect();
    until("all are at the origin", || {
        (origin.hits() == 8).then_some(())
    });
    origin.open_gate();
    for client in &mut clients {
        client.response();
    }
    proxy.set_level("low");
    until("the origin has two connections left", || {
        (origin.open() <= 2).then_some(())
    });
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let origin = Origin::answering(|request| ok(request.target()));
    let proxy = Proxy::before(&origin, |s| s.server.workers = 1);
    for n in 0..10 {
        let target = format!("/{n}");
        assert_eq!(proxy.get(&target).text(), target);
    }
    assert_eq!(origin.connections(), 1);
    let pool = &proxy.stats()["origin_pool"];
    assert_eq!((&pool["connects"], &pool["reuses"]), (&1.into(), &9.into()));
    assert_eq!((&pool["open"], &pool["idle"]), (&1.into(), &1.into()));
}

#[test]
fn large_bodies_of_every_framing_keep_their_connection() {
    let body = file(1_000_003);
    let origin = Origin::answering(move |request| {
        if request.target() == b"/chunked" {
            let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
            for chunk in body.chunks(99_991) {
                bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                bytes.extend_from_slice(chunk);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            bytes
        } else {
            ok(&body)
        }
    });
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    for target in ["/", "/chunked"].repeat(10) {
        assert_eq!(client.patient().get(target).body.len(), 1_000_003);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_connection_that_the_origin_wants_closed_is_not_used_again() {
    let origin = Origin::answering(
        |_| "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
    );
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "ok");
    }
    assert_eq!(origin.connections(), 3);
    until("all are closed", || (origin.open() == 0).then_some(()));
}

#[test]
fn idle_connections_closed_by_the_origin_are_gone_before_a_request_meets_them() {
    let origin = Origin::answering(|request| ok(&request.body));
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.get("/");
    origin.close_all();
    until("the dead connection is reaped", || {
        (proxy.published().origin().counters.reaped.get() == 1).then_some(())
    });
    // One that may not be repeated: it must not meet a dead connection.
    client.send("POST / HTTP/1.1\r\nhost: proxy\r\ncontent-length: 3\r\n\r\nabc");
    assert_eq!(client.response().text(), "abc");
    assert_eq!(proxy.stats()["origin_pool"]["retries"], 0);
    assert_eq!(origin.connections(), 2);
}

#[test]
fn an_idle_connection_is_kept_no_longer_than_the_level_says() {
    let origin = Origin::saying(ok(""));
    let proxy = Proxy::before(&origin, |s| {
        s.levels.high.keep_alive = Duration::from_secs(1);
    });
    proxy.get("/");
    assert_eq!(origin.open(), 1);
    until("the idle connection is closed", || {
        (origin.open() == 0).then_some(())
    });
}

#[test]
fn an_origin_that_is_away_gives_502_and_is_found_again() {
    let address = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let proxy = Proxy::before(&format!("http://{address}"), |_| {});
    let mut client = proxy.client();
    let answer = client.get("/");
    assert_eq!(answer.status, 502);
    let detail = answer.problem()["detail"].as_str().unwrap().to_owned();
    assert!(
        !detail.contains("127.0.0.1"),
        "a stranger learns the origin's address: {detail}"
    );
    proxy.until_outcomes(Outcome::ConnectFailed, 1);
    assert_eq!(proxy.stats()["origin_pool"]["connect_failures"], 1);
    let _origin = Origin::on(&address.to_string(), None, |connection| {
        while connection.request().is_some() {
            connection.send(ok("back"));
        }
    });
    assert_eq!(client.get("/").text(), "back");
}

#[test]
fn a_name_without_address_gives_502() {
    let proxy = Proxy::before(&"http://no-such-host.invalid:81", |_| {});
    let answer = proxy.get("/");
    assert_eq!(answer.status, 502);
    answer.problem();
}

/// A listener at this address that answers no connection attempt: its queue is full.
fn black_hole(address: SocketAddr) -> Option<(Socket, Vec<Socket>)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).ok()?;
    socket.bind(&address.into()).ok()?;
    socket.listen(0).ok()?;
    let fillers = (0..8)
        .map(|_| {
            let filler = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
            filler.set_nonblocking(true).unwrap();
            _ = filler.connect(&address.into());
            filler
        })
        .collect();
    Some((socket, fillers))
}

#[test]
fn an_address_that_does_not_answer_is_overtaken_by_one_that_does() {
    let origin = Origin::saying(ok("from IPv4"));
    let dead = SocketAddr::from((Ipv6Addr::LOCALHOST, origin.address().port()));
    // Where there is no IPv6 the first address fails at once, which must not harm either.
    let _hole = black_hole(dead);
    let proxy = Proxy::before(
        &format!("http://localhost:{}", origin.address().port()),
        |s| {
            // Long: who waits for the dead address does not see the end of this test.
            s.levels.high.connect_timeout = Some(Duration::from_secs(60));
            s.levels.high.exchange_timeout = Some(Duration::from_secs(120));
        },
    );
    assert_eq!(proxy.get("/").text(), "from IPv4");
    assert_eq!(proxy.stats()["origin_pool"]["connect_failures"], 0);
}

#[test]
fn an_address_that_refuses_is_passed_over() {
    let origin = Origin::saying(ok("from IPv4"));
    let proxy = Proxy::before(
        &format!("http://localhost:{}", origin.address().port()),
        |_| {},
    );
    assert_eq!(proxy.get("/").text(), "from IPv4");
}

#[test]
fn an_ipv6_origin_is_reached() {
    let bound = TcpListener::bind((Ipv6Addr::LOCALHOST, 0));
    if !need(
        "ipv6",
        "an address ::1 on the loopback device",
        bound.is_ok(),
    ) {
        return;
    }
    let origin = Origin::on("[::1]:0", None, |connection| {
        while connection.request().is_some() {
            connection.send(ok("from IPv6"));
        }
    });
    for host in ["[::1]", "localhost"] {
        let url = format!("http://{host}:{}", origin.address().port());
        let proxy = Proxy::before(&url, |_| {});
        assert_eq!(proxy.get("/").text(), "from IPv6", "{url}");
        assert_eq!(
            origin.last().field("host").unwrap(),
            format!("{host}:{}", origin.address().port())
        );
    }
}

#[test]
fn an_origin_that_takes_no_connection_gives_504_at_the_connect_timeout() {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap();
    let _hole = black_hole(address).unwrap();
    let proxy = Proxy::before(&format!("http://{address}"), |s| {
        s.levels.high.connect_timeout = Some(Duration::from_millis(300));
    });
    let answer = proxy.get("/");
    assert_eq!(answer.status, 504, "{answer:?}");
    answer.problem();
    assert_eq!(proxy.stats()["origin_pool"]["connect_failures"], 1);
}

/// The kernel's answer to a buffer of so many bytes: it caps it, and doubles it for its own needs.
fn granted(what: &str, wanted: usize) -> usize {
    let most = std::fs::read_to_string(format!("/proc/sys/net/core/{what}_max")).unwrap();
    2 * wanted.min(most.trim().parse().unwrap())
}

#[test]
fn the_levels_tcp_options_are_on_the_sockets_of_both_sides() {
    for level in [Level::Low, Level::Medium, Level::High] {
        let origin = Origin::saying(ok(""));
        let proxy = Proxy::before(&origin, |s| s.optimization.level = level);
        let mut client = proxy.client();
        assert_eq!(client.get("/").status, 200);
        let to_client =
            sockets::between(Some(proxy.address()), client.socket.local_addr().unwrap())
                .expect("the socket to the client");
        let to_origin = sockets::between(None, origin.address()).expect("the socket to the origin");
        for (side, socket) in [("client", to_client), ("origin", to_origin)] {
            let on = level != Level::Low;
            assert_eq!(socket.tcp_nodelay().unwrap(), on, "{side} at {level}");
            assert_eq!(socket.keepalive().unwrap(), on, "{side} at {level}");
            if on {
                assert_eq!(
                    socket.tcp_keepalive_time().unwrap(),
                    Duration::from_secs(60)
                );
                assert_eq!(
                    socket.tcp_keepalive_interval().unwrap(),
                    Duration::from_secs(10)
                );
            }
            let fixed = level == Level::Medium;
            let (send, receive) = (granted("wmem", 256 << 10), granted("rmem", 256 << 10));
            let is = (
                socket.send_buffer_size().unwrap(),
                socket.recv_buffer_size().unwrap(),
            );
            if fixed {
                assert_eq!(is, (send, receive), "{side} at {level}");
            } else {
                assert_ne!(is, (send, receive), "{side} at {level}");
            }
        }
    }
}

#[test]
fn a_new_connection_begins_with_what_its_network_has_shown() {
    for level in [Level::Low, Level::High] {
        let origin = Origin::saying(ok("x"));
        let proxy = Proxy::before(&origin, |s| {
            s.optimization.level = level;
            "reno".clone_into(&mut s.lines.congestion);
        });
        let lines = &proxy.published().lines;
        let neighbour = "127.0.0.200".parse().unwrap();
        let remembered = Instant::now();
        lines.remember(neighbour, Class::VeryPoor, remembered);
        // Times are kept in seconds.
        thread::sleep(Duration::from_secs(2));
        for (own, known) in [("127.0.0.7", true), ("127.0.1.7", false)] {
            let own = own.parse().unwrap();
            let mut client = Client::from(own, proxy.address());
            let before = client.socket.local_addr().unwrap();
            let socket = until("the connection is accepted", || {
                sockets::between(Some(proxy.address()), before)
            });
            let follows = known && level == Level::High;
            if follows {
                // Before the first byte.
                until("the socket follows the class", || {
                    let congestion = socket.tcp_congestion().unwrap();
                    congestion.starts_with(b"reno").then_some(())
                });
                assert_eq!(socket.tcp_notsent_lowat().unwrap(), 128 << 10);
            }
            assert_eq!(client.get("/").status, 200);
            assert_eq!(
                socket.tcp_congestion().unwrap().starts_with(b"reno"),
                follows
            );
            drop((client, socket));
            until("the connection is closed", || {
                let socket = sockets::between(Some(proxy.address()), before);
                socket.is_none().then_some(())
            });
            // A short connection on which little was lost says nothing else.
            let class = if known { Class::VeryPoor } else { Class::Good };
            assert_eq!(lines.class(own, Instant::now()), class);
            // Nor does it keep what it took over for longer than an hour.
            let hour = Duration::from_secs(3600);
            assert_eq!(lines.class(own, remembered + hour), Class::Good);
        }
    }
}

#[test]
fn each_tcp_option_is_a_setting() {
    let origin = Origin::saying(ok(""));
    let proxy = Proxy::before(&origin, |s| {
        s.optimization.level = Level::Medium;
        s.tcp.nodelay = false;
        s.tcp.keepalive = false;
        s.tcp.send_buffer = "64KiB".parse().unwrap();
        s.tcp.receive_buffer = "auto".parse().unwrap();
    });
    proxy.get("/");
    let socket = sockets::between(None, origin.address()).unwrap();
    assert!(!socket.tcp_nodelay().unwrap() && !socket.keepalive().unwrap());
    assert_eq!(
        socket.send_buffer_size().unwrap(),
        granted("wmem", 64 << 10)
    );
    assert_ne!(
        socket.recv_buffer_size().unwrap(),
        granted("rmem", 256 << 10)
    );
}

fn https(certificate: &Certificate, script: fn(&mut crate::support::origin::Connection)) -> Origin {
    Origin::on("127.0.0.1:0", Some(certificate.server.clone()), script)
}

fn keep(connection: &mut crate::support::origin::Connection) {
    while let Some(request) = connection.request() {
        connection.send(ok(&request.body));
    }
}

#[test]
fn an_https_origin_is_trusted_by_the_ca_file() {
    let certificate = Certificate::new();
    let origin = https(&certificate, keep);
    let proxy = Proxy::before(&origin, |s| {
        s.origin.tls.ca_file = certificate.ca_file();
    });
    let mut client = proxy.client();
    let body = vec![b'x'; 500_000];
    for _ in 0..3 {
        client.send("PUT / HTTP/1.1\r\nhost: proxy\r\ncontent-length: 500000\r\n\r\n");
        client.send(&body);
        let answer = client.patient().response();
        assert_eq!(answer.status, 200);
        assert!(answer.body == body);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_https_origin_that_cannot_be_verified_gives_502() {
    let certificate = Certificate::new();
    let other = Certificate::new();
    let misnamed = Certificate::of("elsewhere.example");
    for (has, trusts) in [
        (&certificate, None),
        (&certificate, Some(&other)),
        (&misnamed, Some(&misnamed)),
    ] {
        let origin = https(has, keep);
        let proxy = Proxy::before(&origin, |s| {
            if let Some(trusts) = trusts {
                s.origin.tls.ca_file = trusts.ca_file();
            }
        });
        let answer = proxy.get("/");
        assert_eq!(answer.status, 502);
        answer.problem();
        assert_eq!(origin.hits(), 0, "nothing may be sent to a stranger");
        proxy.until_outcomes(Outcome::ConnectFailed, 1);
    }
}

#[test]
fn the_name_in_the_certificate_is_a_setting() {
    let certificate = Certificate::of("elsewhere.example");
    let origin = https(&certificate, keep);
    let proxy = Proxy::before(&origin, |s| {
        s.origin.tls.ca_file = certificate.ca_file();
        s.origin.tls.server_name = "elsewhere.example".into();
    });
    assert_eq!(proxy.get("/").status, 200);
}

#[test]
fn an_https_origin_is_taken_unverified_where_the_settings_say_so() {
    let certificate = Certificate::of("elsewhere.example");
    let origin = https(&certificate, keep);
    let proxy = Proxy::before(&origin, |s| s.origin.tls.verify = false);
    assert_eq!(proxy.get("/").status, 200);
}

#[test]
fn tls_sessions_are_resumed() {
    let certificate = Certificate::new();
    let origin = https(&certificate, |connection| {
        if connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let proxy = Proxy::before(&origin, |s| {
        s.origin.tls.ca_file = certificate.ca_file();
    });
    for _ in 0..4 {
        assert_eq!(proxy.get("/").status, 200);
    }
    assert_eq!((origin.connections(), origin.resumed()), (4, 3));
}

#[test]
fn a_cut_over_tls_is_seen() {
    let certificate = Certificate::new();
    for (target, whole) in [
        ("/length/close", false),
        ("/length/vanish", false),
        ("/open/vanish", false),
        ("/open/close", true),
    ] {
        let origin = https(&certificate, |connection| {
            if let Some(request) = connection.request() {
                let target = String::from_utf8(request.target()).unwrap();
                let head = if target.starts_with("/length") {
                    "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n"
                } else {
                    "HTTP/1.1 200 OK\r\n\r\n"
                };
                connection.send(format!("{head}some of it"));
                if target.ends_with("vanish") {
                    connection.vanish();
                }
            }
        });
        let proxy = Proxy::before(&origin, |s| {
            s.origin.tls.ca_file = certificate.ca_file();
        });
        let answer = proxy.get(target);
        assert_eq!(answer.text(), "some of it", "{target}");
        assert_eq!(answer.ending == Ending::Whole, whole, "{target}");
    }
}

#[test]
fn an_origin_that_speaks_no_tls_gives_502() {
    let origin = Origin::saying_and_closing("HTTP/1.1 200 OK\r\n\r\n");
    let proxy = Proxy::before(
        &format!("https://localhost:{}", origin.address().port()),
        |s| {
            s.origin.tls.verify = false;
            s.levels.high.connect_timeout = Some(Duration::from_secs(1));
        },
    );
    let answer = proxy.get("/");
    assert!([502, 504].contains(&answer.status), "{answer:?}");
    answer.problem();
}
