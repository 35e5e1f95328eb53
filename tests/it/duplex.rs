//! Bodies that flow in both directions at once: the origin answers while it still reads.

use std::{io::Write as _, net::TcpStream, thread::JoinHandle};

use bytes::Bytes;
use fileproxy::traffic::level::Level;

use crate::support::{
    certificate::Certificate,
    client::Ending,
    origin::{Connection, Origin, file, ok},
    proxy::Proxy,
    secure::{h2, request, whole},
    until,
};

const CHUNKED: &str = "transfer-encoding: chunked\r\n";

fn length(n: usize) -> String {
    format!("content-length: {n}\r\n")
}

fn post(lines: &str) -> String {
    format!("POST /up HTTP/1.1\r\nhost: proxy\r\n{lines}\r\n")
}

/// `body` in pieces, chunked.
fn chunked(body: &[u8]) -> Vec<u8> {
    let mut coded = Vec::new();
    for chunk in body.chunks(30_000) {
        coded.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        coded.extend_from_slice(chunk);
        coded.extend_from_slice(b"\r\n");
    }
    coded.extend_from_slice(b"0\r\n\r\n");
    coded
}

/// Sends on a thread of its own.
fn sending(socket: &TcpStream, bytes: Vec<u8>) -> JoinHandle<()> {
    let mut socket = socket.try_clone().unwrap();
    std::thread::spawn(move || _ = socket.write_all(&bytes))
}

/// Answers with the head's words at once, and sends back each piece as it comes, coding and all.
fn echo(connection: &mut Connection) {
    while let Some(request) = connection.head() {
        let coding = match request.field("content-length") {
            Some(length) => format!("content-length: {length}\r\n"),
            None => CHUNKED.to_owned(),
        };
        connection.send(format!("HTTP/1.1 200 OK\r\n{coding}\r\n"));
        let mut left = request
            .field("content-length")
            .map(|length| length.parse::<usize>().unwrap());
        let mut last = Vec::new();
        while left != Some(0) {
            let piece = connection.bytes(64 * 1024);
            if piece.is_empty() || !connection.send(&piece) {
                return;
            }
            if let Some(left) = &mut left {
                *left -= piece.len();
                continue;
            }
            last.extend_from_slice(&piece);
            last.drain(..last.len().saturating_sub(7));
            if last == b"\r\n0\r\n\r\n" {
                break;
            }
        }
    }
}

fn at(level: Level, origin: &Origin) -> Proxy {
    Proxy::before(origin, |s| s.optimization.level = level)
}

#[test]
fn an_uploads_head_reaches_the_origin_before_any_of_its_body() {
    for lines in [length(5), CHUNKED.to_owned()] {
        let origin = Origin::answering(|request| ok(&request.body));
        let proxy = at(Level::High, &origin);
        let mut client = proxy.client();
        client.send(post(&lines));
        until("the head comes", || (origin.hits() == 1).then_some(()));
        let body: &[u8] = match lines == CHUNKED {
            true => b"5\r\nhello\r\n0\r\n\r\n",
            false => b"hello",
        };
        client.send(body);
        assert_eq!(client.response().text(), "hello");
        assert_eq!(client.get("/").status, 200, "the connections go on");
        assert_eq!(origin.connections(), 1);
    }
}

#[test]
fn each_piece_of_an_upload_reaches_the_origin_as_it_comes() {
    let origin = Origin::following(echo);
    let proxy = at(Level::High, &origin);
    let mut client = proxy.client();
    client.send(post(CHUNKED));
    let head = client.head();
    assert!(head.starts_with(b"HTTP/1.1 200 "));
    for _ in 0..3 {
        client.send("3\r\nabc\r\n");
        assert_eq!(client.exactly(8), b"3\r\nabc\r\n");
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.exactly(5), b"0\r\n\r\n");
    until("the connection comes back", || {
        (proxy.published().origin().counters.idle.get() == 1).then_some(())
    });
}

#[test]
fn an_echo_much_larger_than_all_buffers_comes_back_whole() {
    let body = file(32 << 20);
    for level in [Level::Low, Level::High] {
        let origin = Origin::following(echo);
        let proxy = at(level, &origin);
        for (lines, sent) in [
            (CHUNKED.to_owned(), chunked(&body)),
            (length(body.len()), body.clone()),
        ] {
            let mut client = proxy.client();
            client.send(post(&lines));
            let sender = sending(&client.socket, sent);
            let answer = client.response();
            sender.join().unwrap();
            assert_eq!((answer.status, answer.ending), (200, Ending::Whole));
            assert!(answer.body == body, "{level:?} {lines}");
        }
        until("nothing is under way", || {
            (proxy.published().clients.requests.get() == 0).then_some(())
        });
    }
}

#[test]
fn an_origin_over_tls_may_answer_while_it_reads() {
    let certificate = Certificate::new();
    let origin = Origin::on("127.0.0.1:0", Some(certificate.server.clone()), echo);
    let proxy = Proxy::before(&origin, |s| {
        s.origin.tls.verify = false;
        s.server.workers = 1;
    });
    let body = file(4 << 20);
    for _ in 0..2 {
        let mut client = proxy.client();
        client.send(post(CHUNKED));
        let sender = sending(&client.socket, chunked(&body));
        let answer = client.response();
        sender.join().unwrap();
        assert_eq!((answer.status, answer.ending), (200, Ending::Whole));
        assert!(answer.body == body);
    }
    assert_eq!(origin.connections(), 1);
}

#[actix_rt::test]
async fn over_http2_bodies_flow_in_both_directions_too() {
    let (origin, certificate) = (Origin::following(echo), Certificate::new());
    let proxy = Proxy::before(&origin, |s| certificate.show(s));
    let mut client = h2(proxy.address(), &certificate).await;
    let (response, mut body) = client.send_request(request("POST", "/up"), false).unwrap();
    let mut answer = response.await.unwrap().into_body();
    for n in 0..100_u8 {
        let piece = Bytes::from(vec![n; 10_000]);
        body.send_data(piece.clone(), false).unwrap();
        let mut back = Vec::new();
        while back.len() < piece.len() {
            let part = answer.data().await.unwrap().unwrap();
            answer.flow_control().release_capacity(part.len()).unwrap();
            back.extend_from_slice(&part);
        }
        assert!(back == piece);
    }
    body.send_data(Bytes::new(), true).unwrap();
    assert_eq!(whole(answer).await.unwrap(), b"");
}

#[test]
fn an_answer_that_is_whole_before_the_upload_does_not_cut_the_upload() {
    let body = file(8 << 20);
    for early in [
        ok("early"),
        b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\ne\r\n0\r\n\r\n".to_vec(),
    ] {
        for (lines, sent) in [
            (CHUNKED.to_owned(), chunked(&body)),
            (length(body.len()), body.clone()),
        ] {
            let (answer, whole) = (early.clone(), sent.clone());
            let origin = Origin::following(move |connection| {
                while connection.head().is_some() {
                    connection.send(&answer);
                    let mut came = Vec::new();
                    while came.len() < whole.len() {
                        let piece = connection.bytes(1 << 20);
                        if piece.is_empty() {
                            return;
                        }
                        came.extend_from_slice(&piece);
                    }
                    connection.took(came.len());
                }
            });
            let proxy = at(Level::High, &origin);
            let mut client = proxy.client();
            client.send(post(&lines));
            let sender = sending(&client.socket, sent.clone());
            let answer = client.response();
            assert!(answer.status < 300 && answer.ending == Ending::Whole);
            sender.join().unwrap();
            until("the whole upload is there", || {
                // The proxy's own chunks are not the client's.
                (origin.taken() >= body.len()).then_some(())
            });
        }
    }
}

#[test]
fn a_refusal_ends_the_upload_at_the_origin_and_at_the_client() {
    let origin = Origin::following(|connection| {
        if connection.head().is_some() {
            connection.send("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
            connection.stall();
        }
    });
    let proxy = at(Level::High, &origin);
    let mut client = proxy.client();
    client.send(post(&length(1 << 40)));
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
    assert_eq!(answer.field("connection").as_deref(), Some("close"));
    until("the origin's connection ends", || {
        (origin.open() == 0).then_some(())
    });
    assert!(client.closes());
}

#[test]
fn a_client_that_leaves_ends_both_directions() {
    let origin = Origin::following(echo);
    let proxy = at(Level::High, &origin);
    let mut client = proxy.client();
    client.send(post(&length(1 << 40)));
    client.head();
    client.send("hello");
    assert_eq!(client.exactly(5), b"hello");
    drop(client);
    until("the origin's connection ends", || {
        (origin.open() == 0).then_some(())
    });
    until("nothing is under way", || {
        (proxy.published().clients.requests.get() == 0).then_some(())
    });
}

#[test]
fn an_upload_whose_coding_breaks_behind_the_answers_head_breaks_the_answer_too() {
    let origin = Origin::following(|connection| {
        if connection.head().is_some() {
            // To the close: only a reset tells it from a whole one.
            connection.send("HTTP/1.1 200 OK\r\n\r\nsome");
            connection.stall();
        }
    });
    let proxy = at(Level::High, &origin);
    let mut client = proxy.client();
    client.send(post(CHUNKED));
    let head = client.head();
    assert_eq!(client.exactly(9), b"4\r\nsome\r\n", "{head:?}");
    client.send("nonsense\r\n");
    let (rest, _) = client.rest();
    assert!(!rest.ends_with(b"0\r\n\r\n"), "the answer looks whole");
    until("the origin's connection ends", || {
        (origin.open() == 0).then_some(())
    });
}
