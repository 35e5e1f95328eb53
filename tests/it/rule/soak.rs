//! Many requests for files that change while an origin cuts, stalls, refuses and lies: every byte that comes is of one version, and
//! what looks whole is. `FILEPROXY_TEST_REQUESTS=1000000` makes so many; the release build makes some thousands a second.

use std::{
    env,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use fastrand::Rng;
use fileproxy::{settings::Settings, traffic::level::Level};
use futures_util::future::join_all;

use super::{
    answer::{Answer, Answers, End},
    asking::Asked,
    in_parts, quick,
    streams::{Link, steady},
};
use crate::support::{
    DEADLINE,
    certificate::Certificate,
    origin::{Connection, Origin, Request, response},
    proxy::Proxy,
};

const FILES: usize = 400;
/// Bodies that are larger come slowly.
const LARGE: usize = 650_000;
/// One of so many requests at the origin changes its file.
const CHANGES: u32 = 40;
/// Clients of each proxy at the same time.
const CLIENTS: usize = 24;

/// What the contents of files are cut out of: those of two versions differ in nearly every byte.
static BYTES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut rng = Rng::with_seed(1);
    (0..8 << 20).map(|_| rng.u8(..)).collect()
});

/// The bytes of a version of a file. Most versions have the same length.
fn content(file: usize, version: u64) -> &'static [u8] {
    let mut rng = Rng::with_seed(file as u64);
    let mut len = match file % 10 {
        _ if file % 100 == 9 => rng.usize(700_000..1_200_000),
        0 => rng.usize(200_000..600_000),
        1..4 => rng.usize(20_000..100_000),
        _ => rng.usize(1..20_000),
    };
    if version % 4 == 3 {
        len += 100;
    }
    let mut rng = Rng::with_seed(file as u64 ^ version << 32);
    let at = rng.usize(..BYTES.len() - len);
    &BYTES[at..at + len]
}

/// The fields of a version that tell it from others.
fn validators(file: usize, version: u64) -> String {
    match file % 4 {
        0 => format!("etag: \"{file}-{version}\"\r\ncache-control: max-age=600\r\n"),
        1 => format!("etag: \"{file}-{version}\"\r\ncache-control: no-cache\r\n"),
        2 => format!("etag: W/\"{file}-{version}\"\r\ncache-control: max-age=1\r\n"),
        _ => "cache-control: max-age=60\r\n".to_owned(),
    }
}

/// Each file's version by now.
struct Files(Vec<AtomicU64>);

impl Files {
    fn serve(&self, connection: &mut Connection, request: &Request) -> Option<()> {
        let mut rng = Rng::new();
        let target = String::from_utf8(request.target()).unwrap();
        let file: usize = target.trim_start_matches('/').parse().unwrap();
        let version = &self.0[file];
        let is_large = file % 100 == 9;
        if rng.u32(..if is_large { 4 } else { CHANGES }) == 0 {
            version.fetch_add(1, SeqCst);
        }
        let version = version.load(SeqCst);
        let (body, told) = (content(file, version), validators(file, version));
        let told = format!("{told}x-version: {version}\r\naccept-ranges: bytes\r\n");
        if rng.u32(..30) == 0 {
            let refused = response("503 Service Unavailable", "", "no");
            return connection.send(refused).then_some(());
        }
        let names = |field: &str| {
            let tag = format!("\"{file}-{version}\"");
            request
                .field(field)
                .map(|given| given == tag && file % 4 < 2)
        };
        if names("if-none-match") == Some(true) {
            let same = format!("HTTP/1.1 304 Not Modified\r\n{told}\r\n");
            return connection.send(same).then_some(());
        }
        let range = request.range(body.len());
        let range = range.filter(|_| names("if-range") != Some(false) && rng.u32(..20) > 0);
        let (status, told, part) = match range {
            Some((first, last)) => {
                let told = format!(
                    "{told}content-range: bytes {first}-{last}/{}\r\n",
                    body.len()
                );
                ("206 Partial Content", told, &body[first..=last])
            }
            None => ("200 OK", told, body),
        };
        let head = format!("HTTP/1.1 {status}\r\n{told}");
        let in_chunks = range.is_none() && body.len() <= LARGE && rng.u32(..10) == 0;
        let head = match in_chunks {
            true => format!("{head}transfer-encoding: chunked\r\n\r\n"),
            false => format!("{head}content-length: {}\r\n\r\n", part.len()),
        };
        connection.send(head).then_some(())?;
        if request.method() == "HEAD" {
            return Some(());
        }
        let (before, behind) = part.split_at(rng.usize(..=part.len()));
        let send = |connection: &mut Connection, bytes: &[u8]| {
            if body.len() > LARGE {
                // Slow enough that others ask for parts of it meanwhile.
                return (bytes.chunks(64 * 1024).all(|piece| {
                    thread::sleep(Duration::from_millis(8));
                    connection.send(piece)
                }))
                .then_some(());
            }
            if !in_chunks || bytes.is_empty() {
                return connection.send(bytes).then_some(());
            }
            connection
                .send(format!("{:x}\r\n", bytes.len()))
                .then_some(())?;
            connection.send(bytes).then_some(())?;
            connection.send("\r\n").then_some(())
        };
        send(connection, before)?;
        match rng.u32(..100) {
            0..8 => return None,
            8..10 => {
                connection.reset();
                return None;
            }
            10..14 => thread::sleep(Duration::from_millis(rng.u64(50..300))),
            14..16 => {
                thread::sleep(Duration::from_millis(rng.u64(50..300)));
                return None;
            }
            // The file changes under way; what was begun goes on as it was.
            16..18 => _ = self.0[file].fetch_add(1, SeqCst),
            // A chunk that is shorter than it says.
            18..20 if in_chunks && !behind.is_empty() => {
                connection.send(format!("{:x}\r\n", behind.len() + 1));
                connection.send(behind);
                return None;
            }
            // A length that is wrong.
            20..22 if range.is_none() && !in_chunks && !behind.is_empty() => {
                connection.send(&behind[..behind.len() - 1]);
                return None;
            }
            _ => {}
        }
        send(connection, behind)?;
        (!in_chunks || connection.send("0\r\n\r\n")).then_some(())
    }
}

fn origin() -> Origin {
    let files = Arc::new(Files((0..FILES).map(|_| AtomicU64::new(0)).collect()));
    Origin::following(move |connection| {
        while let Some(request) = connection.request() {
            if files.serve(connection, &request).is_none() {
                return;
            }
        }
    })
}

/// A client's request: for the whole, for a part, with a condition, or for the head alone.
fn request(rng: &mut Rng, known: &mut [Option<String>]) -> (usize, Asked) {
    // Some files are asked for much more often than others, one of those that come slowly among them.
    let file = match rng.u32(..30) {
        0 => 9,
        _ => rng.usize(..FILES) * rng.usize(..FILES) / FILES,
    };
    let mut asked = Asked {
        method: "GET",
        path: format!("/{file}"),
        fields: Vec::new(),
        upload: None,
    };
    let len = content(file, 0).len();
    match rng.u32(..10) {
        0..2 => {
            let first = rng.usize(..len);
            let last = rng.usize(first..len);
            asked
                .fields
                .push(("range", format!("bytes={first}-{last}")));
            if let Some(tag) = known[file].take().filter(|_| rng.bool()) {
                asked.fields.push(("if-range", tag));
            }
        }
        2 => asked.method = "HEAD",
        3 => asked
            .fields
            .extend(known[file].take().map(|tag| ("if-none-match", tag))),
        _ => {}
    }
    (file, asked)
}

/// What is wrong with an answer; nothing if it is right, or visibly none.
fn wrong(file: usize, asked: &Asked, answer: &Answer) -> Option<String> {
    let has = |name: &str| asked.fields.iter().any(|(field, _)| *field == name);
    if answer.end == End::Hung {
        return Some("it hung".to_owned());
    }
    if !matches!(answer.status, 200 | 206) {
        let is_fine = match answer.status {
            304 => has("if-none-match"),
            416 => has("range"),
            0 => answer.end == End::Broken,
            status => status >= 500,
        };
        return (!is_fine).then(|| "an odd status".to_owned());
    }
    let Some(version) = answer.field("x-version").and_then(|told| told.parse().ok()) else {
        return Some("no version".to_owned());
    };
    let all = content(file, version);
    let tag = format!("\"{file}-{version}\"");
    if answer
        .field("etag")
        .is_some_and(|told| told.trim_start_matches("W/") != tag)
    {
        return Some("the tag of another version".to_owned());
    }
    let part = match answer
        .field("content-range")
        .filter(|_| answer.status == 206)
    {
        None => all,
        Some(range) => {
            let told = range.trim_start_matches("bytes ").split(['-', '/']);
            let told: Vec<usize> = told.filter_map(|number| number.parse().ok()).collect();
            match told[..] {
                [first, last, len] if len == all.len() && first <= last && last < len => {
                    &all[first..=last]
                }
                _ => return Some("a range that the version has not".to_owned()),
            }
        }
    };
    if asked.is_head() {
        return (!answer.body.is_empty()).then(|| "a body to HEAD".to_owned());
    }
    match answer.end {
        End::Whole if answer.body != part => Some(match part.starts_with(&answer.body) {
            true => "short, and taken for whole".to_owned(),
            false => "wrong bytes".to_owned(),
        }),
        End::Broken if !part.starts_with(&answer.body) => {
            Some("wrong bytes before it broke".to_owned())
        }
        _ => None,
    }
}

/// What the clients saw.
#[derive(Default)]
struct Seen {
    left: AtomicUsize,
    whole: AtomicUsize,
    broken: AtomicUsize,
    refused: AtomicUsize,
    /// Those that the store could not wait for.
    alone: AtomicUsize,
    wrong: Mutex<Vec<String>>,
}

impl Seen {
    /// Whether another request is to be made.
    fn goes_on(&self) -> bool {
        self.left
            .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
            .is_ok()
    }

    fn add(&self, file: usize, asked: &Asked, answer: &Answer, known: &mut [Option<String>]) {
        if let Some(wrong) = wrong(file, asked, answer) {
            let mut all = self.wrong.lock().unwrap();
            all.push(format!("{wrong}: {asked:?}: {answer:?}"));
            // Enough is known.
            if all.len() >= 20 {
                self.left.store(0, SeqCst);
            }
        }
        known[file] = answer.field("etag").map(str::to_owned);
        let count = match (answer.status, answer.end) {
            (_, End::Broken) => &self.broken,
            (200 | 206 | 304, _) => &self.whole,
            _ => &self.refused,
        };
        count.fetch_add(1, SeqCst);
    }
}

/// A client over HTTP/1.1, which keeps its connection while it can.
fn plain(address: SocketAddr, seen: &Seen, seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let mut known = vec![None; FILES];
    let mut open: Option<(TcpStream, Answers<TcpStream>)> = None;
    while seen.goes_on() {
        let (file, asked) = request(&mut rng, &mut known);
        let (socket, answers) = open.get_or_insert_with(|| {
            let socket = TcpStream::connect(address).unwrap();
            socket.set_nodelay(true).unwrap();
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            let answers = Answers::of(socket.try_clone().unwrap());
            (socket, answers)
        });
        _ = std::io::Write::write_all(socket, asked.head("1.1").as_bytes());
        let answer = answers.next(asked.is_head(), usize::MAX);
        seen.add(file, &asked, &answer, &mut known);
        if answer.end != End::Whole || answer.field("connection") == Some("close") {
            open = None;
        }
    }
}

/// Clients over HTTP/2, on two connections.
fn streams(address: SocketAddr, trusted: &Certificate, seen: &Seen, seed: u64) {
    actix_rt::System::new().block_on(async {
        let clients = (0..2_u64).map(|connection| async move {
            let link = tokio::sync::Mutex::new(Link::to(address, trusted));
            let link = &link;
            let streams = (0..CLIENTS as u64 / 2).map(|number| async move {
                let mut rng = Rng::with_seed(seed ^ connection << 16 ^ number << 8);
                let mut known = vec![None; FILES];
                while seen.goes_on() {
                    let (file, asked) = request(&mut rng, &mut known);
                    let send = link.lock().await.open().await;
                    let answer = steady(send, asked.clone()).await;
                    seen.add(file, &asked, &answer, &mut known);
                }
            });
            join_all(streams).await;
        });
        join_all(clients).await;
    });
}

#[test]
fn of_many_requests_to_an_origin_that_breaks_none_gets_a_wrong_byte() {
    let requests = env::var("FILEPROXY_TEST_REQUESTS");
    let requests: usize = requests.map_or(4_000, |number| number.parse().unwrap());
    let certificate = Certificate::new();
    let folder = tempfile::tempdir().unwrap();
    let proxy = |origin: &Origin, level, change: &dyn Fn(&mut Settings)| {
        Proxy::before(origin, |settings| {
            settings.optimization.level = level;
            settings.levels.high.store = true;
            quick(settings);
            change(settings);
        })
    };
    let seen = Seen::default();
    seen.left.store(requests, SeqCst);
    thread::scope(|scope| {
        for (number, level) in [Level::High, Level::High, Level::Low]
            .into_iter()
            .enumerate()
        {
            let (seen, certificate, folder) = (&seen, &certificate, folder.path());
            scope.spawn(move || {
                let origin = origin();
                // In parts, with little memory and a disk; with all that the level has; and the plain one.
                let change = |settings: &mut Settings| {
                    if number == 0 {
                        in_parts(settings);
                        settings.store.memory = bytesize::ByteSize::mib(8);
                        settings.store.directory = folder.join("store");
                    }
                };
                let seed = fastrand::u64(..);
                let one = proxy(&origin, level, &change);
                let two = proxy(&origin, level, &|settings| {
                    certificate.show(settings);
                    if number == 0 {
                        in_parts(settings);
                    }
                });
                thread::scope(|scope| {
                    for client in 0..CLIENTS as u64 {
                        let address = one.address();
                        scope.spawn(move || plain(address, seen, seed ^ client));
                    }
                    scope.spawn(|| streams(two.address(), certificate, seen, seed));
                });
                let alone = one.stats()["store"]["left_behind"].as_u64().unwrap();
                seen.alone.fetch_add(alone as usize, SeqCst);
            });
        }
    });
    let count = |count: &AtomicUsize| count.load(SeqCst);
    let (whole, broken, refused) = (
        count(&seen.whole),
        count(&seen.broken),
        count(&seen.refused),
    );
    let wrong = seen.wrong.into_inner().unwrap();
    let alone = count(&seen.alone);
    println!(
        "{requests} requests: {whole} whole, {broken} broken, {refused} refused; {alone} went on alone"
    );
    assert!(wrong.is_empty(), "{}: {wrong:#?}", wrong.len());
    assert_eq!(whole + broken + refused, requests);
    assert!(whole > requests / 2);
}
