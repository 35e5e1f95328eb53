//! The bytes below an HTTP/2 connection: they follow their line, a client that takes none is ended, and its frames are
//! counted.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{frame_budget::FrameBudget, frame_scan::FrameScan};
use crate::{
    path::{
        client::Client, line::ClientLine, seat::Seat, send_watch::SendWatch, transport::Transport,
    },
    traffic::{canary::split::Bucket, published::Published, quality::Class},
};

/// A client's connection.
#[derive(Debug)]
pub struct Wire {
    io: Transport,
    line: ClientLine,
    class: Rc<Cell<Class>>,
    send: SendWatch,
    /// Bytes that the connection took so far.
    taken: Rc<Cell<u64>>,
    scan: FrameScan,
    frames: Rc<FrameBudget>,
    bucket: Bucket,
    published: Arc<Published>,
    _seat: Seat,
}

impl Wire {
    /// A connection just accepted.
    pub fn new(
        io: Transport,
        line: ClientLine,
        send: SendWatch,
        seat: Seat,
        client: &Client,
        frames: FrameBudget,
    ) -> Self {
        Wire {
            io,
            line,
            class: Rc::clone(&client.class),
            send,
            taken: Rc::default(),
            scan: FrameScan::default(),
            frames: Rc::new(frames),
            bucket: client.bucket,
            published: Arc::clone(client.published()),
            _seat: seat,
        }
    }

    /// Counts the bytes that the connection takes.
    pub fn taken(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.taken)
    }

    /// What pays for the client's frames.
    pub fn frames(&self) -> Rc<FrameBudget> {
        Rc::clone(&self.frames)
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
                let follow = self.published.tuning_for(self.bucket).load().follow_lines;
                self.line.look(self.io.tcp(), Instant::now(), follow);
                self.class.set(self.line.class());
                Poll::Ready(Ok(n))
            }
            failed => failed,
        }
    }

    fn poll_blocked(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let error = ready!(self.send.poll(cx, self.io.tcp()));
        self.published.counters.clients.send_timeouts.increment();
        Poll::Ready(error)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let passed = self.scan.step(&buf.filled()[before..]);
        if self.frames.came(passed, Instant::now()) {
            return Poll::Ready(Ok(()));
        }
        // Nothing more is read. Whoever serves the connection says so, and is in the same task.
        buf.set_filled(before);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.wrote(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bytes);
        self.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.io).poll_flush(cx) {
            // TLS holds what the socket does not take.
            Poll::Pending => self.poll_blocked(cx).map(Err),
            flushed => {
                self.send.took();
                flushed
            }
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
