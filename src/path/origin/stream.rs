//! The byte stream of a connection to the origin (TCP, or TLS over TCP), and its write half.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{io::AsyncWrite as _, net::TcpStream};
use tokio_rustls::client::TlsStream;

use crate::traffic::counters::OriginCounters;

/// The transport.
pub enum Stream {
    /// http.
    Tcp(TcpStream),
    /// https.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// The TCP socket, for options and TCP_INFO.
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Stream::Tcp(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref().0,
        }
    }
}

/// The write half of a connection.
pub struct Writer {
    stream: Rc<RefCell<Stream>>,
    /// Count the bytes written, if they are many.
    counters: Option<Arc<OriginCounters>>,
}

impl Writer {
    /// The write half of `stream`, which is never borrowed across an await.
    pub(super) fn new(stream: Rc<RefCell<Stream>>, counters: Option<Arc<OriginCounters>>) -> Self {
        Writer { stream, counters }
    }

    /// Writes some of `bytes`.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = match &mut *self.stream.borrow_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        };
        if let (Poll::Ready(Ok(bytes)), Some(counters)) = (&written, &self.counters) {
            counters.moved.add(*bytes as u64);
        }
        written
    }

    /// Flushes what TLS has buffered.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.stream.borrow_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    /// Closes the write direction; the other one stays open.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.stream.borrow_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }

    /// Shuts the connection down in both directions: its reader sees the end.
    pub fn end(&self) {
        let stream = self.stream.borrow();
        _ = socket2::SockRef::from(stream.socket()).shutdown(std::net::Shutdown::Both);
    }
}
