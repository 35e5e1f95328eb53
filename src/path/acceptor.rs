//! What happens to an accepted socket before it is a stream of requests: its permit, its TCP options, TLS.

use std::{rc::Rc, sync::Arc, time::Instant};

use futures_util::future::LocalBoxFuture;
use tokio::net::TcpStream;

use super::{
    client::Client,
    client_stream::ClientStream,
    connection_permit::ConnectionPermit,
    headers,
    http2::{connection::H2Connection, frame_budget::FrameBudget, transport::H2Transport},
    idle::Connections,
    line::ClientLine,
    network::Network,
    policy::InForce,
    served::Served,
    tls::{self, Tls},
    transport::Transport,
    worker::Worker,
};
use crate::traffic::published::Published;

/// A client connection, ready to be served.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart at once, and most are the large one"
)]
pub enum Accepted {
    /// It speaks HTTP/1.1.
    Http1(ClientStream),
    /// It speaks HTTP/2.
    Http2(Box<H2Connection>),
}

/// Makes client connections of the sockets that one listener accepts, on one worker.
#[derive(Clone)]
pub struct Acceptor {
    /// The policy in force: settings that they keep to.
    pub policy: InForce,
    /// What the actors decided, and the counters.
    pub published: Arc<Published>,
    /// TLS, where clients speak it.
    pub tls: Option<Arc<Tls>>,
    /// The HTTP/1.1 connections that are open, by address.
    pub open: Arc<Connections>,
    /// How many may be open at once.
    pub connections: u64,
    /// The worker that answers requests; none on the operators' own address.
    pub worker: Option<Rc<Worker>>,
    /// Makes what is ready once the process drains and idle connections are to end.
    pub leaving: Rc<dyn Fn() -> LocalBoxFuture<'static, ()>>,
}

impl Acceptor {
    /// Takes a connection on: TCP options, then the TLS handshake where clients speak TLS. None where the client is gone, or is
    /// one too many and gets no answer. One too many without TLS is given on, to be answered 503.
    pub async fn accept(&self, io: TcpStream) -> Option<Accepted> {
        // A client that is gone already has no address.
        let peer = io.peer_addr().ok()?;
        let mut permit = ConnectionPermit::take(Arc::clone(&self.published), self.connections);
        let counters = &self.published.clients;
        if permit.over
            && let Some(tls) = &self.tls
            && tls.make_room(counters)
        {
            permit.over = false;
        }
        if permit.over && self.open.make_room() {
            counters.idle_closed.increment();
            permit.over = false;
        }
        if permit.over {
            counters.over_limit.increment();
        }
        let policy = self.policy.load_full();
        let trusted = headers::is_trusted(peer.ip(), &policy.server.trusted_proxies);
        let bucket = Client::bucket_of(peer, trusted);
        let level = self.published.level_for(bucket).load();
        if level.tcp_options
            && let Err(error) = policy.tcp.apply(&io, level.tcp_buffers)
        {
            tracing::debug!(%error, "a client's socket refused an option");
        }
        let quickack = level.tcp_options && policy.tcp.quickack;
        drop(level);
        let io = match &self.tls {
            None => Transport::Plain(io),
            // A handshake costs more than the one too many is worth.
            Some(_) if permit.over => return None,
            Some(tls) => {
                // Boxed: it is short, and large; every connection would carry room for it.
                Transport::Tls(Box::pin(tls.accept(io, peer.ip(), &policy.tls, counters)).await?)
            }
        };
        let published = Arc::clone(&self.published);
        let client = Client::new(peer, trusted, io.is_secure(), published);
        let line = ClientLine::new(
            Arc::clone(&policy.lines),
            Arc::clone(&self.published.clients),
        );
        let limits = policy.connection_limits();
        let listed = (!permit.over).then(|| self.open.list(Network::of(peer.ip())));
        if io.protocol() == Some(tls::H2) {
            let frames = FrameBudget::new(policy.http2.max_small_frames, Instant::now());
            return Some(Accepted::Http2(Box::new(H2Connection {
                transport: H2Transport::new(io, line, limits.send, permit, &client, frames),
                client,
                listed,
                limits,
                settings: policy.http2.clone(),
                requests: self.connections,
            })));
        }
        let client = Rc::new(client);
        let served = Served {
            worker: self.worker.clone(),
            leaving: (self.leaving)(),
            quickack,
        };
        let stream = ClientStream::new(io, client, permit, listed, limits, line, served);
        Some(Accepted::Http1(stream))
    }
}
