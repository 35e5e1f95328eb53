//! Serves the answers over TCP, and counts what it hands out.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result};
use fileproxy_testbed::{
    answer::Answer,
    fault::{Break, How},
    head,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};

use super::{
    answer::{answer, has_file, plain},
    fault::{Breaker, Faults},
    request::Request,
};
use crate::live::Live;

/// The path of the origin's own counts, which are not counted.
pub const COUNTS: &str = "/lab/counts";
/// A connection without a request is closed after this long, as nginx does.
const IDLE: Duration = Duration::from_secs(75);
/// Bytes written at once.
const BLOCK: u64 = 64 * 1024;

/// What the origin handed out so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Requests answered, with a fault or without.
    pub requests: u64,
    /// Bytes of body handed to sockets.
    pub bytes: u64,
    /// Connections accepted.
    pub connections: u64,
    /// Bodies broken on purpose.
    pub broken: u64,
    /// Answers 503 on purpose.
    pub unavailable: u64,
}

/// What to serve.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Seeds contents and faults.
    pub seed: u64,
    /// The stream.
    pub live: Live,
    /// How to misbehave.
    pub faults: Option<Faults>,
}

struct Shared {
    seed: u64,
    live: Live,
    breaker: Option<RefCell<Breaker>>,
    start: Instant,
    counts: Cell<Counts>,
}

impl Shared {
    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }
}

/// Serves until it is dropped.
///
/// # Errors
///
/// The address cannot be listened on.
pub async fn serve(options: Options) -> Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket
        .bind(options.listen)
        .with_context(|| options.listen.to_string())?;
    let listener = socket.listen(4096)?;
    let shared = Rc::new(Shared {
        seed: options.seed,
        live: options.live,
        breaker: options
            .faults
            .map(|f| RefCell::new(Breaker::new(f, options.seed))),
        start: Instant::now(),
        counts: Cell::new(Counts::default()),
    });
    let tasks = tokio::task::LocalSet::new();
    tasks
        .run_until(async {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        shared.count(|c| c.connections += 1);
                        let shared = Rc::clone(&shared);
                        tokio::task::spawn_local(async move {
                            // A proxy that hangs up is nothing to report.
                            _ = connection(stream, &shared).await;
                        });
                    }
                    // Out of files for a moment.
                    Err(_) => sleep(Duration::from_millis(10)).await,
                }
            }
        })
        .await
}

async fn connection(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::with_capacity(4096);
    loop {
        let (request, length) = loop {
            match Request::parse(&buffer) {
                Ok(Some(found)) => break found,
                Ok(None) if buffer.len() < 64 * 1024 => {}
                _ => {
                    let answer = plain(400, Vec::new(), "not a request\n");
                    return send(&mut stream, answer, false, None, shared)
                        .await
                        .map(|_| ());
                }
            }
            match timeout(IDLE, stream.read_buf(&mut buffer)).await {
                Err(_) | Ok(Ok(0)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Ok(Ok(_)) => {}
            }
        };
        buffer.drain(..length);
        let keep_alive = request.keep_alive && !request.has_body;
        if request.target == COUNTS {
            let text = serde_json::to_string(&shared.counts.get()).unwrap_or_default();
            let answer = plain(200, Vec::new(), &text);
            write(&mut stream, answer, keep_alive, None, |_| ()).await?;
        } else {
            shared.count(|c| c.requests += 1);
            let age = shared.start.elapsed();
            let breaker = shared.breaker.as_ref();
            let (answer, broken) = if breaker.is_some_and(|b| b.borrow().unavailable(age)) {
                shared.count(|c| c.unavailable += 1);
                let again = vec![("Retry-After", "1".to_owned())];
                (plain(503, again, "for a moment\n"), None)
            } else {
                let answer = answer(&request, shared.seed, &shared.live, age);
                let broken = breaker
                    .filter(|_| has_file(&answer))
                    .and_then(|b| b.borrow_mut().next(&request.target, answer.left()));
                (answer, broken)
            };
            if !send(&mut stream, answer, keep_alive, broken, shared).await? {
                return Ok(());
            }
        }
        if !keep_alive {
            return Ok(());
        }
    }
}

/// Sends an answer and counts it; false when it was broken on purpose and the connection is to be dropped.
async fn send(
    stream: &mut TcpStream,
    answer: Answer,
    keep_alive: bool,
    broken: Option<Break>,
    shared: &Shared,
) -> std::io::Result<bool> {
    write(stream, answer, keep_alive, broken.map(|b| b.at), |n| {
        shared.count(|c| c.bytes += n)
    })
    .await?;
    let Some(Break { how, .. }) = broken else {
        return Ok(true);
    };
    shared.count(|c| c.broken += 1);
    match how {
        How::Close => {}
        // Without lingering, the drop of the socket resets the connection.
        How::Reset => stream.set_zero_linger()?,
        How::Stall(lasting) => sleep(lasting).await,
    }
    Ok(false)
}

async fn write(
    stream: &mut TcpStream,
    mut answer: Answer,
    keep_alive: bool,
    stop_at: Option<u64>,
    counted: impl Fn(u64),
) -> std::io::Result<()> {
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let date = head::date(SystemTime::now());
    let mut lines = format!("Server: load\r\nDate: {date}\r\nConnection: {connection}\r\n");
    for (name, value) in &answer.fields {
        lines += &format!("{name}: {value}\r\n");
    }
    let mut block = head::response(&head::reason(answer.status), &lines, answer.length);
    let mut head_left = block.len();
    let mut left = stop_at.map_or(answer.left(), |at| at.min(answer.left()));
    // The head goes out with the first bytes of the body.
    loop {
        if left > 0
            && let Some(piece) = answer.next_piece(left.min(BLOCK))
        {
            left -= piece.len() as u64;
            block.extend_from_slice(&piece);
        }
        if block.is_empty() {
            return Ok(());
        }
        let mut sent = 0;
        while sent < block.len() {
            let n = stream.write(&block[sent..]).await?;
            if n == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            sent += n;
            let of_head = n.min(head_left);
            head_left -= of_head;
            counted((n - of_head) as u64);
        }
        block.clear();
    }
}
