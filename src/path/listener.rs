//! The listening socket.

use std::{
    env, io,
    net::{SocketAddr, TcpListener},
};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

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
    /// The operators' address is the clients', too.
    #[error(
        "admin.listen {operators} is the clients' address {clients}, too: give the operators another port, or none"
    )]
    Same {
        /// That of admin.listen.
        operators: SocketAddr,
        /// Where clients are listened for.
        clients: SocketAddr,
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

/// Sockets that listen already, handed over by systemd (sd_listen_fds(3)): connections wait in them while the process is
/// started anew.
#[derive(Debug, Default)]
pub struct Inherited {
    /// For clients: those called `public` (`FileDescriptorName=`), or the first one.
    pub public: Vec<TcpListener>,
    /// For operators: the one called `admin`, or one of another name that is not the first.
    pub operators: Option<TcpListener>,
}

impl Inherited {
    /// Takes what there is. Call it once, before there are threads.
    ///
    /// # Errors
    ///
    /// A descriptor that is no listening TCP socket, or one too many.
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

/// Takes no further connection: the first packet of one (SYN) is not heard from now on. Handshakes under way go on, so that
/// everybody who believes to be connected comes to be accepted. Who is not heard tries again, and is refused once the socket
/// is closed. Not for a socket that somebody else keeps: the kernel does not forget it.
///
/// # Errors
///
/// The kernel takes no filter.
pub fn refuse_new(socket: &TcpListener) -> io::Result<()> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const IF_SET: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    // The filter sees the TCP header (RFC 9293 §3.1). Its byte 13 has the flags, and a first packet has no ACK.
    const FLAGS: u32 = 13;
    const ACK: u32 = 0x10;
    SockRef::from(socket).attach_filter(&[
        SockFilter::new(LOAD, 0, 0, FLAGS),
        SockFilter::new(IF_SET, 0, 1, ACK),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ])
}

/// Checks that the operators' address is not the clients'.
///
/// # Errors
///
/// [`ListenError::Same`], also where one of them stands for all addresses.
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
    listen_as(address, true, backlog, key)
}

/// The same; an unspecified IPv6 address leaves IPv4 to another socket.
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
