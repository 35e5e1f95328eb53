//! Detects a client that has stopped reading: for too long its socket accepts nothing and acknowledges nothing.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, time::Sleep};

use super::tcp;

/// Watches one socket while it is blocked.
#[derive(Debug)]
pub struct SendWatch {
    limit: Duration,
    /// Since when the socket is blocked, and its unacknowledged bytes at that time.
    blocked: Option<(Instant, usize)>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl SendWatch {
    /// With this timeout.
    pub fn new(limit: Duration) -> Self {
        SendWatch {
            limit,
            blocked: None,
            timer: None,
        }
    }

    /// The socket accepted bytes.
    pub fn took(&mut self) {
        self.blocked = None;
    }

    /// Call it while the socket is blocked. Ready when that has lasted too long.
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
                // The socket accepts more only when much of its buffer is free; a slow reader may still be reading.
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
