//! Sends responses over a simulated [`Network`]: delays the head, limits the body's rate, and injects faults.

use std::{
    any::Any,
    future::poll_fn,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use actix_web::{
    Error, HttpResponse,
    body::{BodySize, BodyStream, BoxBody, MessageBody, SizedStream},
    dev::{Extensions, ServiceRequest, ServiceResponse},
    http::Method,
    middleware::Next,
    rt::net::TcpStream,
    web,
};
use bytes::Bytes;
use fileproxy_testbed::fault::{Break, How};
use futures_util::stream;
use tokio::time::sleep;

use super::network::{BitRate, Conditions, Fate, Fault, Network};

/// Transmission time of one piece: short, so that a slow body flows evenly.
const PIECE_TIME: Duration = Duration::from_millis(20);

/// Pieces are at least as large as a TCP segment.
const LEAST_PIECE: u64 = 1460;

/// A body of unknown length that is to be cut is cut within this many bytes.
const CUT_WITHIN: u64 = 64 * 1024;

/// State shared by all connections to an origin.
#[derive(Debug)]
pub struct Line {
    network: Network,
    seed: u64,
    started: Instant,
    requests: AtomicU64,
    total: Shaper,
}

impl Line {
    /// A line over `network`; with the same `seed`, request number `n` always has the same fate.
    pub fn new(network: Network, seed: u64, now: Instant) -> Self {
        Line {
            network,
            seed,
            started: now,
            requests: AtomicU64::new(0),
            total: Shaper::default(),
        }
    }

    fn conditions(&self, now: Instant) -> Conditions {
        self.network
            .conditions(now.saturating_duration_since(self.started))
    }

    fn next_fate(&self, now: Instant) -> Fate {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        self.conditions(now).fate(self.seed, number)
    }
}

/// State shared by the responses of one connection.
#[derive(Debug)]
pub struct Connection {
    shaper: Shaper,
    /// A second handle, to turn the close into a reset.
    socket: socket2::Socket,
}

impl Connection {
    /// Stores a handle of a new connection; for [`actix_web::HttpServer::on_connect`].
    pub fn attach(io: &dyn Any, data: &mut Extensions) {
        let Some(tcp) = io.downcast_ref::<TcpStream>() else {
            return;
        };
        _ = tcp.set_nodelay(true); // without it, pieces would wait for acknowledgements
        if let Ok(socket) = socket2::SockRef::from(tcp).try_clone() {
            data.insert(Arc::new(Connection {
                shaper: Shaper::default(),
                socket,
            }));
        }
    }

    fn reset_on_close(&self) {
        _ = self.socket.set_linger(Some(Duration::ZERO)); // closed already: nothing left to reset
    }
}

/// Limits bytes to a rate. Does not wait itself: it returns until when to wait.
#[derive(Debug, Default)]
pub struct Shaper {
    /// When everything passed so far has been transmitted.
    free: Mutex<Option<Instant>>,
}

impl Shaper {
    /// Queues `bytes` behind those on their way; returns when they have been transmitted.
    pub fn pass(&self, bytes: u64, rate: BitRate, now: Instant) -> Instant {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = free.map_or(now, |free| free.max(now)) + rate.time(bytes);
        *free = Some(passed);
        passed
    }
}

/// The middleware: sends each response of `next` over the [`Line`] in the application's data.
pub async fn carry(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let Some(line) = request.app_data::<web::Data<Line>>().cloned() else {
        return next
            .call(request)
            .await
            .map(ServiceResponse::map_into_boxed_body);
    };
    let fate = line.next_fate(Instant::now());
    sleep(fate.delay).await;
    if fate.fault == Some(Fault::Unavailable) {
        let answer = HttpResponse::ServiceUnavailable().body("out of order for a moment\n");
        return Ok(request.into_response(answer));
    }
    let connection = request.conn_data::<Arc<Connection>>().cloned();
    let without_body = request.method() == Method::HEAD;
    let response = next.call(request).await?;
    Ok(response.map_body(|_, body| {
        let body = body.boxed();
        let size = body.size();
        if without_body || size.is_eof() {
            return body;
        }
        let breaks_at = fate.fault.and_then(|fault| break_point(fault, size));
        let shaped = line.conditions(Instant::now()).connection_rate.is_some();
        if !shaped && breaks_at.is_none() && line.network != Network::Changing {
            return body;
        }
        let passage = Passage {
            body,
            at_hand: Bytes::new(),
            sent: 0,
            breaks_at,
            line: line.into_inner(),
            connection,
        };
        let pieces = stream::try_unfold(passage, |mut passage| async move {
            let piece = passage.next().await?;
            Ok::<_, io::Error>(piece.map(|piece| (piece, passage)))
        });
        match size {
            BodySize::Sized(len) => SizedStream::new(len, Box::pin(pieces)).boxed(),
            _ => BodyStream::new(Box::pin(pieces)).boxed(),
        }
    }))
}

/// Where a body of this size breaks.
fn break_point(fault: Fault, size: BodySize) -> Option<Break> {
    let Fault::Broken(share, how) = fault else {
        return None;
    };
    let len = match size {
        BodySize::Sized(len) => len,
        _ => CUT_WITHIN,
    };
    Some(Break::after(share, len, how))
}

/// A body that is being sent.
struct Passage {
    body: BoxBody,
    /// Taken from the body, but not sent yet.
    at_hand: Bytes,
    sent: u64,
    breaks_at: Option<Break>,
    line: Arc<Line>,
    connection: Option<Arc<Connection>>,
}

impl Passage {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        while self.at_hand.is_empty() {
            match poll_fn(|cx| Pin::new(&mut self.body).poll_next(cx)).await {
                Some(Ok(bytes)) => self.at_hand = bytes,
                Some(Err(error)) => return Err(io::Error::other(error.to_string())),
                None => return Ok(None),
            }
        }
        let now = Instant::now();
        let conditions = self.line.conditions(now);
        let mut piece = match conditions.connection_rate {
            Some(rate) => rate.bytes_in(PIECE_TIME).max(LEAST_PIECE),
            None => self.at_hand.len() as u64,
        };
        if let Some(Break { at, how }) = self.breaks_at {
            if self.sent >= at {
                return Err(self.break_off(how).await);
            }
            piece = piece.min(at - self.sent);
        }
        let piece = self
            .at_hand
            .split_to(self.at_hand.len().min(piece as usize));
        let len = piece.len() as u64;
        let mut passed = now;
        if let (Some(rate), Some(connection)) = (conditions.connection_rate, &self.connection) {
            passed = passed.max(connection.shaper.pass(len, rate, now));
        }
        if let Some(rate) = conditions.total_rate {
            passed = passed.max(self.line.total.pass(len, rate, now));
        }
        let wait = passed.saturating_duration_since(now);
        if !wait.is_zero() {
            sleep(wait).await;
        }
        self.sent += len;
        Ok(Some(piece))
    }

    async fn break_off(&self, how: How) -> io::Error {
        // a pause in which the server writes what was sent so far
        sleep(PIECE_TIME).await;
        match (how, &self.connection) {
            (How::Reset, Some(connection)) => connection.reset_on_close(),
            (How::Stall(lasting), _) => sleep(lasting).await,
            _ => {}
        }
        io::Error::new(
            io::ErrorKind::ConnectionReset,
            "broken by the demo's network",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shaper_spaces_bytes_by_its_rate() {
        let shaper = Shaper::default();
        let now = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(shaper.pass(125_000, BitRate::mbit(1), now), now + second);
        assert_eq!(
            shaper.pass(125_000, BitRate::mbit(1), now),
            now + 2 * second
        );
    }

    #[test]
    fn an_idle_shaper_saves_nothing_up() {
        let shaper = Shaper::default();
        let now = Instant::now();
        shaper.pass(1, BitRate::mbit(1), now);
        let later = now + Duration::from_secs(60);
        assert_eq!(
            shaper.pass(125_000, BitRate::mbit(1), later),
            later + Duration::from_secs(1)
        );
    }
}
