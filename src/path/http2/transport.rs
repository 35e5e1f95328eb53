//! The bytes below an HTTP/2 connection: measures the line, disconnects a client that takes nothing, and counts the client's
//! frames.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{frame_budget::FrameBudget, frame_scan::FrameScan, linger::Linger, outgoing::Outgoing};
use crate::{
    path::{
        client::Client, connection_permit::ConnectionPermit, line::ClientLine,
        send_watch::SendWatch, transport::Transport,
    },
    traffic::{canary::split::Bucket, published::Published, quality::Class},
};

/// While a client's frames are smaller than this on average, only `FEW` bytes are read at a time...
const SMALL: u64 = 64;
/// ...because h2 buffers each frame until its stream is polled.
const FEW: usize = 1024;
/// Frames that are read before the streams are polled again.
const FRAMES: u64 = 128;

/// State of the connection's close.
#[derive(Debug)]
enum End {
    Open,
    Lingering(Linger),
    Over,
}

/// The byte stream of a client's HTTP/2 connection.
#[derive(Debug)]
pub struct H2Transport {
    io: Transport,
    line: ClientLine,
    class: Rc<Cell<Class>>,
    send: SendWatch,
    /// Bytes that the socket has accepted so far.
    taken: Rc<Cell<u64>>,
    scan: FrameScan,
    /// Whether the last frames were small.
    small: bool,
    /// Frames read since the streams were last polled.
    read: u64,
    frames: Rc<FrameBudget>,
    out: Rc<Outgoing>,
    /// How long a client may acknowledge nothing while the connection closes.
    patience: Duration,
    end: End,
    bucket: Bucket,
    published: Arc<Published>,
    _permit: ConnectionPermit,
}

impl H2Transport {
    /// For a connection just accepted; `patience` is how long the client may take nothing.
    pub fn new(
        io: Transport,
        line: ClientLine,
        patience: Duration,
        permit: ConnectionPermit,
        client: &Client,
        frames: FrameBudget,
    ) -> Self {
        H2Transport {
            io,
            line,
            class: Rc::clone(&client.class),
            send: SendWatch::new(patience),
            taken: Rc::default(),
            scan: FrameScan::of_client(),
            small: true,
            read: 0,
            frames: Rc::new(frames),
            out: Rc::default(),
            patience,
            end: End::Open,
            bucket: client.bucket,
            published: Arc::clone(client.published()),
            _permit: permit,
        }
    }

    /// Counter of the bytes that the socket has accepted.
    pub fn taken(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.taken)
    }

    /// The budget for the client's frames.
    pub fn frames(&self) -> Rc<FrameBudget> {
        Rc::clone(&self.frames)
    }

    /// Outgoing state: interim responses and streams that are not sent completely.
    pub fn out(&self) -> Rc<Outgoing> {
        Rc::clone(&self.out)
    }

    /// Writes interim responses if possible. Ready with the most bytes that h2 may write now.
    fn poll_gap(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let H2Transport { io, out, .. } = self;
        match out.poll_gap(cx, |cx, bytes| Pin::new(&mut *io).poll_write(cx, bytes)) {
            Poll::Pending => self.poll_blocked(cx).map(Err),
            ready => ready,
        }
    }

    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => self.poll_blocked(cx).map(Err),
            Poll::Ready(Ok(n)) => {
                self.send.took();
                self.taken.set(self.taken.get() + n as u64);
                self.frames.went(n);
                let follow = self.published.level_for(self.bucket).load().follow_lines;
                self.class.set(self.line.look(&mut self.io, follow));
                Poll::Ready(Ok(n))
            }
            failed => failed,
        }
    }

    fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let error = ready!(self.send.poll(cx, self.io.tcp()));
        self.published.clients.send_timeouts.increment();
        Poll::Ready(error)
    }
}

impl AsyncRead for H2Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.read >= FRAMES {
            this.read = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let came = if this.small {
            let mut few = [0; FEW];
            let mut few = ReadBuf::new(&mut few[..FEW.min(buf.remaining())]);
            let came = Pin::new(&mut this.io).poll_read(cx, &mut few);
            buf.put_slice(few.filled());
            came
        } else {
            Pin::new(&mut this.io).poll_read(cx, buf)
        };
        if came.is_pending() {
            this.read = 0;
        }
        ready!(came)?;
        let bytes = &buf.filled()[before..];
        let passed = this.scan.step(bytes, |_| {});
        this.small = (bytes.len() as u64) < passed.frames * SMALL;
        this.read += passed.frames;
        if passed.small_table {
            this.out.refuse_interim();
        }
        if this.frames.came(passed, Instant::now()) {
            return Poll::Ready(Ok(()));
        }
        // Nothing more is read. The task that serves the connection is this one, and checks the budget itself.
        buf.set_filled(before);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncWrite for H2Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let most = ready!(self.poll_gap(cx))?.min(bytes.len());
        let written = Pin::new(&mut self.io).poll_write(cx, &bytes[..most]);
        if let Poll::Ready(Ok(n)) = written {
            self.out.wrote(&bytes[..n]);
        }
        self.wrote(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if ready!(self.poll_gap(cx))? < usize::MAX {
            let first = bytes.iter().find(|slice| !slice.is_empty());
            return self.poll_write(cx, first.map_or(&[], |slice| slice));
        }
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        if let Poll::Ready(Ok(n)) = written {
            let mut left = n;
            for slice in bytes {
                let taken = left.min(slice.len());
                self.out.wrote(&slice[..taken]);
                left -= taken;
            }
        }
        self.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_gap(cx))?;
        match Pin::new(&mut self.io).poll_flush(cx) {
            // TLS buffers what the socket does not take.
            Poll::Pending => self.poll_blocked(cx).map(Err),
            flushed => {
                self.send.took();
                flushed
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            match &mut this.end {
                End::Open => {
                    match Pin::new(&mut this.io).poll_shutdown(cx) {
                        Poll::Pending => return this.poll_blocked(cx).map(Err),
                        shut => ready!(shut)?,
                    }
                    this.end = if this.out.hurries() {
                        End::Over
                    } else {
                        End::Lingering(Linger::new(this.patience, &this.io))
                    };
                }
                End::Lingering(linger) => {
                    ready!(linger.poll(cx, &mut this.io));
                    this.end = End::Over;
                }
                End::Over => return Poll::Ready(Ok(())),
            }
        }
    }
}
