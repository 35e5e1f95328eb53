//! A client's HTTP/1.1 connection while actix-http has it.
//!
//! actix-http holds two buffers and its own state for every connection, 20 KiB and more. A connection that waits for a request
//! needs none of it: it waits by itself ([`LentStream::wait`]), is lent to actix-http when a request begins, and is taken back when
//! none has followed for a while.

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{client::Client, client_stream::ClientStream};

/// The most bytes that are read before actix-http has the connection; it has as much room itself.
const FIRST: usize = 8 * 1024;

/// Where a connection is put when actix-http drops it.
pub type Home = Rc<Cell<Option<Box<ClientStream>>>>;

/// A connection that is lent to actix-http. Dropping it puts the connection into its [`Home`].
pub struct LentStream {
    /// Always there, until this is dropped.
    stream: Option<Box<ClientStream>>,
    /// What was read before; actix-http reads it first.
    first: Option<io::Result<Bytes>>,
    home: Home,
}

impl LentStream {
    /// Waits until actix-http has something to read from the connection: a request, its end or an error. Repeated requests are
    /// answered meanwhile, and slow or idle clients are refused.
    pub async fn wait(mut stream: Box<ClientStream>, home: Home) -> Self {
        let first = poll_fn(|cx| poll_first(&mut stream, cx)).await;
        stream.lend();
        LentStream {
            stream: Some(stream),
            first: Some(first),
            home,
        }
    }

    /// The state shared with this connection's handlers.
    pub fn client(&self) -> Option<&Rc<Client>> {
        self.stream.as_ref().map(|stream| stream.client())
    }

    fn stream(&mut self) -> io::Result<&mut ClientStream> {
        let stream = self.stream.as_deref_mut();
        stream.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

/// Reads the first bytes for actix-http, which would flush after each read.
fn poll_first(stream: &mut ClientStream, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
    let mut room = [MaybeUninit::uninit(); FIRST];
    let mut buf = ReadBuf::uninit(&mut room);
    match stream.poll_read(cx, &mut buf) {
        Poll::Ready(read) => Poll::Ready(read.map(|()| Bytes::copy_from_slice(buf.filled()))),
        Poll::Pending => match stream.poll_flush(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        },
    }
}

impl AsyncRead for LentStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(first) = self.first.take() else {
            return self.stream()?.poll_read(cx, buf);
        };
        let mut first = first?;
        let n = first.len().min(buf.remaining());
        buf.put_slice(&first[..n]);
        first.advance(n);
        if !first.is_empty() {
            self.first = Some(Ok(first));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for LentStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}

impl Drop for LentStream {
    fn drop(&mut self) {
        self.home.set(self.stream.take());
    }
}
