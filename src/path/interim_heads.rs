//! Interim responses (1xx, RFC 9110 §15.2) that wait to be written to an HTTP/1.1 client.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_http::{
    StatusCode,
    header::{HeaderName, HeaderValue},
};
use bytes::{Buf as _, BytesMut};
use tokio::io::AsyncWrite;

/// The most bytes that wait.
const MOST: usize = 16 * 1024;

/// Heads of interim responses in HTTP/1.1 form.
#[derive(Debug, Default)]
pub(super) struct InterimHeads(BytesMut);

impl InterimHeads {
    /// Whether there is no room for another one.
    pub fn is_full(&self) -> bool {
        self.0.len() > MOST
    }

    /// Adds one.
    pub fn push<'a>(
        &mut self,
        status: StatusCode,
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    ) {
        let reason = status.canonical_reason().unwrap_or_default();
        let line = format!("HTTP/1.1 {} {reason}\r\n", status.as_str());
        self.0.extend_from_slice(line.as_bytes());
        for (name, value) in fields {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                self.0.extend_from_slice(part);
            }
        }
        self.0.extend_from_slice(b"\r\n");
    }

    /// Writes what waits. Ready when nothing is left.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while !self.0.is_empty() {
            match ready!(Pin::new(&mut *io).poll_write(cx, &self.0))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.0.advance(n),
            }
        }
        Poll::Ready(Ok(()))
    }
}
