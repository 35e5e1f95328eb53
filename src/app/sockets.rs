//! The sockets that the process listens on, and what each of them serves.

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

/// How long a handshake may take that is under way when no further one is begun: a few round trips.
const HANDSHAKES: Duration = Duration::from_millis(500);
/// How long connections may wait to be accepted after that.
const BACKLOG: Duration = Duration::from_secs(1);
/// How often it is looked whether some still do.
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
    /// Those of `server.listen`, or those that systemd handed over: at least one.
    pub public: Vec<TcpListener>,
    /// The operators' own: `admin.listen`, or the one that systemd handed over.
    own: Option<TcpListener>,
    /// Where the endpoints are beside the public address: `admin.local`.
    local: Option<TcpListener>,
    /// Those that were opened here, once more: they are closed in order at the end. What waits in the others, which stay
    /// with systemd, is for the process after this one.
    opened: Vec<TcpListener>,
}

impl Sockets {
    /// Takes those that were handed over, and opens the rest.
    ///
    /// # Errors
    ///
    /// [`ListenError`], in words that say what to do. That `admin.local` cannot be had is only told.
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

    /// The operators' endpoints are on the public address, too: what is missing is a convenience.
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

    /// All of them, with what they serve, and what closes them in order.
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

    /// Where they listen.
    pub fn places(&self) -> Places {
        Places {
            public: addresses(&self.public).collect(),
            own: self.own.as_ref().and_then(|own| own.local_addr().ok()),
            local: self.local.as_ref().and_then(|own| own.local_addr().ok()),
        }
    }
}

/// Closes sockets that are accepted from until then, so that no client is dropped that believes to be connected.
#[derive(Debug, Default)]
pub struct Closing(Vec<TcpListener>);

impl Closing {
    /// Takes no further connection, and waits until all who are connected are accepted. The sockets are closed by whoever
    /// accepts from them.
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

/// Where the process listens.
#[derive(Clone, Debug)]
pub struct Places {
    /// For clients: at least one.
    pub public: Vec<SocketAddr>,
    own: Option<SocketAddr>,
    local: Option<SocketAddr>,
}

impl Places {
    /// Where the operators' endpoints are for who does not care which: on an address of their own, or else on this machine's,
    /// or else on the public one.
    pub fn operators(&self) -> SocketAddr {
        let apart = self.own.or(self.local);
        apart.unwrap_or_else(|| {
            self.public
                .first()
                .copied()
                .unwrap_or(([0, 0, 0, 0], 0).into())
        })
    }

    /// The dashboard's link for a browser on this machine. `is_tls` says whether clients speak TLS.
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
