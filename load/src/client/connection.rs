//! One client with one kept-alive connection to the proxy: a small HTTP/1.1 client that trusts nothing it gets.

use std::{
    cell::Cell,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    rc::Rc,
    time::{Duration, Instant},
};

use fileproxy_testbed::{framing::Framing, head};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::{
    body::{Body, Progress},
    verdict::{Expected, Outcome, Verdict},
};

/// Bytes read at once.
const BUFFER: usize = 32 * 1024;

/// Bytes of body delivered to all clients of this process so far.
pub type Delivered = Rc<Cell<u64>>;

/// A client.
#[derive(Debug)]
pub struct Client {
    proxy: SocketAddr,
    address: Option<Ipv4Addr>,
    /// Longest wait for the next byte, and for a connection.
    patience: Duration,
    delivered: Delivered,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    have: usize,
}

/// The parts of a response head that the client needs.
struct Head {
    status: u16,
    framing: Framing,
    keep_alive: bool,
    range_start: Option<u64>,
    bytes: usize,
}

enum Stop {
    /// The connection was dead before the first byte of an answer; on a reused one that is nobody's fault.
    Dead,
    Verdict(Verdict),
}

impl Client {
    /// A client that connects to `proxy`, from `address` where one is given.
    #[must_use]
    pub fn new(
        proxy: SocketAddr,
        address: Option<Ipv4Addr>,
        patience: Duration,
        delivered: Delivered,
    ) -> Self {
        Self {
            proxy,
            address,
            patience,
            delivered,
            stream: None,
            buffer: vec![0; BUFFER],
            have: 0,
        }
    }

    /// Asks for a path and reads the answer to its end.
    pub async fn get(&mut self, path: &str, expected: &Expected) -> Outcome {
        let start = Instant::now();
        let mut outcome = Outcome {
            verdict: Verdict::Completed,
            status: 0,
            bytes: 0,
            first_byte: None,
            total: Duration::ZERO,
            text: Vec::new(),
        };
        let reused = self.stream.is_some();
        let mut end = self.exchange(path, expected, start, &mut outcome).await;
        if reused && matches!(end, Err(Stop::Dead)) {
            self.stream = None;
            end = self.exchange(path, expected, start, &mut outcome).await;
        }
        outcome.verdict = match end {
            Ok(()) => Verdict::Completed,
            Err(Stop::Dead) => Verdict::Failed("closed without an answer"),
            Err(Stop::Verdict(verdict)) => verdict,
        };
        if outcome.verdict != Verdict::Completed {
            // An error status leaves the connection usable, but a fresh one is never wrong.
            self.stream = None;
        }
        outcome.total = start.elapsed();
        outcome
    }

    async fn connect(&self) -> Result<TcpStream, Stop> {
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            if let Some(address) = self.address {
                socket.bind(SocketAddr::V4(SocketAddrV4::new(address, 0)))?;
            }
            let stream = socket.connect(self.proxy).await?;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(stream)
        };
        match timeout(self.patience, connect).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(_)) => Err(Stop::Verdict(Verdict::Failed("cannot connect"))),
            Err(_) => Err(Stop::Verdict(Verdict::Failed("no connection in time"))),
        }
    }

    async fn exchange(
        &mut self,
        path: &str,
        expected: &Expected,
        start: Instant,
        outcome: &mut Outcome,
    ) -> Result<(), Stop> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        self.have = 0;
        let range = match expected {
            Expected::File { from, .. } if *from > 0 => format!("Range: bytes={from}-\r\n"),
            _ => String::new(),
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: lab\r\nAccept: */*\r\nUser-Agent: load\r\n{range}\r\n"
        );
        if stream.write_all(request.as_bytes()).await.is_err() {
            return Err(Stop::Dead);
        }
        let head = self.head(&mut stream, start, outcome).await?;
        outcome.status = head.status;
        let (wanted_status, wanted_start) = match expected {
            Expected::File { from, .. } if *from > 0 => (206, Some(*from)),
            _ => (200, None),
        };
        if head.status != wanted_status {
            return Err(Stop::Verdict(match head.status {
                503 => Verdict::Failed("status 503"),
                504 => Verdict::Failed("status 504"),
                502 => Verdict::Failed("status 502"),
                500.. => Verdict::Failed("another 5xx status"),
                400..500 => Verdict::Failed("a 4xx status"),
                _ => Verdict::Wrong("a status that does not answer the request"),
            }));
        }
        if head.range_start != wanted_start {
            return Err(Stop::Verdict(Verdict::Wrong(
                "another range than asked for",
            )));
        }
        self.buffer.copy_within(head.bytes..self.have, 0);
        self.have -= head.bytes;
        let mut body = Body::new(head.framing, expected.clone());
        let end = self.body(&mut stream, &mut body).await;
        outcome.bytes = body.bytes;
        outcome.text = std::mem::take(&mut body.text);
        end.map_err(Stop::Verdict)?;
        if head.keep_alive && !body.ends_with_close() && self.have == 0 {
            self.stream = Some(stream);
        }
        Ok(())
    }

    /// Reads until a final head is complete.
    async fn head(
        &mut self,
        stream: &mut TcpStream,
        start: Instant,
        outcome: &mut Outcome,
    ) -> Result<Head, Stop> {
        loop {
            if self.have == self.buffer.len() {
                return Err(Stop::Verdict(Verdict::Failed("a head without an end")));
            }
            let read = timeout(self.patience, stream.read(&mut self.buffer[self.have..])).await;
            match read {
                Err(_) => return Err(Stop::Verdict(Verdict::Failed("no answer in time"))),
                Ok(Ok(0) | Err(_)) if self.have == 0 => return Err(Stop::Dead),
                Ok(Ok(0) | Err(_)) => {
                    return Err(Stop::Verdict(Verdict::Failed("closed within the head")));
                }
                Ok(Ok(n)) => self.have += n,
            }
            outcome.first_byte.get_or_insert_with(|| start.elapsed());
            while let Some(head) = parse(&self.buffer[..self.have])? {
                if head.status >= 200 {
                    return Ok(head);
                }
                // An interim head (RFC 9110, section 15.2): the final one follows.
                self.buffer.copy_within(head.bytes..self.have, 0);
                self.have -= head.bytes;
            }
        }
    }

    /// Reads the body; what already came with the head is at the front of the buffer.
    async fn body(&mut self, stream: &mut TcpStream, body: &mut Body) -> Result<(), Verdict> {
        let mut progress = body.progress();
        loop {
            if self.have > 0 && progress == Progress::More {
                let before = body.bytes;
                let (now, used) = body.take(&self.buffer[..self.have]);
                self.delivered
                    .set(self.delivered.get() + body.bytes - before);
                self.buffer.copy_within(used..self.have, 0);
                self.have -= used;
                progress = now;
            }
            match progress {
                Progress::More => {}
                Progress::Broken => return Err(Verdict::Truncated("broken chunked coding")),
                Progress::Wrong => return Err(Verdict::Wrong("bytes that the file does not have")),
                Progress::Whole => {
                    return match body.wanted() {
                        Some(wanted) if wanted != body.bytes => {
                            Err(Verdict::Wrong("a part given as the whole"))
                        }
                        _ => Ok(()),
                    };
                }
            }
            match timeout(self.patience, stream.read(&mut self.buffer)).await {
                Err(_) => return Err(Verdict::Truncated("stalled")),
                Ok(Err(_)) => return Err(Verdict::Truncated("reset")),
                Ok(Ok(0)) if !body.ends_with_close() => {
                    return Err(Verdict::Truncated("closed early"));
                }
                Ok(Ok(0)) => progress = Progress::Whole,
                Ok(Ok(n)) => self.have = n,
            }
        }
    }
}

/// The head at the front of the buffer, when it is complete.
fn parse(buffer: &[u8]) -> Result<Option<Head>, Stop> {
    let Some(bytes) = head::end(buffer) else {
        return Ok(None);
    };
    let buffer = &buffer[..bytes];
    let one = |name| head::fields(buffer, name).pop();
    let known = head::status(buffer).zip(Framing::of(buffer));
    let Some((status, framing)) = known.filter(|_| buffer.starts_with(b"HTTP/1.")) else {
        return Err(Stop::Verdict(Verdict::Failed("a head that is not HTTP")));
    };
    let closes = one("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let range_start = one("content-range").and_then(|value| {
        value
            .strip_prefix("bytes ")?
            .split('-')
            .next()?
            .parse()
            .ok()
    });
    Ok(Some(Head {
        status,
        framing,
        keep_alive: buffer.starts_with(b"HTTP/1.1") && !closes,
        range_start,
        bytes,
    }))
}
