//! At the end of its life: out of service first, then nothing new, and what is under way ends well.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::Duration,
};

use crate::support::{
    client::Ending,
    origin::{Origin, ok},
    proxy::Proxy,
    until,
};

/// Whether no connection is to be had: at first nobody hears who asks for one, then nobody is there.
fn is_refused(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_millis(300)).is_err()
}

/// Half a body at once, the other half when the gate opens.
fn halves() -> Origin {
    Origin::following(|connection| {
        while let Some(request) = connection.request() {
            if request.target() == b"/film" {
                connection.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst");
                connection.wait();
                connection.send("other");
            } else {
                connection.send(ok("short"));
            }
        }
    })
}

#[test]
fn draining_says_503_first_then_refuses_then_ends_when_the_last_transfer_did() {
    let origin = halves();
    let mut proxy = Proxy::before(&origin, |s| {
        s.server.drain_notice = Duration::from_secs(1);
    });
    let address = proxy.address();
    let mut film = proxy.client();
    film.send("GET /film HTTP/1.1\r\nhost: proxy\r\n\r\n");
    let head = film.head();
    assert_eq!(film.exactly(5), b"first");
    assert_eq!(proxy.get("/health").status, 200);

    proxy.drain();
    // During the notice: out of service for balancers, still in service for clients.
    until("/health says 503", || {
        (proxy.get("/health").status == 503).then_some(())
    });
    assert_eq!(proxy.get("/health/ready").status, 503);
    assert_eq!(proxy.get("/health/live").status, 200);
    assert_eq!(proxy.get("/short").text(), "short");

    until("new connections are refused", || {
        is_refused(address).then_some(())
    });
    origin.open_gate();
    let mut rest = film.patient().exactly(5);
    rest.append(&mut film.rest().0);
    assert_eq!(rest, b"other", "{}", String::from_utf8_lossy(&head));
    proxy.until_ended();
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let origin = halves();
    let mut proxy = Proxy::before(&origin, |s| {
        s.server.drain_timeout = Duration::from_secs(3600);
    });
    let mut idle = proxy.client();
    assert_eq!(idle.get("/short").text(), "short");
    let mut silent = proxy.client();
    // Accepted for sure before the draining begins.
    until("both are accepted", || {
        (proxy.published().clients.open.get() == 2).then_some(())
    });
    proxy.drain();
    assert!(idle.closes());
    assert!(silent.closes());
    proxy.until_ended();
}

#[test]
fn a_request_that_is_on_its_way_as_the_draining_begins_is_answered() {
    let origin = halves();
    let mut proxy = Proxy::before(&origin, |_| {});
    let (mut kept, mut new) = (proxy.client(), proxy.client());
    assert_eq!(kept.get("/short").text(), "short");
    until("both are accepted", || {
        (proxy.published().clients.open.get() == 2).then_some(())
    });
    proxy.drain();
    until("new connections are refused", || {
        is_refused(proxy.address()).then_some(())
    });
    for client in [&mut kept, &mut new] {
        let response = client.get("/short");
        assert_eq!(response.text(), "short");
        assert_eq!(response.field("connection").as_deref(), Some("close"));
        assert!(client.closes());
    }
    proxy.until_ended();
}

#[test]
fn who_gets_a_connection_while_the_process_goes_out_of_service_is_answered() {
    let origin = Origin::answering(|_| ok("file"));
    for listen in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
        let mut proxy = Proxy::before(&origin, |s| s.server.listen = listen.parse().unwrap());
        let address = proxy.address();
        let (answered, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let unanswered: Vec<String> = thread::scope(|scope| {
            let storm: Vec<_> = (0..STORM)
                .map(|_| scope.spawn(|| storm(address, &answered, &over)))
                .collect();
            until("the storm is on", || {
                (answered.load(Relaxed) > 20 * STORM).then_some(())
            });
            proxy.drain();
            proxy.until_ended();
            over.store(true, Relaxed);
            storm
                .into_iter()
                .flat_map(|client| client.join().unwrap())
                .collect()
        });
        assert_eq!(unanswered, [""; 0], "of {}", answered.load(Relaxed));
    }
}

/// Clients that come at once.
const STORM: usize = 64;

/// Comes anew for each request until all is over; what became of the connections that got no answer.
fn storm(address: SocketAddr, answered: &AtomicUsize, over: &AtomicBool) -> Vec<String> {
    let mut unanswered = Vec::new();
    while !over.load(Relaxed) {
        let Ok(mut socket) = TcpStream::connect_timeout(&address, Duration::from_millis(300))
        else {
            continue;
        };
        let mut answer = String::new();
        let sent = socket.write_all(b"GET /a HTTP/1.1\r\nhost: proxy\r\nconnection: close\r\n\r\n");
        let read = socket.read_to_string(&mut answer);
        if answer.ends_with("file") {
            answered.fetch_add(1, Relaxed);
        } else {
            unanswered.push(format!("{sent:?} {read:?} {answer}"));
        }
    }
    unanswered
}

#[test]
fn a_kept_connection_ends_with_the_response_under_way() {
    let origin = halves();
    let mut proxy = Proxy::before(&origin, |_| {});
    let mut film = proxy.client();
    film.send("GET /film HTTP/1.1\r\nhost: proxy\r\n\r\n");
    let head = film.head();
    assert_eq!(film.exactly(5), b"first");
    proxy.drain();
    until("draining began", || {
        proxy.published().is_draining().then_some(())
    });
    until("new connections are refused", || {
        is_refused(proxy.address()).then_some(())
    });
    origin.open_gate();
    assert_eq!(
        film.exactly(5),
        b"other",
        "{}",
        String::from_utf8_lossy(&head)
    );
    assert!(film.closes());
    proxy.until_ended();
}

#[test]
fn a_transfer_that_does_not_end_in_time_is_cut_visibly() {
    let origin = halves();
    let mut proxy = Proxy::before(&origin, |s| {
        s.server.drain_timeout = Duration::from_secs(1);
    });
    let mut film = proxy.client();
    film.send("GET /film HTTP/1.1\r\nhost: proxy\r\n\r\n");
    let head = film.head();
    proxy.drain();
    let (body, ending) = film.body(&head);
    assert_eq!(body, b"first");
    assert_ne!(ending, Ending::Whole);
    proxy.until_ended();
}
