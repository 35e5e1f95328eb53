//! TLS to clients: what holds for plain connections holds here, and certificates change under way.

use std::{
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use fileproxy::traffic::{level::Level, quality::Class, sample::Outcome};

use crate::support::{
    certificate::Certificate,
    client::Client,
    message,
    origin::{Origin, ok},
    program::Program,
    proxy::{Proxy, Upstream as _},
    secure::Secure,
    until,
};

/// A file; `/film` comes in two halves, the other when the gate opens; `/cut` breaks.
fn origin() -> Origin {
    Origin::following(|connection| {
        while let Some(request) = connection.request() {
            match &request.target()[..] {
                b"/film" => {
                    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst");
                    connection.wait();
                    connection.send("other");
                }
                b"/cut" => {
                    connection.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst");
                    return;
                }
                b"/large" => {
                    connection.send(ok(vec![b'x'; 32 << 20]));
                }
                _ => {
                    connection.send(ok("file"));
                }
            }
        }
    })
}

#[test]
fn a_file_comes_over_tls_and_the_origin_hears_that_it_does() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = Proxy::before(&origin, |s| certificate.show(s));
    for protocols in [&[][..], &["http/1.1"][..]] {
        let mut client = Secure::to(proxy.address(), &certificate, protocols).unwrap();
        assert_eq!(client.get("/a"), (200, b"file".to_vec()));
        // And once more on the same connection.
        assert_eq!(client.get("/b"), (200, b"file".to_vec()));
    }
    assert_eq!(
        origin.last().field("x-forwarded-proto").as_deref(),
        Some("https")
    );
    assert!(
        origin
            .last()
            .field("forwarded")
            .unwrap()
            .ends_with("proto=https")
    );
}

/// The lengths of the TLS records that the proxy sends for one GET, handshake included.
fn records(proxy: &Proxy, certificate: &Certificate) -> Vec<usize> {
    let relay = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = relay.local_addr().unwrap();
    let mut onward = TcpStream::connect(proxy.address()).unwrap();
    let recorder = thread::spawn(move || {
        let (mut client, _) = relay.accept().unwrap();
        let (mut up, mut to) = (client.try_clone().unwrap(), onward.try_clone().unwrap());
        let up = thread::spawn(move || {
            _ = io::copy(&mut up, &mut to);
            _ = to.shutdown(Shutdown::Both);
        });
        let (mut all, mut piece) = (Vec::new(), [0; 65536]);
        while let Ok(n @ 1..) = onward.read(&mut piece) {
            all.extend_from_slice(&piece[..n]);
            if client.write_all(&piece[..n]).is_err() {
                break;
            }
        }
        up.join().unwrap();
        all
    });
    let mut client = Secure::to(address, certificate, &[]).unwrap();
    let (status, body) = client.get("/");
    assert_eq!((status, body.len()), (200, 200_000));
    drop(client);
    let all = recorder.join().unwrap();
    let (mut rest, mut lengths) = (&all[..], Vec::new());
    while rest.len() > 5 {
        let length = usize::from(u16::from_be_bytes([rest[3], rest[4]]));
        lengths.push(length);
        rest = rest.get(5 + length..).unwrap_or_default();
    }
    lengths
}

#[test]
fn records_are_small_on_a_poor_line_so_that_its_first_bytes_can_be_read_early() {
    let certificate = Certificate::new();
    for level in [Level::Low, Level::High] {
        let origin = Origin::saying(ok(vec![b'x'; 200_000]));
        let proxy = Proxy::before(&origin, |s| {
            s.optimization.level = level;
            certificate.show(s);
        });
        let most = || records(&proxy, &certificate).into_iter().max().unwrap();
        assert!(most() > 16_000, "{level}");
        let published = proxy.published();
        until("the connection is closed", || {
            let open = &published.clients.by_class[Class::Good as usize];
            (open.get() == 0).then_some(())
        });
        let lines = &published.lines;
        lines.remember([127, 0, 0, 1].into(), Class::VeryPoor, Instant::now());
        assert_eq!(most() < 4_200, level == Level::High, "{level}");
    }
}

/// So many days from now on, or before now.
fn days(n: i64) -> SystemTime {
    let days = |n: u64| Duration::from_secs(n * 24 * 3600);
    match u64::try_from(n) {
        Ok(n) => SystemTime::now() + days(n),
        Err(_) => SystemTime::now() - days(n.unsigned_abs()),
    }
}

#[test]
fn health_and_metrics_say_that_the_certificate_expired_until_another_one_is_there() {
    let (origin, certificate) = (origin(), Certificate::until("localhost", days(-3)));
    let proxy = Proxy::before(&origin, |s| {
        certificate.show(s);
        s.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    });
    let health = proxy.json("/health");
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["certificate"]["status"], "expired");
    let reason = health["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("the certificate expired at 20"),
        "{reason}"
    );
    let ends = |n| days(n).duration_since(UNIX_EPOCH).unwrap().as_secs();
    let metric = || {
        let metrics = proxy.operator().get("/metrics").text();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("fileproxy_certificate_expiry_timestamp_seconds "));
        line.unwrap().parse::<u64>().unwrap()
    };
    assert!(metric().abs_diff(ends(-3)) < 100);

    certificate.replace_by(&Certificate::until("localhost", days(5)));
    let health = until("the other one is taken", || {
        let health = proxy.json("/health");
        (health["certificate"]["status"] == "expiring").then_some(health)
    });
    assert_eq!(
        (&health["status"], &health["reason"]),
        (&"healthy".into(), &serde_json::Value::Null)
    );
    assert!(metric().abs_diff(ends(5)) < 100);
}

#[test]
fn a_certificate_that_expired_or_will_soon_is_told_at_the_start_and_at_each_reload() {
    let origin = origin();
    for (ends, level, words) in [
        (days(-3), "ERROR", "not valid now"),
        (days(13), "WARN", "expires soon"),
        (days(15), "", ""),
    ] {
        let certificate = Certificate::until("localhost", ends);
        let settings = format!(
            "[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n",
            certificate.ca_file().display(),
            certificate.key_file().display()
        );
        let program = Program::before(&origin.url(), &settings);
        program.signal("HUP");
        let reload = program.until_told("admin: settings read again");
        for lines in [program.start(), &reload] {
            let told: Vec<_> = lines
                .iter()
                .filter(|line| {
                    line["message"]
                        .as_str()
                        .unwrap()
                        .starts_with("the certificate")
                })
                .collect();
            assert_eq!(told.len(), usize::from(!words.is_empty()), "{told:?}");
            for line in told {
                assert_eq!(line["level"], level);
                assert!(line["message"].as_str().unwrap().contains(words), "{line}");
            }
        }
    }
}

#[test]
fn what_is_no_tls_gets_nothing_and_is_counted() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = Proxy::before(&origin, |s| certificate.show(s));
    let mut client = proxy.client();
    client.send("GET /a HTTP/1.1\r\nhost: proxy\r\n\r\n");
    let (answer, _) = client.rest();
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    assert_eq!(origin.connections(), 0);
    until("it is counted", || {
        let counters = &proxy.published().clients;
        (counters.handshakes_failed.get() == 1 && counters.open.get() == 0).then_some(())
    });
}

#[test]
fn a_body_that_breaks_looks_broken_over_tls_too() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = Proxy::before(&origin, |s| certificate.show(s));
    let mut client = Secure::to(proxy.address(), &certificate, &[]).unwrap();
    client.send("GET /cut HTTP/1.1\r\nhost: proxy\r\n\r\n");
    assert_eq!(message::fields(&client.head(), "content-length"), ["10"]);
    assert_eq!(client.rest(), b"first");
    proxy.until_outcomes(Outcome::OriginBroken, 1);
}

#[test]
fn heads_have_the_same_limits() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = Proxy::before(&origin, |s| {
        certificate.show(s);
        s.server.max_head = bytesize::ByteSize::kib(1);
        s.server.head_timeout = Duration::from_millis(300);
    });
    let mut long = Secure::to(proxy.address(), &certificate, &[]).unwrap();
    long.send(format!("GET /{} HTTP/1.1\r\n", "x".repeat(2000)));
    assert_eq!(message::status(&long.head()), 431);
    let mut slow = Secure::to(proxy.address(), &certificate, &[]).unwrap();
    slow.send("GET / HTT");
    assert_eq!(message::status(&slow.head()), 408);
}

#[test]
fn a_client_that_stops_reading_is_ended_and_one_that_leaves_ends_its_transfer() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = Proxy::before(&origin, |s| {
        certificate.show(s);
        s.server.send_timeout = Duration::from_millis(300);
    });
    let mut client = Secure::to(proxy.address(), &certificate, &[]).unwrap();
    client.send("GET /large HTTP/1.1\r\nhost: proxy\r\n\r\n");
    client.head();
    until("it is ended", || {
        let counters = &proxy.published().clients;
        (counters.send_timeouts.get() == 1 && counters.open.get() == 0).then_some(())
    });
    let mut client = Secure::to(proxy.address(), &certificate, &[]).unwrap();
    client.send("GET /film HTTP/1.1\r\nhost: proxy\r\n\r\n");
    client.head();
    drop(client);
    proxy.until_outcomes(Outcome::ClientLeft, 2);
}

#[test]
fn clients_that_say_nothing_keep_nobody_out_and_have_their_time() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = Proxy::before(&origin, |s| {
        certificate.show(s);
        s.tls.handshake_timeout = Duration::from_secs(2);
        s.tls.max_handshakes = 2;
    });
    let counters = &proxy.published().clients;
    let hello = Secure::hello(&certificate);
    let mut silent: Vec<Client> = (0..30).map(|_| proxy.client()).collect();
    for client in &mut silent[..15] {
        // Not all of it is as good as nothing.
        client.send(&hello[..hello.len() - 1]);
    }
    until("all are in", || (counters.open.get() == 30).then_some(()));
    for _ in 0..5 {
        let mut client = Secure::to(proxy.address(), &certificate, &[]).unwrap();
        assert_eq!(client.get("/a").0, 200);
    }
    assert_eq!(counters.handshakes_refused.get(), 0);
    for client in &mut silent {
        assert!(client.closes());
    }
    until("all are counted", || {
        (counters.handshakes_failed.get() == 30).then_some(())
    });
}

/// Clients of this address that begin a handshake and say no more.
fn stalled(proxy: &Proxy, own: [u8; 4], hello: &[u8], count: usize) -> Vec<Client> {
    let begin = |_| {
        let mut client = Client::from(own.into(), proxy.address());
        client.send(hello);
        client
    };
    (0..count).map(begin).collect()
}

#[test]
fn handshakes_that_do_not_go_on_keep_nobody_out() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = Proxy::before(&origin, |s| {
        certificate.show(s);
        s.tls.handshake_timeout = Duration::from_secs(60);
        s.tls.max_handshakes = 20;
    });
    let counters = &proxy.published().clients;
    let hello = Secure::hello(&certificate);
    let mut one = stalled(&proxy, [127, 0, 0, 3], &hello, 1);
    let mut crowd = stalled(&proxy, [127, 0, 0, 2], &hello, 1);
    until("it is first", || {
        (counters.handshakes.get() == 2).then_some(())
    });
    crowd.extend(stalled(&proxy, [127, 0, 0, 2], &hello, 18));
    until("there is no room", || {
        (counters.handshakes.get() == 20).then_some(())
    });
    let mut client = Secure::to(proxy.address(), &certificate, &[]).unwrap();
    assert_eq!(client.get("/a").0, 200);
    assert_eq!(counters.handshakes_refused.get(), 1);
    crowd[0].rest();
    until("the crowd gave up one", || {
        (counters.handshakes.get() == 19).then_some(())
    });
    // Who came before it, alone from where it is, goes on.
    one[0].try_send("x").unwrap();
}

#[test]
fn where_all_connections_are_taken_by_clients_that_say_nothing_their_address_gives_one_up() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = Proxy::before(&origin, |s| {
        certificate.show(s);
        s.tls.handshake_timeout = Duration::from_secs(60);
        s.server.max_connections = 20;
    });
    let counters = &proxy.published().clients;
    let mut silent = stalled(&proxy, [127, 0, 0, 2], b"", 1);
    until("it is first", || (counters.open.get() == 1).then_some(()));
    silent.extend(stalled(&proxy, [127, 0, 0, 2], b"", 19));
    until("all are in", || (counters.open.get() == 20).then_some(()));
    let mut client = Secure::to(proxy.address(), &certificate, &[]).unwrap();
    assert_eq!(client.get("/a").0, 200);
    assert!(silent[0].closes());
    assert_eq!(counters.handshakes_refused.get(), 1);
    assert_eq!(counters.over_limit.get(), 0);
}

#[test]
fn a_first_message_may_come_byte_by_byte_and_in_many_records() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = Proxy::before(&origin, |s| certificate.show(s));
    let socket = || {
        let socket = std::net::TcpStream::connect(proxy.address()).unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    };
    let mut trickling = Secure::greeting(socket(), &certificate, |socket, hello| {
        for byte in hello {
            socket.write_all(&[*byte]).unwrap();
        }
    })
    .unwrap();
    assert_eq!(trickling.get("/a").0, 200);
    let mut cut = Secure::greeting(socket(), &certificate, |socket, hello| {
        // Type and version of the record, its length, then the message (RFC 8446 §5.1).
        for piece in hello[5..].chunks(7) {
            let mut record = hello[..3].to_vec();
            record.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
            record.extend(piece);
            socket.write_all(&record).unwrap();
        }
    })
    .unwrap();
    assert_eq!(cut.get("/a").0, 200);
}

#[test]
fn one_connection_too_many_is_closed_without_a_handshake() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = Proxy::before(&origin, |s| {
        certificate.show(s);
        s.server.max_connections = 1;
    });
    let mut client = Secure::to(proxy.address(), &certificate, &[]).unwrap();
    assert_eq!(client.get("/a").0, 200);
    assert!(Secure::to(proxy.address(), &certificate, &[]).is_err());
    assert_eq!(proxy.published().clients.over_limit.get(), 1);
    assert_eq!(client.get("/a").0, 200);
}

#[test]
fn another_certificate_is_for_new_connections_and_cuts_no_transfer() {
    let (origin, certificate, other) = (origin(), Certificate::new(), Certificate::new());
    let first = Certificate::new();
    certificate.replace_by(&first);
    let proxy = Proxy::before(&origin, |s| certificate.show(s));
    let mut film = Secure::to(proxy.address(), &first, &[]).unwrap();
    film.send("GET /film HTTP/1.1\r\nhost: proxy\r\n\r\n");
    film.head();
    assert_eq!(film.exactly(5), b"first");

    certificate.replace_by(&other);
    until("the other one is shown", || {
        Secure::to(proxy.address(), &other, &[]).ok()
    });
    assert!(Secure::to(proxy.address(), &first, &[]).is_err());
    origin.open_gate();
    assert_eq!(film.exactly(5), b"other");
    assert_eq!(film.get("/a").1, b"file");
}

#[test]
fn files_that_do_not_fit_change_nothing_and_a_reload_says_why() {
    let (origin, certificate, other) = (origin(), Certificate::new(), Certificate::new());
    let proxy = Proxy::before(&origin, |s| {
        certificate.show(s);
        s.tls.watch = Duration::from_secs(3600);
        s.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    });
    let same = Certificate::new();
    same.replace_by(&certificate);
    // Half of a change: the other's certificate with the old key.
    std::fs::copy(other.ca_file(), certificate.ca_file()).unwrap();
    let refused = proxy.reload(|s| s.levels.high.buffer = bytesize::ByteSize::kib(256));
    assert_eq!(refused.status, 422);
    let detail = refused.problem()["detail"].to_string();
    assert!(
        detail.contains("tls.certificate") && detail.contains("tls.key"),
        "{detail}"
    );
    assert!(Secure::to(proxy.address(), &same, &[]).is_ok());

    std::fs::write(certificate.key_file(), "no key").unwrap();
    let detail = proxy.reload(|_| {}).problem()["detail"].to_string();
    assert!(
        detail.contains("holds no usable PEM private key"),
        "{detail}"
    );
    assert!(!detail.contains("no key:"), "{detail}");

    std::fs::copy(other.key_file(), certificate.key_file()).unwrap();
    assert_eq!(proxy.reload(|_| {}).status, 200);
    assert!(Secure::to(proxy.address(), &other, &[]).is_ok());
}

#[test]
fn a_certificate_that_cannot_be_used_stops_the_start_and_one_that_breaks_later_is_told_once() {
    let (origin, certificate) = (origin(), Certificate::new());
    let file = |path: std::path::PathBuf| path.display().to_string();
    let tls = format!(
        "[tls]\ncertificate = \"{}\"\nkey = \"{}\"\nwatch = \"100ms\"\n",
        file(certificate.ca_file()),
        file(certificate.key_file())
    );
    let program = Program::before(&format!("http://{}", origin.address()), &tls);
    let whole = std::fs::read(certificate.key_file()).unwrap();
    std::fs::write(certificate.key_file(), &whole[..whole.len() / 2]).unwrap();
    let line = program
        .until_logged("the certificate's files cannot be used: the one before stays in force");
    assert!(
        line["error"].as_str().unwrap().contains("tls.key"),
        "{line}"
    );
    assert!(Secure::to(program.address(), &certificate, &[]).is_ok());
    drop(program);

    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("local.toml"), tls).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_fileproxy"))
        .env("FILEPROXY_SETTINGS", folder.path())
        .env("FILEPROXY__SERVER__LISTEN", "127.0.0.1:0")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("tls.key") && said.contains("private key"),
        "{said}"
    );
}

#[test]
fn the_operators_address_speaks_plain_http_beside_it() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = Proxy::before(&origin, |s| {
        certificate.show(s);
        s.admin.listen = Some("127.0.0.1:0".parse().unwrap());
    });
    assert_eq!(proxy.json("/health")["status"], "healthy");
    let mut client = Secure::to(proxy.address(), &certificate, &[]).unwrap();
    assert_eq!(client.get("/health").1, b"file");
}

#[test]
fn switching_tls_on_or_off_needs_a_restart() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = Proxy::before(&origin, |_| {});
    let told: serde_json::Value =
        serde_json::from_slice(&proxy.reload(|s| certificate.show(s)).body).unwrap();
    assert_eq!(told["changed"], serde_json::json!([]));
    assert_eq!(told["needs_restart"][0]["key"], "tls.certificate");
    assert_eq!(proxy.get("/a").text(), "file");
}

#[test]
fn curl_and_openssl_agree() {
    let (origin, certificate) = (origin(), Certificate::new());
    let proxy = Proxy::before(&origin, |s| certificate.show(s));
    let port = proxy.address().port();
    for (version, shown) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let output = std::process::Command::new("curl")
            .args(["-sS", version, "-w", " %{http_version}", "--cacert"])
            .arg(certificate.ca_file())
            .arg("--resolve")
            .arg(format!("localhost:{port}:127.0.0.1"))
            .arg(format!("https://localhost:{port}/a"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("file {shown}"),
            "{said}"
        );
    }
    let output = std::process::Command::new("openssl")
        .args(["s_client", "-brief", "-alpn", "h2", "-connect"])
        .arg(proxy.address().to_string())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("TLSv1.3"), "{said}");
}
