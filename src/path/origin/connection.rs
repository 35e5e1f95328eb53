//! One connection to the origin: the socket, TLS where it is spoken, and the bytes read but not yet used.

use std::{
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::pool::{InUse, OpenSocket};
use crate::path::tcp;

/// One connection to the origin.
pub struct Connection {
    stream: Stream,
    /// Read, but not yet used.
    pub buf: BytesMut,
    /// Whether a request went over it before.
    pub reused: bool,
    /// Whether TCP_QUICKACK is set again after reads.
    pub quickack: bool,
    /// While it is not idle in a pool.
    pub in_use: Option<InUse>,
    opened: Instant,
    _open: OpenSocket,
}

/// The transport.
pub enum Stream {
    /// http.
    Tcp(TcpStream),
    /// https.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    /// A new connection, never used.
    pub fn new(stream: Stream, quickack: bool, open: OpenSocket) -> Self {
        Connection {
            stream,
            buf: BytesMut::new(),
            reused: false,
            quickack,
            in_use: None,
            opened: Instant::now(),
            _open: open,
        }
    }

    /// When it was opened.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// The socket, for options and facts.
    pub fn socket(&self) -> &TcpStream {
        match &self.stream {
            Stream::Tcp(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref().0,
        }
    }

    /// Reads up to `most` further bytes into the buffer; 0 is the end of the stream.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        self.buf.reserve(most);
        match &mut self.stream {
            Stream::Tcp(tcp) => pin!(tcp.read_buf(&mut self.buf)).poll(cx),
            Stream::Tls(tls) => pin!(tls.read_buf(&mut self.buf)).poll(cx),
        }
    }

    /// Writes some of `bytes`.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    /// Hands on what TLS still holds.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    /// Whether there was no event on an idle connection. No system call is made.
    fn is_quiet(&self, waker: &Waker) -> bool {
        self.buf.is_empty()
            && self
                .socket()
                .poll_read_ready(&mut Context::from_waker(waker))
                .is_pending()
    }

    /// Whether an idle connection is quiet: the origin has not closed it, nor sent what nobody asked for. `waker` is
    /// told when that changes. Only after an event on it is it read: a last read that filled its buffer left open
    /// whether more had come, and TLS sends session tickets of its own.
    pub fn falls_quiet(&mut self, waker: &Waker) -> bool {
        self.is_quiet(waker)
            || self.buf.is_empty()
                && self
                    .poll_fill(&mut Context::from_waker(waker), 1)
                    .is_pending()
    }

    /// Asks the kernel to acknowledge at once what was read, where the options say so.
    pub fn rearm_quickack(&self) {
        if self.quickack {
            tcp::rearm_quickack(self.socket());
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &self.socket().peer_addr().ok())
            .finish_non_exhaustive()
    }
}

/// Shared by all workers: TLS sessions are resumed whoever opened them.
pub type TlsConfig = Arc<rustls::ClientConfig>;
