//! Clients against clients: what a crowd does to the proxy, while one client wants something plain.

use std::{
    any::Any,
    net::TcpStream,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, JoinHandle},
};

use fileproxy::{settings::Settings, traffic::level::Level};

use crate::support::{
    certificate::Certificate,
    client::{Client, Ending},
    origin::{Connection, Origin, Request, response},
    proxy::Proxy,
    secure::{Frame, Frames, Secure},
    until,
};

/// Exchanges with the origin at once, and more than that are in each crowd.
const SLOTS: usize = 8;
const CROWD: usize = SLOTS + 4;
/// More than all buffers on the way hold for a client that reads nothing.
const LARGE: usize = 24 << 20;
const FILE: usize = 300_000;
/// TLS handshakes at once.
const HANDSHAKES: u64 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crowd {
    /// They ask for something large and read nothing of it.
    SlowReaders,
    /// The same, streams of one connection with windows of one byte.
    TinyWindows,
    /// They begin uploads and go on with none.
    Uploads,
    /// The same, streams of one connection.
    UploadStreams,
    /// They ask for what has no answer so far.
    LongPolls,
    /// They ask again and again for what fails.
    FailingPath,
    /// They open connections and say nothing, or half of a ClientHello.
    Silent,
    /// They try tokens.
    WrongTokens,
    /// They leave as soon as they were let in.
    Leavers,
}

const ALL: [Crowd; 9] = [
    Crowd::SlowReaders,
    Crowd::TinyWindows,
    Crowd::Uploads,
    Crowd::UploadStreams,
    Crowd::LongPolls,
    Crowd::FailingPath,
    Crowd::Silent,
    Crowd::WrongTokens,
    Crowd::Leavers,
];

/// One origin, and a proxy before it without and one with TLS.
struct Scene {
    origin: Origin,
    certificate: Certificate,
    plain: Proxy,
    secure: Proxy,
}

/// Clients that go on and on until this is dropped.
struct Restless {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Restless {
    /// So many that do this, each until it has been done often enough.
    fn new(count: usize, enough: usize, act: impl Fn() + Clone + Send + 'static) -> Self {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let threads = (0..count).map(|_| {
            let (stop, done, act) = (Arc::clone(&stop), Arc::clone(&done), act.clone());
            thread::spawn(move || {
                while !stop.load(SeqCst) {
                    act();
                    done.fetch_add(1, SeqCst);
                }
            })
        });
        let threads = threads.collect();
        until("they are at it", || {
            (done.load(SeqCst) >= enough).then_some(())
        });
        Restless { stop, threads }
    }
}

impl Drop for Restless {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        for thread in self.threads.drain(..) {
            _ = thread.join();
        }
    }
}

fn serve(connection: &mut Connection, request: &Request) -> bool {
    let target = String::from_utf8(request.target()).unwrap();
    let whole = |len| format!("HTTP/1.1 200 OK\r\netag: \"v\"\r\ncontent-length: {len}\r\n\r\n");
    if target.starts_with("/large") {
        connection.send(whole(LARGE));
        static BODY: LazyLock<Vec<u8>> = LazyLock::new(|| vec![b'l'; LARGE]);
        connection.send(&*BODY)
    } else if target.starts_with("/file") {
        connection.send(whole(FILE));
        connection.send(vec![b'f'; FILE])
    } else if target.starts_with("/poll") {
        connection.wait();
        connection.send(response("200 OK", "", "at last"))
    } else if target.starts_with("/failing") {
        connection.send(response("500 Told", "", "no"))
    } else {
        connection.send(response("200 OK", "", target))
    }
}

impl Scene {
    fn at(level: Level) -> Self {
        let origin = Origin::following(|connection| {
            while let Some(request) = connection.request() {
                if !serve(connection, &request) {
                    return;
                }
            }
        });
        let certificate = Certificate::new();
        let change = |s: &mut Settings| {
            s.optimization.level = level;
            for level in [&mut s.levels.low, &mut s.levels.high] {
                level.connections_per_host = SLOTS;
                level.connections = 4 * SLOTS;
            }
            s.tls.max_handshakes = HANDSHAKES;
        };
        let plain = Proxy::before(&origin, change);
        let secure = Proxy::before(&origin, |s| {
            change(s);
            certificate.show(s);
        });
        Scene {
            origin,
            certificate,
            plain,
            secure,
        }
    }

    /// Waits until a crowd has taken what places there are at the origin, and the rest of it is at the proxy.
    fn all_places_taken(&self, proxy: &Proxy) {
        Self::under_way(proxy, CROWD);
        until("all places are taken", || {
            (self.origin.hits() >= SLOTS).then_some(())
        });
    }

    /// Waits until a proxy has so many requests under way.
    fn under_way(proxy: &Proxy, count: usize) {
        until("all are under way", || {
            let requests = proxy.published().clients.requests.get();
            (requests >= count as u64).then_some(())
        });
    }

    /// Lets a crowd in; it stays until this is dropped.
    fn let_in(&self, crowd: Crowd) -> Box<dyn Any> {
        let plain = self.plain.address();
        let frames = || Frames::to(self.secure.address(), &self.certificate, &[(4, 1)]);
        match crowd {
            Crowd::SlowReaders => {
                let readers = (0..CROWD).map(|n| {
                    let mut client = Client::with_little_room(plain);
                    client.send(format!("GET /large?{n} HTTP/1.1\r\nhost: p\r\n\r\n"));
                    client
                });
                let readers: Vec<_> = readers.collect();
                self.all_places_taken(&self.plain);
                Box::new(readers)
            }
            Crowd::TinyWindows => {
                let mut client = frames();
                for n in 0..CROWD as u32 {
                    client.get(2 * n + 1, &format!("/large?{n}"));
                }
                self.all_places_taken(&self.secure);
                Box::new(client)
            }
            Crowd::Uploads => {
                let uploads = (0..CROWD).map(|_| {
                    let mut client = Client::to(plain);
                    client.send(
                        "PUT /upload HTTP/1.1\r\nhost: p\r\ncontent-length: 1000000\r\n\r\n12345",
                    );
                    client
                });
                let uploads: Vec<_> = uploads.collect();
                Self::under_way(&self.plain, CROWD);
                Box::new(uploads)
            }
            Crowd::UploadStreams => {
                let mut client = frames();
                for n in 0..CROWD as u32 {
                    let mut fields = Frames::fields("/upload");
                    fields[0] = 0x83; // POST
                    client.send(Frame::HEADERS, 0x4, 2 * n + 1, &fields);
                    client.send(Frame::DATA, 0, 2 * n + 1, b"12345");
                }
                Self::under_way(&self.secure, CROWD);
                Box::new(client)
            }
            Crowd::LongPolls => {
                let polls = (0..CROWD).map(|n| {
                    let mut client = Client::to(plain);
                    client.send(format!("GET /poll/{n} HTTP/1.1\r\nhost: p\r\n\r\n"));
                    client
                });
                let polls: Vec<_> = polls.collect();
                self.all_places_taken(&self.plain);
                Box::new(polls)
            }
            Crowd::FailingPath => Box::new(Restless::new(4, 300, move || {
                assert_eq!(Client::to(plain).get("/failing").text(), "no");
            })),
            Crowd::Silent => {
                let mut sockets = Vec::new();
                for n in 0..2 * HANDSHAKES {
                    sockets.push(TcpStream::connect(plain).unwrap());
                    let mut socket = TcpStream::connect(self.secure.address()).unwrap();
                    if n % 2 == 0 {
                        let hello = Secure::hello(&self.certificate);
                        let half = &hello[..hello.len() / 2];
                        _ = std::io::Write::write_all(&mut socket, half);
                    }
                    sockets.push(socket);
                }
                Box::new(sockets)
            }
            Crowd::WrongTokens => {
                let operators = self.plain.operators();
                Box::new(Restless::new(2, 20, move || {
                    let mut client = Client::to(operators);
                    client.send(
                        "POST /admin/optimization HTTP/1.1\r\nhost: p\r\nauthorization: Bearer no\r\n\
                         content-length: 2\r\n\r\n{}",
                    );
                    assert_ne!(client.response().status, 200);
                }))
            }
            Crowd::Leavers => Box::new(Restless::new(2, 50, move || {
                let mut client = Client::with_little_room(plain);
                client.send("GET /large HTTP/1.1\r\nhost: p\r\n\r\n");
                client.head();
                client.reset();
            })),
        }
    }

    /// One client, who wants something plain, over each protocol.
    fn serves_somebody_else(&self) {
        for n in 0..2 * SLOTS {
            let target = format!("/small?{n}");
            let answer = self.plain.client().get(&target);
            assert_eq!((answer.status, answer.text()), (200, target));
        }
        let mut kept = self.plain.client();
        let file = kept.patient().get("/file");
        assert_eq!((file.status, file.ending), (200, Ending::Whole));
        assert_eq!(file.body.len(), FILE);

        let address = self.secure.address();
        let mut one = Secure::to(address, &self.certificate, &[]).unwrap();
        assert_eq!(one.get("/small?1"), (200, b"/small?1".to_vec()));
        let mut two = Frames::to(address, &self.certificate, &[]);
        for stream in [1, 3, 5] {
            two.get(stream, "/small?2");
            assert_eq!(two.until(Frame::DATA, stream).payload, b"/small?2");
        }
    }
}

fn crowds_leave_room(level: Level) {
    for crowd in ALL {
        println!("{crowd:?}");
        let scene = Scene::at(level);
        let _held = scene.let_in(crowd);
        scene.serves_somebody_else();
    }
}

#[test]
fn at_level_low_no_crowd_takes_what_somebody_else_asks_for() {
    crowds_leave_room(Level::Low);
}

#[test]
fn at_level_high_no_crowd_takes_what_somebody_else_asks_for() {
    crowds_leave_room(Level::High);
}

#[test]
fn at_level_high_all_crowds_at_once_take_no_more_than_at_level_low() {
    for level in [Level::Low, Level::High] {
        println!("{level:?}");
        let scene = Scene::at(level);
        let _held = ALL.map(|crowd| {
            println!("{crowd:?}");
            scene.let_in(crowd)
        });
        scene.serves_somebody_else();
    }
}
