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
    #[error("{0} is taken: another process listens there (see `ss -ltnp`), or set server.listen")]
    Taken(SocketAddr),
    /// The port is for root.
    #[error(
        "{0} needs more rights: ports under 1024 are for root, or for a process with CAP_NET_BIND_SERVICE"
    )]
    Forbidden(SocketAddr),
    /// The address is not this machine's.
    #[error("{0} is not an address of this machine: set server.listen")]
    NotHere(SocketAddr),
    /// Anything else that the system says.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// Listens on `address`. An unspecified IPv6 address takes IPv4 too.
///
/// # Errors
///
/// [`ListenError`], in words that say what to do.
pub fn listen(address: SocketAddr, backlog: u32) -> Result<TcpListener, ListenError> {
    try_listen(address, backlog).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken(address),
        io::ErrorKind::PermissionDenied => ListenError::Forbidden(address),
        io::ErrorKind::AddrNotAvailable => ListenError::NotHere(address),
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
