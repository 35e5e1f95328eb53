//! TCP options, for both sides of the proxy.

mod kernel;

use std::{fmt, io, mem::MaybeUninit, os::fd::AsFd, str::FromStr, time::Duration};

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use socket2::{SockRef, TcpKeepalive};

pub use kernel::Info;

use crate::reloadable::reloadable;

/// Which TCP options are set, if the level sets them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// TCP_NODELAY: a small last segment is sent at once.
    pub nodelay: bool,
    /// TCP_QUICKACK, set again after reads, because the kernel clears it.
    pub quickack: bool,
    /// SO_KEEPALIVE: detects a peer that vanished.
    pub keepalive: bool,
    /// Idle time before the first keep-alive probe.
    #[serde(with = "humantime_serde")]
    pub keepalive_time: Duration,
    /// Time between two keep-alive probes.
    #[serde(with = "humantime_serde")]
    pub keepalive_interval: Duration,
    /// SO_SNDBUF at level medium; at high the kernel's autotuning is faster and stays on.
    pub send_buffer: BufferSize,
    /// SO_RCVBUF at level medium; at high the kernel's autotuning is faster and stays on.
    pub receive_buffer: BufferSize,
}

reloadable!(Settings {
    nodelay: NextConnection,
    quickack: NextConnection,
    keepalive: NextConnection,
    keepalive_time: NextConnection,
    keepalive_interval: NextConnection,
    send_buffer: NextConnection,
    receive_buffer: NextConnection,
});

/// A socket buffer: a size, or `auto` to leave it to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufferSize {
    /// The kernel's autotuning.
    Auto,
    /// Fixed, in bytes; the kernel doubles it for its own needs.
    Fixed(ByteSize),
}

/// A string that is not a buffer size.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a buffer size: give auto, or 4KiB to 16MiB with its unit")]
pub struct NotABufferSize(String);

impl FromStr for BufferSize {
    type Err = NotABufferSize;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        if word == "auto" {
            return Ok(BufferSize::Auto);
        }
        let size = crate::units::size(word).map_err(|_| NotABufferSize(word.to_owned()))?;
        if !(4 * 1024..=16 * 1024 * 1024).contains(&size.as_u64()) {
            return Err(NotABufferSize(word.to_owned()));
        }
        Ok(BufferSize::Fixed(size))
    }
}

impl fmt::Display for BufferSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BufferSize::Auto => f.write_str("auto"),
            BufferSize::Fixed(size) => f.write_str(&crate::units::readable_size(*size)),
        }
    }
}

impl Serialize for BufferSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BufferSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

impl Settings {
    /// Sets the options on a socket; `fixed_buffers` says whether the buffers are set too.
    ///
    /// # Errors
    ///
    /// The first option that the kernel refused.
    pub fn apply(&self, socket: &impl AsFd, fixed_buffers: bool) -> io::Result<()> {
        let socket = SockRef::from(socket);
        socket.set_tcp_nodelay(self.nodelay)?;
        if self.quickack {
            socket.set_tcp_quickack(true)?;
        }
        if self.keepalive {
            socket.set_tcp_keepalive(
                &TcpKeepalive::new()
                    .with_time(self.keepalive_time)
                    .with_interval(self.keepalive_interval),
            )?;
        }
        if fixed_buffers {
            self.apply_buffers(&socket)?;
        }
        Ok(())
    }

    fn apply_buffers(&self, socket: &SockRef<'_>) -> io::Result<()> {
        if let BufferSize::Fixed(size) = self.send_buffer {
            socket.set_send_buffer_size(size.as_u64() as usize)?;
        }
        if let BufferSize::Fixed(size) = self.receive_buffer {
            socket.set_recv_buffer_size(size.as_u64() as usize)?;
        }
        Ok(())
    }
}

/// Sets TCP_QUICKACK again. A failure only delays an acknowledgement.
pub fn rearm_quickack(socket: &impl AsFd) {
    _ = SockRef::from(socket).set_tcp_quickack(true);
}

/// Bytes handed to the kernel that the peer has not acknowledged yet (SIOCOUTQ).
///
/// # Errors
///
/// The system call fails.
pub fn unacknowledged(socket: &impl AsFd) -> io::Result<usize> {
    kernel::unacknowledged(socket.as_fd())
}

/// What the kernel knows about a connection (TCP_INFO).
///
/// # Errors
///
/// The system call fails.
pub fn info(socket: &impl AsFd) -> io::Result<Info> {
    kernel::info(socket.as_fd())
}

/// Whether the kernel has neither data nor an end for a socket.
pub fn is_silent(socket: &impl AsFd) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    let peeked = SockRef::from(socket).recv_with_flags(&mut byte, flags);
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
