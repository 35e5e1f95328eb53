//! Notices a client that has stopped reading: its socket takes nothing, and acknowledges nothing, for too long.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, time::Sleep};

use super::tcp;

/// Watches over one socket while it takes nothing.
#[derive(Debug)]
pub struct SendWatch {
    limit: Duration,
    /// Since when the socket takes nothing, and what it held then.
    blocked: Option<(Instant, usize)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl SendWatch {
    /// Patient for so long.
    pub fn new(limit: Duration) -> Self {
        SendWatch {
            limit,
            blocked: None,
            timer: None,
        }
    }

    /// The socket took something.
    pub fn took(&mut self) {
        self.blocked = None;
    }

    /// To be called while the socket takes nothing. Ready when that has been so for too long.
    pub fn poll(&mut self, cx: &mut Context<'_>, io: &TcpStream) -> Poll<io::Error> {
        let limit = self.limit;
        let (mut since, mut held) = *self
            .blocked
            .get_or_insert_with(|| (Instant::now(), tcp::unacknowledged(io).unwrap_or_default()));
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until((since + limit).into())));
        while timer.as_mut().poll(cx).is_ready() {
            if since + limit <= Instant::now() {
                // The socket takes more only when a good part of it is free; a slow reader may be reading all along.
                let now_held = tcp::unacknowledged(io).unwrap_or_default();
                if now_held >= held {
                    return Poll::Ready(io::Error::new(
                        io::ErrorKind::TimedOut,
                        "the client stopped reading",
                    ));
                }
                (since, held) = (Instant::now(), now_held);
                self.blocked = Some((since, held));
            }
            timer.as_mut().reset((since + limit).into());
        }
        Poll::Pending
    }
}
