//! Listening sockets.

use std::{
    env, io,
    net::{SocketAddr, TcpListener},
};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

/// Why the proxy cannot listen on an address.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The port is in use.
    #[error("{address} is taken: another process listens there (see `ss -ltnp`), or set {key}")]
    Taken {
        /// The address.
        address: SocketAddr,
        /// The setting that it is from.
        key: &'static str,
    },
    /// `admin.listen` is the same address as one of `server.listen`.
    #[error(
        "admin.listen {operators} is the clients' address {clients}, too: give the operators another port, or none"
    )]
    Same {
        /// The address of `admin.listen`.
        operators: SocketAddr,
        /// The address of `server.listen`.
        clients: SocketAddr,
    },
    /// Ports under 1024 need privileges.
    #[error(
        "{0} needs more rights: ports under 1024 are for root, or for a process with CAP_NET_BIND_SERVICE"
    )]
    Forbidden(SocketAddr),
    /// The address does not belong to this machine.
    #[error("{address} is not an address of this machine: set {key}")]
    NotHere {
        /// The address.
        address: SocketAddr,
        /// The setting that it is from.
        key: &'static str,
    },
    /// Any other system error.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// Listening sockets passed by systemd (socket activation, sd_listen_fds(3)): connections wait in them while the process restarts.
#[derive(Debug, Default)]
pub struct Inherited {
    /// For clients: the sockets named `public` (`FileDescriptorName=`), or the first one.
    pub public: Vec<TcpListener>,
    /// For operators: the socket named `admin`, or one with another name that is not the first.
    pub operators: Option<TcpListener>,
}

impl Inherited {
    /// Takes the sockets from the environment. Call it once, before any thread is started.
    ///
    /// # Errors
    ///
    /// A descriptor that is not a listening TCP socket, or one too many.
    pub fn take() -> io::Result<Self> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut handed = ListenFd::from_env();
        let mut inherited = Self::default();
        for at in 0..handed.len() {
            let name = names.next().unwrap_or_default();
            let Some(listener) = handed.take_tcp_listener(at)? else {
                continue;
            };
            listener.set_nonblocking(true)?;
            let is_public = name == "public" || name != "admin" && inherited.public.is_empty();
            if is_public {
                inherited.public.push(listener);
            } else if inherited.operators.replace(listener).is_some() {
                return Err(io::Error::other(
                    "two sockets for operators: call one admin, and all those for clients public",
                ));
            }
        }
        Ok(inherited)
    }
}

/// Ignores new connections: their SYN is dropped by a packet filter, while handshakes under way complete, so that every client that
/// believes to be connected is accepted. Clients that are ignored retry, and are refused once the socket is closed. Not for
/// inherited sockets: the filter would outlive the process.
///
/// # Errors
///
/// The kernel refuses the filter.
pub fn refuse_new(socket: &TcpListener) -> io::Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const IF_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    // The filter sees the TCP header (RFC 9293 §3.1). Byte 13 holds the flags, and an initial SYN has no ACK.
    const FLAGS: u32 = 13;
    const ACK: u32 = 0x10;
    SockRef::from(socket).attach_filter(&[
        SockFilter::new(LOAD, 0, 0, FLAGS),
        SockFilter::new(IF_SET, 0, 1, ACK),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ])
}

/// Checks that the operators' address differs from the clients'.
///
/// # Errors
///
/// [`ListenError::Same`], also if one of them is a wildcard address with the same port.
pub fn check_apart(operators: SocketAddr, clients: SocketAddr) -> Result<(), ListenError> {
    let covers = |one: SocketAddr, other: SocketAddr| {
        let any = one.ip().is_unspecified() && (one.is_ipv6() || other.is_ipv4());
        any || one.ip() == other.ip()
    };
    let overlap = covers(operators, clients) || covers(clients, operators);
    if overlap && operators.port() == clients.port() {
        return Err(ListenError::Same { operators, clients });
    }
    Ok(())
}

/// Listens on `address`, which the setting `key` names. An IPv6 wildcard address accepts IPv4 too.
///
/// # Errors
///
/// [`ListenError`], in words that say what to do.
pub fn listen(
    address: SocketAddr,
    backlog: u32,
    key: &'static str,
) -> Result<TcpListener, ListenError> {
    listen_as(address, true, backlog, key)
}

/// Like [`listen`], but an IPv6 wildcard address does not accept IPv4.
///
/// # Errors
///
/// [`ListenError`], in words that say what to do.
pub fn listen_ipv6_only(
    address: SocketAddr,
    backlog: u32,
    key: &'static str,
) -> Result<TcpListener, ListenError> {
    listen_as(address, false, backlog, key)
}

fn listen_as(
    address: SocketAddr,
    is_dual: bool,
    backlog: u32,
    key: &'static str,
) -> Result<TcpListener, ListenError> {
    try_listen(address, is_dual, backlog).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken { address, key },
        io::ErrorKind::PermissionDenied => ListenError::Forbidden(address),
        io::ErrorKind::AddrNotAvailable => ListenError::NotHere { address, key },
        _ => ListenError::Other { address, source },
    })
}

fn try_listen(address: SocketAddr, is_dual: bool, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(!is_dual)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
