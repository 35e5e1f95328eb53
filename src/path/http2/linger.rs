//! The close of a connection. Closing a socket with unread bytes sends a reset, which discards what the kernel has not delivered
//! yet. So the client's bytes are read and discarded until it has received everything and closes.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead as _, ReadBuf},
    time::Sleep,
};

use crate::path::{tcp, transport::Transport};

/// How long a client that has received everything may stay silent.
const SILENT: Duration = Duration::from_secs(5);
/// How often the kernel is asked what the client has received.
const LOOK: Duration = Duration::from_secs(1);
/// The most bytes read from a client that was told to close; one window update takes 13 of them.
const MOST: u64 = 256 * 1024;

/// Waits for the client to close after the last byte was written.
#[derive(Debug)]
pub struct Linger {
    /// How long the client may acknowledge nothing of what is left.
    patience: Duration,
    timer: Pin<Box<Sleep>>,
    /// Unacknowledged bytes in the kernel, when it was last asked.
    held: usize,
    /// When the client last sent or acknowledged something.
    moved: Instant,
    read: u64,
}

impl Linger {
    /// Starts now.
    pub fn new(patience: Duration, io: &Transport) -> Self {
        Linger {
            patience,
            timer: Box::pin(tokio::time::sleep(LOOK)),
            held: tcp::unacknowledged(io.tcp()).unwrap_or_default(),
            moved: Instant::now(),
            read: 0,
        }
    }

    /// Ready when the socket can be closed.
    pub fn poll(&mut self, cx: &mut Context<'_>, io: &mut Transport) -> Poll<()> {
        let mut scratch = [0; 4096];
        loop {
            let mut piece = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *io).poll_read(cx, &mut piece) {
                Poll::Ready(Ok(())) if !piece.filled().is_empty() => {
                    self.read += piece.filled().len() as u64;
                    self.moved = Instant::now();
                    if self.read > MOST {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            let held = tcp::unacknowledged(io.tcp()).unwrap_or_default();
            if held < self.held {
                self.moved = now;
            }
            self.held = held;
            let patience = if held > 0 { self.patience } else { SILENT };
            if now.saturating_duration_since(self.moved) >= patience {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset((now + LOOK).into());
        }
    }
}
