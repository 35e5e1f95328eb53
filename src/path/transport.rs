//! The byte stream of a client's connection: plain TCP or TLS.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

/// A client's byte stream.
#[derive(Debug)]
pub enum Transport {
    /// Plain TCP.
    Plain(TcpStream),
    /// TLS over TCP.
    Tls {
        /// The stream.
        io: Box<TlsStream<TcpStream>>,
        /// The most bytes of one record.
        record: usize,
    },
}

/// The most bytes of one TLS record (RFC 8446 §5.1).
const RECORD: usize = 16 * 1024;
/// The same on a poor line: a client can read a record only when all of it has arrived, which takes 131 ms for a whole one at 1 Mbit/s.
const SMALL_RECORD: usize = 4 * 1024;

impl Transport {
    /// TLS after its handshake.
    pub fn tls(io: Box<TlsStream<TcpStream>>) -> Self {
        Transport::Tls { io, record: RECORD }
    }

    /// Sets whether TLS records are small.
    pub fn set_small_records(&mut self, small: bool) {
        if let Transport::Tls { record, .. } = self {
            *record = if small { SMALL_RECORD } else { RECORD };
        }
    }

    /// The TCP socket.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Transport::Plain(io) => io,
            Transport::Tls { io, .. } => io.get_ref().0,
        }
    }

    /// Whether it is TLS.
    pub fn is_secure(&self) -> bool {
        matches!(self, Transport::Tls { .. })
    }

    /// The protocol that ALPN chose; none without TLS or without ALPN.
    pub fn protocol(&self) -> Option<&[u8]> {
        match self {
            Transport::Plain(_) => None,
            Transport::Tls { io, .. } => io.get_ref().1.alpn_protocol(),
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Transport::Tls { io, .. } => Pin::new(io).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            Transport::Tls { io, record } => {
                Pin::new(io).poll_write(cx, &bytes[..bytes.len().min(*record)])
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match this {
            Transport::Plain(io) => Pin::new(io).poll_write_vectored(cx, bytes),
            Transport::Tls { io, record } if *record == RECORD => {
                Pin::new(io).poll_write_vectored(cx, bytes)
            }
            Transport::Tls { .. } => {
                let first = bytes.iter().find(|bytes| !bytes.is_empty());
                Pin::new(this).poll_write(cx, first.map_or(&[], |first| first))
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Transport::Plain(io) => io.is_write_vectored(),
            Transport::Tls { io, .. } => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(io) => Pin::new(io).poll_flush(cx),
            Transport::Tls { io, .. } => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Transport::Tls { io, .. } => Pin::new(io).poll_shutdown(cx),
        }
    }
}
