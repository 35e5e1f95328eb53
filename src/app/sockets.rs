//! The listening sockets, and what each of them serves.

use std::{
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use super::browser;
use crate::{
    api::admin,
    path::{
        addresses::Addresses,
        listener::{self, Inherited, ListenError, check_apart},
        server, tcp,
    },
};

/// Time for TCP handshakes under way to complete after new ones are ignored: a few round trips.
const HANDSHAKES: Duration = Duration::from_millis(500);
/// The longest time after that for the accept queue to become empty.
const BACKLOG: Duration = Duration::from_secs(1);
/// How often the accept queue is checked.
const LOOK: Duration = Duration::from_millis(10);

/// What a socket serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// The origin's files and the operators' endpoints.
    Both,
    /// The origin's files.
    Files,
    /// The operators' endpoints.
    Operators,
}

/// The sockets that the process listens on.
#[derive(Debug)]
pub struct Sockets {
    /// The sockets of `server.listen`, or inherited from systemd: at least one.
    pub public: Vec<TcpListener>,
    /// The socket of `admin.listen`, or inherited from systemd.
    own: Option<TcpListener>,
    /// The socket of `admin.local`.
    local: Option<TcpListener>,
    /// Duplicates of the sockets opened here, for an orderly close. Inherited ones stay with systemd, which keeps their accept
    /// queue for the next process.
    opened: Vec<TcpListener>,
}

impl Sockets {
    /// Opens the sockets in the settings that were not `handed` over by systemd.
    ///
    /// # Errors
    ///
    /// [`ListenError`], with a message that says what to do. A failure of `admin.local` is only logged.
    pub fn open(
        server: &server::Settings,
        admin: &admin::Settings,
        handed: Inherited,
    ) -> Result<Self, ListenError> {
        let mut opened = Vec::new();
        let public = if handed.public.is_empty() {
            let public = public(&server.listen, server.backlog)?;
            opened.extend(public.iter().flat_map(TcpListener::try_clone));
            public
        } else {
            handed.public
        };
        let own = match (handed.operators, admin.listen) {
            (Some(own), _) => Some(own),
            (None, Some(own)) => {
                for clients in addresses(&public) {
                    check_apart(own, clients)?;
                }
                let own = listener::listen(own, server.backlog, "admin.listen")?;
                opened.extend(own.try_clone());
                Some(own)
            }
            (None, None) => None,
        };
        let mut sockets = Sockets {
            public,
            own,
            local: None,
            opened,
        };
        if let (None, Some(local)) = (&sockets.own, admin.local) {
            sockets.open_local(local, server.backlog);
        }
        Ok(sockets)
    }

    /// Opens `admin.local`. It is a convenience, because the endpoints are on the public address, too: so a failure is not an
    /// error.
    fn open_local(&mut self, local: SocketAddr, backlog: u32) {
        if addresses(&self.public).any(|clients| check_apart(local, clients).is_err()) {
            return;
        }
        match listener::listen(local, backlog, "admin.local") {
            Ok(socket) => {
                self.opened.extend(socket.try_clone());
                self.local = Some(socket);
            }
            Err(error) => {
                tracing::warn!(%error, "the operators' endpoints are on the public address alone");
            }
        }
    }

    /// All sockets with what each serves, and their orderly close.
    pub fn into_all(self) -> (impl Iterator<Item = (TcpListener, Serves)>, Closing) {
        let public = match self.own {
            Some(_) => Serves::Files,
            None => Serves::Both,
        };
        let operators = self.own.into_iter().chain(self.local);
        let public = self.public.into_iter().map(move |socket| (socket, public));
        let operators = operators.map(|socket| (socket, Serves::Operators));
        (public.chain(operators), Closing(self.opened))
    }

    /// The addresses they listen on.
    pub fn addresses(&self) -> ListenAddresses {
        ListenAddresses {
            public: addresses(&self.public).collect(),
            own: self.own.as_ref().and_then(|own| own.local_addr().ok()),
            local: self.local.as_ref().and_then(|own| own.local_addr().ok()),
        }
    }
}

/// Closes sockets without dropping clients that are already connected.
#[derive(Debug, Default)]
pub struct Closing(Vec<TcpListener>);

impl Closing {
    /// Makes the kernel ignore new connections, and waits until completed ones are accepted. The server closes the sockets
    /// themselves.
    pub async fn close(self) {
        for socket in &self.0 {
            if let Err(error) = listener::refuse_new(socket) {
                tracing::debug!(%error, "connections come until the socket is closed");
            }
        }
        if self.0.is_empty() {
            return;
        }
        tokio::time::sleep(HANDSHAKES).await;
        let until = Instant::now() + BACKLOG;
        let waits = |socket| tcp::info(socket).is_ok_and(|info| info.backlog() > 0);
        while Instant::now() < until && self.0.iter().any(waits) {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// The addresses that the process listens on.
#[derive(Clone, Debug)]
pub struct ListenAddresses {
    /// The addresses for clients: at least one.
    pub public: Vec<SocketAddr>,
    own: Option<SocketAddr>,
    local: Option<SocketAddr>,
}

impl ListenAddresses {
    /// An address of the operators' endpoints: `admin.listen`, else `admin.local`, else the first public one.
    pub fn operators(&self) -> SocketAddr {
        let apart = self.own.or(self.local);
        apart.unwrap_or_else(|| {
            self.public
                .first()
                .copied()
                .unwrap_or(([0, 0, 0, 0], 0).into())
        })
    }

    /// The URL of the dashboard for a browser on this machine; none if browsers refuse all ports. `is_tls`: the public addresses
    /// use TLS.
    pub fn monitor(&self, is_tls: bool) -> Option<String> {
        let apart: Vec<_> = self.own.into_iter().chain(self.local).collect();
        let on_public = || match self.own {
            Some(_) => None,
            None => browser::monitor(&self.public, is_tls),
        };
        browser::monitor(&apart, false).or_else(on_public)
    }
}

fn addresses(sockets: &[TcpListener]) -> impl Iterator<Item = SocketAddr> {
    sockets.iter().filter_map(|socket| socket.local_addr().ok())
}

fn public(listen: &Addresses, backlog: u32) -> Result<Vec<TcpListener>, ListenError> {
    let open = |address| {
        if listen.splits_families(address) {
            listener::listen_ipv6_only(address, backlog, "server.listen")
        } else {
            listener::listen(address, backlog, "server.listen")
        }
    };
    listen.iter().map(open).collect()
}
