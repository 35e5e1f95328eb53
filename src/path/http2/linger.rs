//! The end of a connection. A socket that is closed over bytes it has not read is reset, and a reset throws away what
//! the kernel still had to send; so what the client still says is read until it has taken all and leaves.

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

/// How long a client that has everything may be silent.
const SILENT: Duration = Duration::from_secs(5);
/// How often it is asked what the client has taken.
const LOOK: Duration = Duration::from_secs(1);
/// The most that is read of a client that was told to leave, in bytes: opening its windows takes 13 of them at a time.
const MOST: u64 = 256 * 1024;

/// Waits, after the last byte was written, for the client to leave.
#[derive(Debug)]
pub struct Linger {
    /// How long a client may take nothing of what is left.
    patience: Duration,
    timer: Pin<Box<Sleep>>,
    /// What the kernel had to send, or to send again, when it was asked last.
    held: usize,
    /// When the client last said or took something.
    moved: Instant,
    read: u64,
}

impl Linger {
    /// Begins now.
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
