//! What happens to an accepted socket before it is a stream of requests: its place, its options, TLS.

use std::{rc::Rc, sync::Arc, time::Instant};

use tokio::net::TcpStream;

use super::{
    client::Client,
    client_stream::ClientStream,
    headers,
    http2::{Guest, frame_budget::FrameBudget, wire::Wire},
    line::ClientLine,
    policy::InForce,
    seat::Seat,
    tls::{self, Tls},
    transport::Transport,
};
use crate::traffic::published::Published;

/// A connection that was let in.
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart at once, and most are the large one"
)]
pub enum Arrived {
    /// It speaks HTTP/1.1.
    Http1(ClientStream),
    /// It speaks HTTP/2.
    Http2(Box<Guest>),
}

/// Where connections of one listener come in, on one worker.
#[derive(Clone)]
pub struct Entrance {
    /// What they meet.
    pub policy: InForce,
    /// What the actors say.
    pub published: Arc<Published>,
    /// TLS, where clients speak it.
    pub tls: Option<Arc<Tls>>,
    /// How many may be open.
    pub connections: u64,
}

impl Entrance {
    /// Lets a connection in. None where it is gone, or was turned away without an answer.
    pub async fn let_in(&self, io: TcpStream) -> Option<Arrived> {
        // A client that is gone already has no address.
        let peer = io.peer_addr().ok()?;
        let mut seat = Seat::take(Arc::clone(&self.published), self.connections);
        let counters = &self.published.counters.clients;
        if seat.over
            && let Some(tls) = &self.tls
            && tls.make_room(counters)
        {
            seat.over = false;
        }
        if seat.over {
            counters.over_limit.increment();
        }
        let policy = self.policy.load_full();
        let trusted = headers::is_trusted(peer.ip(), &policy.server.trusted_proxies);
        let bucket = Client::bucket_of(peer, trusted);
        let tuning = self.published.tuning_for(bucket).load();
        if tuning.tcp_options
            && let Err(error) = policy.tcp.apply(&io, tuning.tcp_buffers)
        {
            tracing::debug!(%error, "a client's socket refused an option");
        }
        let quickack = tuning.tcp_options && policy.tcp.quickack;
        drop(tuning);
        let io = match &self.tls {
            None => Transport::Plain(io),
            // A handshake costs more than the one too many is worth.
            Some(_) if seat.over => return None,
            Some(tls) => {
                // Boxed: it is short, and large; every connection would carry room for it.
                Transport::Tls(Box::pin(tls.accept(io, peer.ip(), &policy.tls, counters)).await?)
            }
        };
        let published = Arc::clone(&self.published);
        let client = Client::new(peer, trusted, io.is_secure(), published);
        let line = ClientLine::new(
            Arc::clone(&policy.lines),
            Arc::clone(&self.published.counters),
        );
        let limits = policy.connection_limits();
        if io.protocol() == Some(tls::H2) {
            let frames = FrameBudget::new(policy.http2.max_small_frames, Instant::now());
            return Some(Arrived::Http2(Box::new(Guest {
                wire: Wire::new(io, line, limits.send, seat, &client, frames),
                client,
                limits,
                settings: policy.http2.clone(),
                requests: self.connections,
            })));
        }
        let client = Rc::new(client);
        let stream = ClientStream::new(io, client, seat, limits, quickack, line);
        Some(Arrived::Http1(stream))
    }
}
