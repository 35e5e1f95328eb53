//! The listening socket.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Why the proxy cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else has the port.
    #[error("{address} is taken: another process listens there (see `ss -ltnp`), or set {key}")]
    Taken {
        /// The address.
        address: SocketAddr,
        /// The setting that it is from.
        key: &'static str,
    },
    /// The port is for root.
    #[error(
        "{0} needs more rights: ports under 1024 are for root, or for a process with CAP_NET_BIND_SERVICE"
    )]
    Forbidden(SocketAddr),
    /// The address is not this machine's.
    #[error("{address} is not an address of this machine: set {key}")]
    NotHere {
        /// The address.
        address: SocketAddr,
        /// The setting that it is from.
        key: &'static str,
    },
    /// Anything else that the system says.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// Listens on `address`, which the setting `key` names. An unspecified IPv6 address takes IPv4 too.
///
/// # Errors
///
/// [`ListenError`], in words that say what to do.
pub fn listen(
    address: SocketAddr,
    backlog: u32,
    key: &'static str,
) -> Result<TcpListener, ListenError> {
    try_listen(address, backlog).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken { address, key },
        io::ErrorKind::PermissionDenied => ListenError::Forbidden(address),
        io::ErrorKind::AddrNotAvailable => ListenError::NotHere { address, key },
        _ => ListenError::Other { address, source },
    })
}

fn try_listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
