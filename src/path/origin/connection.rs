//! One connection to the origin: the socket, TLS where it is spoken, and the bytes read but not yet used.

use std::{
    cell::{Cell, Ref, RefCell},
    future::Future,
    io,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use bytes::BytesMut;
use tokio::{io::AsyncReadExt as _, net::TcpStream};

use super::{
    sending::UploadUnderWay,
    sockets::OpenSocket,
    stream::{Stream, Writer},
};
use crate::path::tcp;

/// One connection to the origin.
pub struct Connection {
    /// Shared with whoever still sends the request's body while the response is read. Nobody borrows it across an await.
    stream: Rc<RefCell<Stream>>,
    /// Read, but not yet used.
    pub buf: BytesMut,
    /// A request's head, as far as it is not yet written.
    pub(super) out: BytesMut,
    /// Whether a request went over it before.
    pub reused: bool,
    /// Whether TCP_QUICKACK is set again after reads.
    pub quickack: bool,
    /// Whether the last answer told of a body that was not to come: what comes all the same is no answer.
    pub told_in_vain: bool,
    /// While it is not idle in a pool.
    pub in_use: Option<InUse>,
    /// What of the request's body is still on its way while the response comes.
    pub(super) upload: Option<UploadUnderWay>,
    opened: Instant,
    open: Option<OpenSocket>,
}

/// Counts a connection as in use for as long as this lives.
#[derive(Debug)]
pub struct InUse(Rc<Cell<usize>>);

impl InUse {
    /// Adds one to `count`.
    pub fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        InUse(Rc::clone(count))
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Connection {
    /// A new connection, never used.
    pub fn new(stream: Stream, quickack: bool, open: OpenSocket) -> Self {
        Connection {
            stream: Rc::new(RefCell::new(stream)),
            buf: BytesMut::new(),
            out: BytesMut::new(),
            reused: false,
            quickack,
            told_in_vain: false,
            in_use: None,
            upload: None,
            opened: Instant::now(),
            open: Some(open),
        }
    }

    /// When it was opened.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// The socket, for options and facts.
    pub fn socket(&self) -> Ref<'_, TcpStream> {
        Ref::map(self.stream.borrow(), Stream::socket)
    }

    /// Its sending side, for a body that is sent while the response is read.
    pub fn writer(&self) -> Writer {
        Writer::new(Rc::clone(&self.stream))
    }

    /// It speaks another protocol from now on, and counts among the origin's connections no more.
    pub fn leave(&mut self) {
        (self.open, self.in_use) = (None, None);
    }

    /// Reads up to `most` further bytes into the buffer; 0 is the end of the stream.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        self.buf.reserve(most);
        match &mut *self.stream.borrow_mut() {
            Stream::Tcp(tcp) => pin!(tcp.read_buf(&mut self.buf)).poll(cx),
            Stream::Tls(tls) => pin!(tls.read_buf(&mut self.buf)).poll(cx),
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

    /// Whether the kernel holds nothing for it either, neither bytes nor an end: the runtime hears of both only as it
    /// turns, and what came before a request must not be taken for its answer.
    pub fn is_silent(&self) -> bool {
        tcp::is_silent(&*self.socket())
    }

    /// Asks the kernel to acknowledge at once what was read, where the options say so.
    pub fn rearm_quickack(&self) {
        if self.quickack {
            tcp::rearm_quickack(&*self.socket());
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

#[cfg(test)]
mod tests {
    use std::{io::Write as _, net::TcpListener, sync::Arc};

    use super::*;
    use crate::path::origin::sockets::Sockets;

    #[actix_rt::test]
    async fn what_the_runtime_has_not_heard_of_yet_breaks_the_silence() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = TcpStream::connect(address).await.unwrap();
        let (mut origin, _) = listener.accept().unwrap();
        let open = Arc::new(Sockets::default()).try_reserve(1).unwrap();
        let mut connection = Connection::new(Stream::Tcp(socket), false, open);
        assert!(connection.falls_quiet(Waker::noop()) && connection.is_silent());
        // Nothing is awaited from here on: no event reaches the runtime.
        origin.write_all(b"unasked").unwrap();
        assert!(connection.falls_quiet(Waker::noop()));
        assert!(!connection.is_silent());
    }
}
