//! One connection to the origin: the socket, TLS for https, and bytes that are read but not used yet.

use std::{
    cell::{Cell, Ref, RefCell},
    future::Future,
    io,
    pin::pin,
    rc::Rc,
    sync::Arc,
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
    /// Shared with the task that still sends the request's body while the response is read. Never borrowed across an await.
    stream: Rc<RefCell<Stream>>,
    /// Bytes that are read but not used yet.
    pub buf: BytesMut,
    /// The part of the request head that is not written yet.
    pub(super) out: BytesMut,
    /// Whether it carried a request before.
    pub reused: bool,
    /// Whether TCP_QUICKACK is set again after each read.
    pub quickack: bool,
    /// Whether the last response declared a body that must not follow (to HEAD, 204, 304): bytes that arrive all the same are not
    /// the next response.
    pub declared_forbidden_body: bool,
    /// Counts it as in use; none while it idles in a pool.
    pub in_use: Option<InUse>,
    /// The request body that is still being sent while the response arrives.
    pub(super) upload: Option<UploadUnderWay>,
    opened: Instant,
    open: Option<OpenSocket>,
}

/// Counts a connection as in use while this lives.
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
    /// A new connection.
    pub fn new(stream: Stream, quickack: bool, open: OpenSocket) -> Self {
        Connection {
            stream: Rc::new(RefCell::new(stream)),
            buf: BytesMut::new(),
            out: BytesMut::new(),
            reused: false,
            quickack,
            declared_forbidden_body: false,
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

    /// The socket, for options and TCP_INFO.
    pub fn socket(&self) -> Ref<'_, TcpStream> {
        Ref::map(self.stream.borrow(), Stream::socket)
    }

    /// The write half, for a request head.
    pub fn writer(&self) -> Writer {
        Writer::new(Rc::clone(&self.stream), None)
    }

    /// The write half, for a request body that is sent while the response is read.
    pub fn body_writer(&self) -> Writer {
        let counters = self.open.as_ref().map(|open| Arc::clone(open.counters()));
        Writer::new(Rc::clone(&self.stream), counters)
    }

    /// Removes it from the origin's connection counts, because it has switched protocols.
    pub fn leave(&mut self) {
        (self.open, self.in_use) = (None, None);
    }

    /// Reads up to `most` more bytes into the buffer; 0 is the end of the stream. While nothing is there, it holds no room for them: a
    /// thousand connections that wait would hold 32 MiB.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        let stream = &mut *self.stream.borrow_mut();
        if let Stream::Tcp(tcp) = stream
            && self.buf.is_empty()
            && tcp.poll_read_ready(cx).is_pending()
        {
            self.buf = BytesMut::new();
            return Poll::Pending;
        }
        self.buf.reserve(most);
        let filled = match stream {
            Stream::Tcp(tcp) => pin!(tcp.read_buf(&mut self.buf)).poll(cx),
            Stream::Tls(tls) => pin!(tls.read_buf(&mut self.buf)).poll(cx),
        };
        if let (Poll::Ready(Ok(bytes)), Some(open)) = (&filled, &self.open) {
            open.counters().moved.add(*bytes as u64);
        }
        if filled.is_pending() && self.buf.is_empty() {
            self.buf = BytesMut::new();
        }
        filled
    }

    /// Whether the runtime has no event for an idle connection. Makes no system call. Never over TLS, which may have read more than was
    /// asked of it.
    fn is_quiet(&self, waker: &Waker) -> bool {
        self.buf.is_empty()
            && matches!(*self.stream.borrow(), Stream::Tcp(_))
            && self
                .socket()
                .poll_read_ready(&mut Context::from_waker(waker))
                .is_pending()
    }

    /// Whether an idle connection is still usable: the origin has neither closed it nor sent unrequested bytes. `waker` is woken
    /// when that changes. It is read only after an event: the last read may have left data behind, and TLS sends session tickets
    /// unasked.
    pub fn falls_quiet(&mut self, waker: &Waker) -> bool {
        self.is_quiet(waker)
            || self.buf.is_empty()
                && self
                    .poll_fill(&mut Context::from_waker(waker), 1)
                    .is_pending()
    }

    /// Whether the kernel has neither data nor an end for it. The runtime learns of both only in its next turn, and bytes that came
    /// before a request must not be taken for its response.
    pub fn is_silent(&self) -> bool {
        tcp::is_silent(&*self.socket())
    }

    /// Sets TCP_QUICKACK again after a read, if the options say so.
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
        // Nothing is awaited from here on, so that the runtime sees no event.
        origin.write_all(b"unasked").unwrap();
        assert!(connection.falls_quiet(Waker::noop()));
        assert!(!connection.is_silent());
    }
}
