//! An origin with all files of the corpus. The first part of a path names row and client, and has a state of its own:
//! whatever depends on counts or time begins anew for each pair.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use super::behaviour::{
    Access, Behaviour, Framing, How, Instead, NOW, Pace, Ranges, Row, Spelling, Upload, Validator,
};
use crate::support::origin::{Connection, Origin, Request, response};

/// What comes with a status of the origin's own.
pub const SAID: &str = "said so by the origin";

/// What comes behind a range where too much of it comes.
pub const EXTRA: &[u8] = b"extra";

/// What happened to one file so far.
#[derive(Default)]
struct State {
    /// When it was first asked for.
    began: OnceLock<Instant>,
    requests: AtomicUsize,
    at_once: AtomicUsize,
    given: AtomicUsize,
    broken: AtomicUsize,
}

/// One of the places where access is limited.
struct Place<'a>(Option<&'a State>);

impl Place<'_> {
    fn leave(&mut self) {
        if let Some(state) = self.0.take() {
            state.at_once.fetch_sub(1, SeqCst);
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

/// For whom its answers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// For one client alone: nobody keeps them.
    One,
    /// For all: half of the rows say so, and stay fresh; the others say nothing of it.
    All,
}

/// Starts it with these rows: `/{row}-{client}/...`, the row by its place in the list.
pub fn start(rows: Arc<Vec<Row>>, whose: For) -> Origin {
    let states = Mutex::new(HashMap::<String, Arc<State>>::new());
    Origin::following(move |connection| {
        while let Some(request) = connection.head() {
            let target = String::from_utf8(request.target()).unwrap();
            let key = target.split('/').nth(1).unwrap().to_owned();
            let row = key.split('-').next().unwrap().parse::<usize>().unwrap();
            let state = Arc::clone(states.lock().unwrap().entry(key).or_default());
            let answering = Answering {
                row: &rows[row],
                behaviour: &rows[row].behaviour,
                state: &state,
                whose,
            };
            if answering.answer(connection, request).is_none() {
                return;
            }
        }
    })
}

struct Answering<'a> {
    row: &'a Row,
    behaviour: &'a Behaviour,
    state: &'a State,
    whose: For,
}

/// A part of the file.
struct Part {
    status: &'static str,
    bytes: Vec<u8>,
    lines: String,
}

impl Answering<'_> {
    /// Answers; none where the connection ends.
    fn answer(&self, connection: &mut Connection, mut request: Request) -> Option<()> {
        let method = request.method();
        if !matches!(method.as_str(), "GET" | "HEAD") {
            return self.upload(connection, request);
        }
        connection.body(&mut request)?;
        let n = self.state.requests.fetch_add(1, SeqCst);
        connection.send(self.behaviour.interim);
        let is_head = method == "HEAD";
        let say = |connection: &mut Connection, status: String, lines: &str| {
            let mut bytes = response(&status, lines, SAID);
            if is_head {
                bytes.truncate(bytes.len() - SAID.len());
            }
            connection.send(bytes).then_some(())
        };
        let mut place = match self.admit() {
            Ok(place) => place,
            Err(status) => {
                return say(
                    connection,
                    format!("{status} Refused"),
                    "retry-after: 0\r\n",
                );
            }
        };
        let version = if self.behaviour.changes { n } else { 0 };
        let coded = self.behaviour.gzip
            && request.field("range").is_none()
            && (request.field("accept-encoding")).is_some_and(|coding| coding.contains("gzip"));
        let lines = self.lines(version, coded);
        match self.behaviour.instead {
            Instead::File => {}
            Instead::Nothing => return None,
            Instead::NoContent => {
                let head = format!("HTTP/1.1 204 No Content\r\n{lines}content-length: 0\r\n\r\n");
                return connection.send(head).then_some(());
            }
            Instead::NotModified => {
                let len = self.behaviour.len;
                let head =
                    format!("HTTP/1.1 304 Not Modified\r\n{lines}content-length: {len}\r\n\r\n");
                return connection.send(head).then_some(());
            }
            Instead::Status(status) => return say(connection, format!("{status} Told"), &lines),
        }
        let known = request.field("if-none-match");
        if known.is_some() && known == self.row.tag(version) {
            let head = format!("HTTP/1.1 304 Not Modified\r\n{lines}\r\n");
            return connection.send(head).then_some(());
        }
        let part = self.part(&request, version, coded);
        let old = request.line().ends_with(b"HTTP/1.0");
        let framing = match self.behaviour.framing {
            Framing::Chunked | Framing::Trailers if old => Framing::Close,
            framing => framing,
        };
        if !connection.send(self.head(&part, &lines, framing)) {
            return None;
        }
        if is_head {
            return (framing != Framing::Close).then_some(());
        }
        self.body(connection, &part, framing, &mut place)
    }

    fn admit(&self) -> Result<Place<'_>, u16> {
        let state = self.state;
        match self.behaviour.access {
            Access::Open => {}
            Access::Places(most, status) => {
                if state.at_once.fetch_add(1, SeqCst) >= most {
                    state.at_once.fetch_sub(1, SeqCst);
                    return Err(status);
                }
                return Ok(Place(Some(state)));
            }
            Access::Times(most, status) => {
                if state.given.fetch_add(1, SeqCst) >= most {
                    return Err(status);
                }
            }
            Access::For(long, status) => {
                if state.began.get_or_init(Instant::now).elapsed() > long {
                    return Err(status);
                }
            }
        }
        Ok(Place(None))
    }

    /// The fields that every answer has, but those of its framing.
    fn lines(&self, version: usize, coded: bool) -> String {
        let behaviour = self.behaviour;
        let mut lines = "content-type: video/mp2t\r\nx-File: Of This Row\r\n".to_owned();
        lines += match self.whose {
            For::One => "set-cookie: a=1\r\nset-cookie: b=2\r\ncache-control: no-store\r\n",
            For::All if self.row.name.len().is_multiple_of(2) => {
                "cache-control: max-age=999999999\r\n"
            }
            For::All => "",
        };
        if let Some(tag) = self.row.tag(version) {
            // The other representation is another entity.
            let tag = if coded {
                tag.replace("\"v", "\"g")
            } else {
                tag
            };
            lines += &format!("etag: {tag}\r\n");
        }
        if let Some(modified) = self.row.modified(version) {
            lines += &format!("last-modified: {modified}\r\n");
        }
        if behaviour.validator != Validator::None {
            lines += &format!("date: {NOW}\r\n");
        }
        if !matches!(behaviour.ranges, Ranges::Untold | Ranges::Ignored) {
            lines += "accept-ranges: bytes\r\n";
        }
        if behaviour.gzip {
            lines += "vary: accept-encoding\r\n";
        }
        if coded {
            lines += "content-encoding: gzip\r\n";
        }
        lines
    }

    fn part(&self, request: &Request, version: usize, coded: bool) -> Part {
        let file = self.row.file(version, coded);
        let whole = |status| Part {
            status,
            bytes: file.to_vec(),
            lines: String::new(),
        };
        let same = (request.field("if-range"))
            .is_none_or(|sent| Some(sent) == self.row.validator(version) && self.is_strong());
        if !same || request.field("range").is_none() {
            return whole("200 OK");
        }
        let len = file.len();
        let Some((first, last)) = request.range(len) else {
            return Part {
                status: "416 Range Not Satisfiable",
                bytes: Vec::new(),
                lines: format!("content-range: bytes */{len}\r\n"),
            };
        };
        let told = |first, last| format!("content-range: bytes {first}-{last}/{len}\r\n");
        let partial = |bytes: &[u8], lines| Part {
            status: "206 Partial Content",
            bytes: bytes.to_vec(),
            lines,
        };
        let right = &file[first..=last];
        match self.behaviour.ranges {
            Ranges::Honoured | Ranges::Untold => partial(right, told(first, last)),
            Ranges::Ignored => whole("200 OK"),
            Ranges::Refused(status) => Part {
                status: match status {
                    403 => "403 Forbidden",
                    416 => "416 Range Not Satisfiable",
                    501 => "501 Not Implemented",
                    _ => "400 Bad Request",
                },
                bytes: SAID.into(),
                lines: String::new(),
            },
            Ranges::Shifted => partial(right, told(first + 1, last + 1)),
            Ranges::Short => {
                let last = first + (last - first) / 2;
                partial(&file[first..=last], told(first, last))
            }
            Ranges::TooMany => partial(&[right, EXTRA].concat(), told(first, last)),
            Ranges::Multipart => {
                let lines = "content-type: multipart/byteranges; boundary=x\r\n".to_owned();
                let begin = format!("--x\r\n{}\r\n", told(first, last));
                partial(&[begin.as_bytes(), right, b"\r\n--x--\r\n"].concat(), lines)
            }
            Ranges::OtherVersion => {
                let other = &self.row.file(version + 1, coded)[first..=last];
                let validator = format!("etag: \"v{}\"\r\n", version + 1);
                partial(other, told(first, last) + &validator)
            }
        }
    }

    fn is_strong(&self) -> bool {
        matches!(
            self.behaviour.validator,
            Validator::Strong | Validator::Date | Validator::Both
        )
    }

    fn head(&self, part: &Part, lines: &str, framing: Framing) -> String {
        let spelling = self.behaviour.spelling;
        let (status, len) = (part.status, part.bytes.len());
        let line = match spelling {
            Spelling::Icy => format!("ICY {status}"),
            Spelling::Http12 => format!("HTTP/1.2 {status}"),
            Spelling::NoReason => format!("HTTP/1.1 {}", &status[..3]),
            _ => format!("HTTP/1.1 {status}"),
        };
        // A part of another version, or several parts, bring these fields themselves.
        let own = |line: &&str| {
            let name = line.split(':').next().unwrap_or_default();
            !part.lines.lines().any(|own| own.starts_with(name))
        };
        let lines: String = (lines.split_inclusive("\r\n")).filter(own).collect();
        let framing = match (framing, spelling) {
            (Framing::Length, Spelling::LengthTwice) => {
                format!("content-length: {len}\r\nContent-Length: {len}\r\n")
            }
            (Framing::Length, Spelling::SpaceBeforeColon) => format!("content-length : {len}\r\n"),
            (Framing::Length, Spelling::Identity) => {
                format!("transfer-encoding: identity\r\ncontent-length: {len}\r\n")
            }
            (Framing::Length, Spelling::ControlInField) => {
                format!("x-odd: a\u{1}b\r\ncontent-length: {len}\r\n")
            }
            (Framing::Length, _) => format!("content-length: {len}\r\n"),
            (Framing::Chunked, _) => "transfer-encoding: chunked\r\n".to_owned(),
            (Framing::Trailers, _) => "trailer: x-sum\r\ntransfer-encoding: chunked\r\n".to_owned(),
            (Framing::Close, _) => "connection: close\r\n".to_owned(),
        };
        format!("{line}\r\n{lines}{}{framing}\r\n", part.lines)
    }

    /// Sends the body at its pace, up to where it breaks.
    fn body(
        &self,
        connection: &mut Connection,
        part: &Part,
        framing: Framing,
        place: &mut Place<'_>,
    ) -> Option<()> {
        let broken = self
            .behaviour
            .breaks
            .filter(|rule| self.state.broken.fetch_add(1, SeqCst) < rule.times);
        let bytes = &part.bytes[..];
        let here = broken.map_or(bytes.len(), |rule| bytes.len() * rule.at / 1000);
        let chunked = matches!(framing, Framing::Chunked | Framing::Trailers);
        let zeros = if self.behaviour.spelling == Spelling::ZerosBeforeSize {
            "0000"
        } else {
            ""
        };
        let mut sent = 0;
        for (piece, pause) in pieces(self.behaviour.pace, &bytes[..here]) {
            thread::sleep(pause);
            sent += piece.len();
            let mut wire = Vec::with_capacity(piece.len() + 16);
            if chunked {
                wire.extend(format!("{zeros}{:x}\r\n", piece.len()).bytes());
            }
            wire.extend_from_slice(piece);
            if chunked {
                wire.extend(b"\r\n");
            }
            // Whoever has the last byte may ask again at once.
            if sent == bytes.len() {
                place.leave();
            }
            if !connection.send(wire) {
                return None;
            }
        }
        place.leave();
        match broken.map(|rule| rule.how) {
            Some(How::Reset) => {
                connection.reset_when_read();
                return None;
            }
            Some(How::ChunkTooLong) => {
                let next = &bytes[here..bytes.len().min(here + 1000)];
                connection.send(format!("{:x}\r\n", next.len() + 1));
                connection.send(next);
                connection.send("\r\n");
                return None;
            }
            Some(How::Close) if chunked || here < bytes.len() => return None,
            _ => {}
        }
        let last = match framing {
            Framing::Length => "",
            Framing::Chunked => "0\r\n\r\n",
            Framing::Trailers => "0\r\nx-sum: 1\r\n\r\n",
            Framing::Close => return None,
        };
        connection.send(last).then_some(())
    }

    fn upload(&self, connection: &mut Connection, mut request: Request) -> Option<()> {
        match self.behaviour.upload {
            Upload::Early => {
                connection.send(
                    "HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 9\r\n\r\ntoo large",
                );
                connection.stall();
                None
            }
            Upload::Read => {
                connection.body(&mut request)?;
                let told = format!("{} {}", request.body.len(), sum(&request.body));
                connection.send(response("200 OK", "", told)).then_some(())
            }
            Upload::Echo => {
                connection.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
                connection.each_piece(&mut request, |connection, piece| {
                    connection.send(format!("{:x}\r\n", piece.len()));
                    connection.send(piece);
                    connection.send("\r\n")
                })?;
                connection.send("0\r\n\r\n").then_some(())
            }
        }
    }
}

/// What tells one upload from another.
pub fn sum(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(0, |sum: u64, piece| {
        let mut word = [0; 8];
        word[..piece.len()].copy_from_slice(piece);
        sum.rotate_left(5) ^ u64::from_le_bytes(word)
    })
}

/// The pieces of a body, each with the pause before it.
fn pieces(pace: Pace, bytes: &[u8]) -> Vec<(&[u8], Duration)> {
    let none = Duration::ZERO;
    let all = |bytes: &'_ [u8], size: usize, pause: Duration| {
        let size = size.max(1);
        (0..bytes.len().div_ceil(size))
            .map(|n| (n * size..bytes.len().min((n + 1) * size), pause))
            .collect::<Vec<_>>()
    };
    let half = bytes.len() / 2;
    let cut = match pace {
        Pace::AtOnce => all(bytes, 64 * 1024, none),
        Pace::Trickle => all(bytes, 8 * 1024, Duration::from_millis(5)),
        Pace::Pauses => all(bytes, bytes.len().div_ceil(4), Duration::from_millis(250)),
        Pace::SlowAfterFast => {
            let mut cut = all(&bytes[..half], 64 * 1024, none);
            let slow = all(&bytes[half..], 1024, Duration::from_millis(50));
            cut.extend(
                (slow.into_iter())
                    .map(|(piece, pause)| (piece.start + half..piece.end + half, pause)),
            );
            cut
        }
    };
    cut.into_iter()
        .map(|(piece, pause)| (&bytes[piece], pause))
        .collect()
}
