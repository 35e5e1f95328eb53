//! Clients and origins that are ahead of their turn: requests before the answer, answers before the request's end.

use super::support::{
    client::Ending,
    origin::{Origin, ok, response},
    proxy::Proxy,
};

/// An origin that answers by method and path.
fn by_method() -> Origin {
    Origin::answering(
        |request| match (request.method().as_str(), request.target().as_slice()) {
            ("HEAD", _) => b"HTTP/1.1 200 OK\r\ncontent-length: 777\r\n\r\n".to_vec(),
            (_, b"/chunked") => {
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
                    .to_vec()
            }
            _ => ok("hello world"),
        },
    )
}

#[test]
fn a_head_behind_a_get_in_one_packet_takes_nothing_from_it() {
    let origin = by_method();
    let proxy = Proxy::before(&origin, |_| {});
    for (first, body) in [("/g", "hello world"), ("/chunked", "abc")] {
        let mut client = proxy.client();
        client.send(format!(
            "GET {first} HTTP/1.1\r\nhost: p\r\n\r\nHEAD /h HTTP/1.1\r\nhost: p\r\n\r\nGET /g HTTP/1.1\r\nhost: p\r\n\r\n"
        ));
        let answer = client.response();
        assert_eq!(
            (answer.status, answer.text().as_str(), answer.ending),
            (200, body, Ending::Whole)
        );
        assert_eq!(
            client.response_to_head().field("content-length").unwrap(),
            "777"
        );
        assert_eq!(client.response().text(), "hello world");
    }
}

#[test]
fn a_get_behind_a_head_in_one_packet_is_answered_too() {
    let origin = by_method();
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send("HEAD /h HTTP/1.1\r\nhost: p\r\n\r\nGET /g HTTP/1.1\r\nhost: p\r\n\r\nGET /health/live HTTP/1.1\r\nhost: p\r\n\r\n");
    assert_eq!(
        client.response_to_head().field("content-length").unwrap(),
        "777"
    );
    assert_eq!(client.response().text(), "hello world");
    assert_eq!(client.response().status, 200);
}

#[test]
fn the_close_that_a_later_request_asks_for_does_not_end_the_one_before() {
    let origin = by_method();
    let proxy = Proxy::before(&origin, |_| {});
    let mut client = proxy.client();
    client.send(
        "GET /g HTTP/1.1\r\nhost: p\r\n\r\nGET /g HTTP/1.1\r\nhost: p\r\nconnection: close\r\n\r\n",
    );
    assert!(client.response().field("connection").is_none());
    assert_eq!(client.response().field("connection").unwrap(), "close");
    assert!(client.closes());
}

#[test]
fn a_connection_on_which_the_origin_still_waits_for_a_body_is_not_used_again() {
    let origin = Origin::following(|connection| {
        while let Some(request) = connection.head() {
            if request.method() == "POST" {
                // Refused at the head; the connection is said to be kept.
                connection.send(response("413 Content Too Large", "", "no"));
                // What comes now belongs to the body.
                while connection.piece(64 * 1024) > 0 {}
                return;
            }
            connection.send(ok("fine"));
        }
    });
    let proxy = Proxy::before(&origin, |settings| settings.server.workers = 1);
    let mut client = proxy.client();
    client.send("POST /u HTTP/1.1\r\nhost: p\r\ncontent-length: 1000000\r\n\r\n");
    client.send(vec![b'x'; 60_000]);
    let refused = client.response();
    assert_eq!(refused.status, 413);
    let fine = proxy.get("/y");
    assert_eq!((fine.status, fine.text().as_str()), (200, "fine"));
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_range_that_ends_too_early_by_its_own_framing_is_broken() {
    for framing in ["", "transfer-encoding: chunked\r\n"] {
        let body = if framing.is_empty() {
            "abc"
        } else {
            "3\r\nabc\r\n0\r\n\r\n"
        };
        let origin = Origin::saying_and_closing(format!(
            "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 0-9/10\r\n{framing}\r\n{body}"
        ));
        let proxy = Proxy::before(&origin, |_| {});
        let answer = proxy.client().get_with("/f", "range: bytes=0-9\r\n");
        assert_ne!(answer.ending, Ending::Whole, "{framing}");
    }
}

#[test]
fn a_rest_that_ends_too_early_by_its_own_framing_is_no_end() {
    for rest in [
        "HTTP/1.1 206 Partial Content\r\netag: \"a\"\r\ncontent-range: bytes 4-9/10\r\n\r\n45",
        "HTTP/1.1 206 Partial Content\r\netag: \"a\"\r\ncontent-range: bytes 4-9/10\r\ntransfer-encoding: chunked\r\n\r\n2\r\n45\r\n0\r\n\r\n",
        "HTTP/1.1 206 Partial Content\r\netag: \"a\"\r\ncontent-range: bytes 4-6/*\r\ncontent-length: 3\r\n\r\n456",
    ] {
        let origin = Origin::following(move |connection| {
            if connection.request().is_some() {
                let first = "HTTP/1.1 200 OK\r\netag: \"a\"\r\ntransfer-encoding: chunked\r\n\r\n4\r\n0123\r\n";
                connection.send(if connection.number == 0 { first } else { rest });
            }
        });
        let proxy = Proxy::before(&origin, |settings| {
            settings.transfers.backoff_max = settings.transfers.backoff_min
        });
        assert_ne!(proxy.get("/f").ending, Ending::Whole, "{rest}");
    }
}

#[test]
fn the_limit_to_one_host_counts_idle_connections_of_all_workers() {
    let origin = Origin::answering(|_| ok("x"));
    let proxy = Proxy::before(&origin, |settings| {
        settings.server.workers = 4;
        settings.levels.high.connections_per_host = 4;
    });
    for _ in 0..4 {
        let mut clients: Vec<_> = (0..12).map(|_| proxy.client()).collect();
        for client in &mut clients {
            client.send("GET /x HTTP/1.1\r\nhost: p\r\n\r\n");
        }
        for client in &mut clients {
            assert_eq!(client.response().status, 200);
        }
    }
    assert!(origin.most_open() <= 4, "{} at once", origin.most_open());
}
