//! The corpus' clients over HTTP/1, from raw sockets.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use socket2::SockRef;

use super::{
    answer::{Answer, Answers, End},
    asking::{Asked, Framed, Kind, UPLOAD},
    behaviour::Row,
};
use crate::support::{DEADLINE, client::little_room};

/// Bytes after which a client leaves.
const ENOUGH: usize = 20_000;

fn socket(address: SocketAddr) -> TcpStream {
    ready(TcpStream::connect_timeout(&address, DEADLINE).unwrap())
}

fn ready(socket: TcpStream) -> TcpStream {
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.set_write_timeout(Some(DEADLINE)).unwrap();
    socket
}

/// Sends a request on an open connection and reads its answer.
fn ask(
    answers: &mut Answers<TcpStream>,
    socket: &TcpStream,
    asked: &Asked,
    version: &str,
) -> Answer {
    // Whether it arrives is seen by the answer.
    _ = (&*socket).write_all(asked.head(version).as_bytes());
    answers.next(asked.is_head(), usize::MAX)
}

/// The bytes of an upload.
pub fn upload() -> &'static [u8] {
    static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    BYTES.get_or_init(|| (0..UPLOAD).map(|i| (i / 7) as u8).collect())
}

fn send_upload(mut socket: &TcpStream, framed: Framed) -> std::io::Result<()> {
    for piece in upload().chunks(30_000) {
        if framed == Framed::Chunks {
            write!(socket, "{:x}\r\n", piece.len())?;
        }
        socket.write_all(piece)?;
        if framed == Framed::Chunks {
            socket.write_all(b"\r\n")?;
        }
    }
    if framed == Framed::Chunks {
        socket.write_all(b"0\r\n\r\n")?;
    }
    Ok(())
}

/// Does what this kind of client does at this address.
pub fn run(kind: Kind, address: SocketAddr, row: &Row, path: &str) -> Vec<Answer> {
    let requests = kind.requests(row, path);
    let one = |asked: &Asked| {
        let socket = socket(address);
        ask(
            &mut Answers::of(socket.try_clone().unwrap()),
            &socket,
            asked,
            "1.1",
        )
    };
    match kind {
        Kind::Slow => {
            let socket = ready(little_room(address));
            let pause = || thread::sleep(Duration::from_millis(5));
            let mut answers = Answers::of(socket.try_clone().unwrap()).slowly(4096, pause);
            vec![ask(&mut answers, &socket, &requests[0], "1.1")]
        }
        Kind::Old => {
            let socket = socket(address);
            let mut answers = Answers::of(socket.try_clone().unwrap());
            vec![ask(&mut answers, &socket, &requests[0], "1.0")]
        }
        Kind::Pipelined => {
            let mut socket = socket(address);
            let all: String = requests.iter().map(|asked| asked.head("1.1")).collect();
            _ = socket.write_all(all.as_bytes());
            pipelined(&requests, socket, address)
        }
        Kind::Leaves => {
            let mut socket = socket(address);
            _ = socket.write_all(requests[0].head("1.1").as_bytes());
            let mut answers = Answers::of(socket);
            answers.next(false, ENOUGH);
            let left = answers.into_inner();
            _ = SockRef::from(&left).set_linger(Some(Duration::ZERO));
            drop(left);
            vec![one(&requests[1])]
        }
        Kind::Two => thread::scope(|scope| {
            let both: Vec<_> = (requests.iter())
                .map(|asked| scope.spawn(move || one(asked)))
                .collect();
            both.into_iter().map(|one| one.join().unwrap()).collect()
        }),
        Kind::Upload | Kind::UploadChunks => {
            let asked = &requests[0];
            let socket = socket(address);
            thread::scope(|scope| {
                (&socket).write_all(asked.head("1.1").as_bytes()).unwrap();
                // An answer that comes before the end may end it.
                scope.spawn(|| _ = send_upload(&socket, asked.upload.unwrap()));
                let answer = Answers::of(socket.try_clone().unwrap()).next(false, usize::MAX);
                _ = socket.shutdown(std::net::Shutdown::Both);
                vec![answer]
            })
        }
        _ => in_order(&requests, address),
    }
}

/// One after the other, on one connection for as long as it stays open.
fn in_order(requests: &[Asked], address: SocketAddr) -> Vec<Answer> {
    let mut kept: Option<(TcpStream, Answers<TcpStream>)> = None;
    let mut answers = Vec::new();
    for asked in requests {
        let (socket, mut reader) = kept.take().unwrap_or_else(|| {
            let socket = socket(address);
            let reader = Answers::of(socket.try_clone().unwrap());
            (socket, reader)
        });
        let answer = ask(&mut reader, &socket, asked, "1.1");
        if stays_open(asked, &answer) {
            kept = Some((socket, reader));
        }
        answers.push(answer);
    }
    answers
}

/// Whether the connection can be used again behind this answer.
fn stays_open(asked: &Asked, answer: &Answer) -> bool {
    let closes = answer
        .field("connection")
        .is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let has_end = answer.field("content-length").is_some()
        || answer.field("transfer-encoding").is_some()
        || asked.is_head()
        || matches!(answer.status, 204 | 304);
    answer.end == End::Whole && has_end && !closes
}

/// The answers to what was sent at once; what a connection that ends leaves unanswered is asked for again, as clients do.
fn pipelined(requests: &[Asked], socket: TcpStream, address: SocketAddr) -> Vec<Answer> {
    let mut reader = Answers::of(socket);
    let mut answers: Vec<Answer> = Vec::new();
    for asked in requests {
        let open = answers
            .iter()
            .zip(requests)
            .all(|(answer, asked)| stays_open(asked, answer));
        let answer = open.then(|| reader.next(asked.is_head(), usize::MAX));
        let again = || in_order(std::slice::from_ref(asked), address).remove(0);
        let answered = answer.filter(|answer| answer.status != 0 || answer.end == End::Hung);
        answers.push(answered.unwrap_or_else(again));
    }
    answers
}
