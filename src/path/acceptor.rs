//! Turns an accepted socket into a client connection that can be served: connection permit, TCP options, TLS handshake.

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

/// A client connection after its TLS handshake, by the HTTP version that ALPN chose (HTTP/1.1 without TLS).
pub enum Accepted {
    /// HTTP/1.1.
    Http1(Box<ClientStream>),
    /// HTTP/2.
    Http2(Box<H2Connection>),
}

/// Prepares the sockets that one listener accepts, on one worker.
#[derive(Clone)]
pub struct Acceptor {
    /// The settings that apply to new connections; replaced as a whole by a reload.
    pub policy: InForce,
    /// The levels in force and the client counters, shared by all workers.
    pub published: Arc<Published>,
    /// TLS, where clients speak it.
    pub tls: Option<Arc<Tls>>,
    /// All open HTTP/1.1 connections by network; used to close idle ones when the limit is reached.
    pub open: Arc<Connections>,
    /// The most client connections that may be open at once (`server.max_connections`).
    pub connections: u64,
    /// The worker that answers requests; none on the operators' own address (`admin.listen`).
    pub worker: Option<Rc<Worker>>,
    /// Makes a future that completes when the process drains and idle connections are to be closed.
    pub leaving: Rc<dyn Fn() -> LocalBoxFuture<'static, ()>>,
}

impl Acceptor {
    /// Prepares one connection: TCP options, then the TLS handshake if this listener has TLS. `None` if the client has left, or if
    /// a TLS connection is over the limit. A connection over the limit without TLS is passed on, to be answered with 503.
    pub async fn accept(&self, io: TcpStream) -> Option<Accepted> {
        // Fails only if the client has already disconnected.
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
        let mut io = match &self.tls {
            None => Transport::Plain(io),
            // Over the limit: a handshake, only to answer 503, would cost too much.
            Some(_) if permit.over => return None,
            Some(tls) => {
                // Boxed, because the handshake future is large and short-lived; otherwise every connection would reserve space for
                // it.
                Transport::tls(Box::pin(tls.accept(io, peer.ip(), &policy.tls, counters)).await?)
            }
        };
        let published = Arc::clone(&self.published);
        let client = Client::new(peer, trusted, io.is_secure(), published);
        let line = ClientLine::new(
            Arc::clone(&policy.lines),
            Arc::clone(&self.published),
            peer.ip(),
            &mut io,
            client.follows_lines(),
        );
        client.class.set(line.class());
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
        Some(Accepted::Http1(Box::new(stream)))
    }
}
