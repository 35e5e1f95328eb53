//! A client's connection, with the limits that a client must keep: a head that trickles, a head without end, a
//! reader that stops reading, one connection too many. Each gets an answer where one can still be given.
//!
//! actix-http bounds the first head only, and no write at all; so this stream stands between it and the socket.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use actix_http::StatusCode;
use bytes::BytesMut;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use super::{
    client::Client, head_scan::HeadScan, line::ClientLine, seat::Seat, send_watch::SendWatch, tcp,
    transport::Transport,
};
use crate::problem::Problem;

/// How long a refused client may go on sending, so that the answer is not lost to a reset.
const LINGER: Duration = Duration::from_secs(2);
/// How much a client may send ahead while its request is answered; the rest waits in the socket.
const AHEAD: usize = 64 * 1024;
/// What actix-http answers by itself to a head that it cannot read.
const BAD_HEAD: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n";
/// The same for one that is too large.
const LARGE_HEAD: &[u8] = b"HTTP/1.1 431 ";

/// What a client must keep to.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest request head, in bytes.
    pub max_head: usize,
    /// Longest time for one request head.
    pub head: Duration,
    /// Longest time between two requests.
    pub idle: Duration,
    /// Longest time in which the client's socket takes nothing.
    pub send: Duration,
}

/// A client's connection.
pub struct ClientStream {
    io: Transport,
    client: Rc<Client>,
    _seat: Seat,
    limits: Limits,
    quickack: bool,
    phase: Phase,
    /// Bytes of a request head so far; none between requests.
    head: usize,
    scan: HeadScan,
    /// A request without a body is being answered. What the client sends behind it waits here.
    answering: bool,
    /// Whether any of the answer is out.
    begun_answer: bool,
    behind: BytesMut,
    /// How many requests had begun when the head's first byte came.
    head_after: u64,
    /// When the head must be whole.
    head_due: Option<Instant>,
    head_timer: Option<Pin<Box<Sleep>>>,
    line: ClientLine,
    send: SendWatch,
}

enum Phase {
    Open,
    /// An answer of the stream's own goes out; what the client still sends is thrown away until the deadline.
    Refusing {
        answer: Vec<u8>,
        sent: usize,
        shut: bool,
        until: Pin<Box<Sleep>>,
    },
    Ended,
}

impl ClientStream {
    /// A connection just accepted. One too many is refused.
    pub fn new(
        io: Transport,
        client: Rc<Client>,
        seat: Seat,
        limits: Limits,
        quickack: bool,
        line: ClientLine,
    ) -> Self {
        let too_many = seat.over;
        let mut stream = ClientStream {
            io,
            client,
            _seat: seat,
            limits,
            quickack,
            phase: Phase::Open,
            head: 0,
            scan: HeadScan::default(),
            answering: false,
            begun_answer: false,
            behind: BytesMut::new(),
            head_after: 0,
            head_due: Some(Instant::now() + limits.head),
            head_timer: None,
            line,
            send: SendWatch::new(limits.send),
        };
        if too_many {
            stream.refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many connections: try again in a moment",
            );
        }
        stream
    }

    /// What handlers get to know of this connection.
    pub fn client(&self) -> &Rc<Client> {
        &self.client
    }

    /// Answers by itself and ends the connection.
    fn refuse(&mut self, status: StatusCode, detail: &str) {
        self.phase = Phase::Refusing {
            answer: Problem::new(status, detail.to_owned()).wire(),
            sent: 0,
            shut: false,
            until: Box::pin(tokio::time::sleep(LINGER)),
        };
    }

    /// Sends the answer, then waits until the client has read it: a socket closed over unread bytes is reset, and a
    /// reset can overtake the answer.
    fn poll_refusing(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Phase::Refusing {
            answer,
            sent,
            shut,
            until,
        } = &mut self.phase
        else {
            return Poll::Ready(());
        };
        let mut over = until.as_mut().poll(cx).is_ready();
        while *sent < answer.len() && !over {
            match Pin::new(&mut self.io).poll_write(cx, &answer[*sent..]) {
                Poll::Ready(Ok(n)) if n > 0 => *sent += n,
                Poll::Ready(_) => over = true,
                Poll::Pending => break,
            }
        }
        if *sent == answer.len() && !*shut && !over {
            *shut = Pin::new(&mut self.io).poll_shutdown(cx).is_ready();
        }
        let mut scratch = [0; 4096];
        while !over {
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => {}
                Poll::Ready(_) => over = *sent == answer.len() || buf.filled().is_empty(),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.phase = Phase::Ended;
        Poll::Ready(())
    }

    /// Looks after a client whose request is being answered: keeps what it sends ahead, and notices that it left.
    fn poll_behind(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_head(cx, &[]);
        let mut scratch = [0; 4096];
        while self.behind.len() < AHEAD {
            let mut piece = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut piece))?;
            if piece.filled().is_empty() {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            self.behind.extend_from_slice(piece.filled());
        }
        Poll::Pending
    }

    /// The answer is out: the next head may come.
    fn answered(&mut self, cx: &Context<'_>) {
        let done = self.answering && self.begun_answer && self.client.engaged.get() == 0;
        if done {
            self.answering = false;
            (self.head, self.scan) = (0, HeadScan::default());
            // Whether something waits, or only the socket does: it must be asked again.
            cx.waker().wake_by_ref();
        }
    }

    /// Watches over the request head: how long it takes, and how long it is. With the last byte of a head that no
    /// body follows: how many of the bytes belong to it.
    fn poll_head(&mut self, cx: &mut Context<'_>, read: &[u8]) -> Option<usize> {
        let mut whole = None;
        if self.client.engaged.get() > 0
            || (self.head > 0 && self.client.begun.get() != self.head_after)
        {
            // The head became a request.
            self.head = 0;
            self.scan = HeadScan::default();
            self.head_due = None;
        }
        if self.client.engaged.get() > 0 {
            return None;
        }
        // What is left of a body that was refused is no head.
        if !read.is_empty() && !self.client.body_refused.get() {
            if self.head == 0 {
                self.head_after = self.client.begun.get();
                // The first head has its time from the connection's begin, a later one from its own.
                if self.head_after > 0 {
                    self.head_due = Some(Instant::now() + self.limits.head);
                }
            }
            let head = self.scan.step(read);
            self.head += head;
            if self.head > self.limits.max_head {
                self.client.published.counters.clients.bad_heads.increment();
                let detail = format!(
                    "the request head is longer than {} bytes",
                    self.limits.max_head
                );
                self.refuse(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, &detail);
                return None;
            }
            if self.scan.is_whole() && self.scan.has_fragment() {
                self.client.published.counters.clients.bad_heads.increment();
                self.refuse(StatusCode::BAD_REQUEST, "the request target has a fragment");
                return None;
            }
            if self.scan.is_whole() && !self.scan.tells_of_a_body() {
                whole = Some(head);
            }
        }
        if self.client.begun.get() == 0 && self.head_due.is_none() {
            return whole;
        }
        // actix-http forgets the time between two requests where half a head came with the request before.
        let idle = if self.client.body_refused.get() {
            LINGER
        } else {
            self.limits.idle
        };
        let due = *self.head_due.get_or_insert_with(|| Instant::now() + idle);
        let timer = self
            .head_timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due.into())));
        if timer.deadline() > due.into() {
            timer.as_mut().reset(due.into());
        }
        while timer.as_mut().poll(cx).is_ready() {
            if due > Instant::now() {
                timer.as_mut().reset(due.into());
                continue;
            }
            self.head_due = None;
            if self.head == 0 {
                // Nothing was asked: nothing is answered.
                self.phase = Phase::Ended;
            } else {
                self.client
                    .published
                    .counters
                    .clients
                    .head_timeouts
                    .increment();
                self.refuse(
                    StatusCode::REQUEST_TIMEOUT,
                    "the request head took too long",
                );
            }
            return None;
        }
        whole
    }

    /// Ready when the client has read nothing for too long.
    fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.client.poll_ahead(cx);
        let error = ready!(self.send.poll(cx, self.io.tcp()));
        let counters = &self.client.published.counters.clients;
        counters.send_timeouts.increment();
        self.client.end_with_reset(true);
        Poll::Ready(error)
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if matches!(this.phase, Phase::Open) {
            if this.answering {
                ready!(this.poll_behind(cx))?;
            }
            let before = buf.filled().len();
            let read = if this.behind.is_empty() {
                Pin::new(&mut this.io).poll_read(cx, buf)
            } else {
                let n = this.behind.len().min(buf.remaining());
                buf.put_slice(&this.behind.split_to(n));
                Poll::Ready(Ok(()))
            };
            let n = buf.filled().len() - before;
            if n == 0 && matches!(read, Poll::Ready(Ok(()))) && this.client.engaged.get() > 0 {
                // A client that left must not keep its transfer running. actix-http can be told so, but then garbage
                // behind a good request ends that one, too.
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            let head = this.poll_head(cx, &buf.filled()[before..]);
            if matches!(this.phase, Phase::Open) {
                if n > 0 && this.quickack && this.client.engaged.get() > 0 {
                    // An upload: its sender waits for acknowledgements, not for an answer that could carry them.
                    tcp::rearm_quickack(this.io.tcp());
                }
                if let Some(head) = head {
                    // One head at a time: what is behind it waits until the answer is out.
                    let rest = &buf.filled()[before + head..];
                    if !rest.is_empty() {
                        let mut behind = BytesMut::from(rest);
                        behind.unsplit(std::mem::take(&mut this.behind));
                        this.behind = behind;
                    }
                    buf.set_filled(before + head);
                    (this.answering, this.begun_answer) = (true, false);
                }
                return read;
            }
            buf.set_filled(before);
        }
        // An end of file, once the answer is out.
        ready!(this.poll_refusing(cx));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        match this.phase {
            Phase::Open => {}
            // What actix-http had to say is replaced by the answer. It drops the connection once its own words are
            // out, so they are held until the answer is.
            Phase::Refusing { .. } => return this.poll_refusing(cx).map(|()| Ok(bytes.len())),
            Phase::Ended => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
        if this.head > 0
            && this.client.engaged.get() == 0
            && this.client.begun.get() == this.head_after
        {
            let status = if bytes.starts_with(BAD_HEAD) {
                Some((
                    StatusCode::BAD_REQUEST,
                    "the request head is not valid HTTP/1.1",
                ))
            } else if bytes.starts_with(LARGE_HEAD) {
                Some((
                    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                    "the request head is too large",
                ))
            } else {
                None
            };
            if let Some((status, detail)) = status {
                this.client.published.counters.clients.bad_heads.increment();
                this.refuse(status, detail);
                return this.poll_refusing(cx).map(|()| Ok(bytes.len()));
            }
        }
        match Pin::new(&mut this.io).poll_write(cx, bytes) {
            Poll::Pending => this.poll_blocked(cx).map(Err),
            written => {
                this.send.took();
                this.begun_answer = true;
                let published = &this.client.published;
                let follow = published.tuning_for(this.client.bucket).load().follow_lines;
                this.line.look(this.io.tcp(), Instant::now(), follow);
                this.client.class.set(this.line.class());
                written
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.phase, Phase::Open) {
            // All that there is to say is said: the time to the next request runs.
            self.poll_head(cx, &[]);
        }
        self.answered(cx);
        let this = &mut *self;
        match Pin::new(&mut this.io).poll_flush(cx) {
            // TLS holds what the socket does not take.
            Poll::Pending => this.poll_blocked(cx).map(Err),
            flushed => {
                this.send.took();
                flushed
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_refusing(cx));
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        if self.client.reset.get() {
            // Linger zero: the kernel sends a reset instead of an orderly end.
            _ = SockRef::from(self.io.tcp()).set_linger(Some(Duration::ZERO));
        }
    }
}

impl std::fmt::Debug for ClientStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientStream")
            .field("peer", &self.client.peer)
            .finish_non_exhaustive()
    }
}
