//! What a connection to the origin speaks over: TCP, or TLS on it; and its sending side by itself.

use std::{
    cell::RefCell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use tokio::{io::AsyncWrite as _, net::TcpStream};
use tokio_rustls::client::TlsStream;

/// The transport.
pub enum Stream {
    /// http.
    Tcp(TcpStream),
    /// https.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// The socket below it, for options and facts.
    pub(super) fn socket(&self) -> &TcpStream {
        match self {
            Stream::Tcp(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref().0,
        }
    }
}

/// The sending side of a connection.
pub struct Writer(Rc<RefCell<Stream>>);

impl Writer {
    /// The sending side of `stream`. Nobody borrows that across an await.
    pub(super) fn new(stream: Rc<RefCell<Stream>>) -> Self {
        Writer(stream)
    }

    /// Writes some of `bytes`.
    pub fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self.0.borrow_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Stream::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    /// Hands on what TLS still holds.
    pub fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.0.borrow_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    /// Says that no more comes. The other direction goes on.
    pub fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self.0.borrow_mut() {
            Stream::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }

    /// Ends the connection both ways: whoever reads it sees its end.
    pub fn end(&self) {
        let stream = self.0.borrow();
        _ = socket2::SockRef::from(stream.socket()).shutdown(std::net::Shutdown::Both);
    }
}
