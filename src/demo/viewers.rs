//! Simulated viewers of the stream: each loads segments in real time and compares every byte with the expected one, so that
//! truncated segments are detected even if they looked complete.

use std::{
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use awc::{
    Client, Connector,
    error::{PayloadError, SendRequestError},
    http::{StatusCode, header::CONTENT_LENGTH},
};
use bytes::Bytes;
use fileproxy_testbed::{playback::Playback, playlist::segments};
use futures_util::{StreamExt, future::join_all};
use tokio::{
    sync::oneshot,
    time::{sleep, timeout},
};

use super::hls::{self, STREAM};

/// Timeout for a response head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time without a byte of a response body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Delay after a failure.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Segments to load before playback starts.
const SEGMENTS_TO_START: u32 = 2;
/// A segment that failed this often is skipped.
const ATTEMPTS: u32 = 5;
/// The largest playlist that is read, in bytes.
const PLAYLIST_LIMIT: usize = 1024 * 1024;

/// Players on their own thread. They stop when dropped.
#[derive(Debug)]
pub struct Viewers {
    seats: Arc<Seats>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The results of each viewer. The lock is held for a few instructions, never across an await.
#[derive(Debug)]
struct Seats(Mutex<Vec<Seat>>);

impl Seats {
    fn lock(&self) -> MutexGuard<'_, Vec<Seat>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Debug)]
struct Seat {
    playback: Playback,
    segments: u64,
    bytes: u64,
    failed: u64,
    wrong: u64,
}

impl Viewers {
    /// Starts `count` players of the stream at `base`, a URL without a trailing slash.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub fn start(base: String, count: usize) -> io::Result<Viewers> {
        let seat = Seat {
            playback: Playback::new(SEGMENTS_TO_START, Instant::now()),
            segments: 0,
            bytes: 0,
            failed: 0,
            wrong: 0,
        };
        let seats = Arc::new(Seats(Mutex::new(vec![seat; count])));
        let (stop, stopped) = oneshot::channel();
        let shared = seats.clone();
        let thread = thread::Builder::new()
            .name("demo-viewers".into())
            .spawn(move || {
                actix_rt::System::new().block_on(async {
                    tokio::select! {
                        () = watch_all(base, count, &shared) => {}
                        _ = stopped => {}
                    }
                });
            })?;
        Ok(Viewers {
            seats,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// The results so far.
    pub fn summary(&self) -> Summary {
        let now = Instant::now();
        let seats = self.seats.lock();
        let mut summary = Summary {
            viewers: seats.len(),
            ..Summary::default()
        };
        for seat in seats.iter() {
            let progress = seat.playback.progress(now);
            summary.segments += seat.segments;
            summary.bytes += seat.bytes;
            summary.failed += seat.failed;
            summary.wrong += seat.wrong;
            summary.played += progress.played;
            summary.stalls += progress.stalls;
            summary.stalled += progress.stalled;
        }
        summary
    }

    /// Stops the viewers and returns their results.
    pub fn stop(mut self) -> Summary {
        self.end();
        self.summary()
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            _ = stop.send(()); // fails if they have stopped already
        }
        if let Some(thread) = self.thread.take() {
            _ = thread.join(); // a panic was printed there
        }
    }
}

impl Drop for Viewers {
    fn drop(&mut self) {
        self.end();
    }
}

/// The results of all viewers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of players.
    pub viewers: usize,
    /// Segments that arrived complete.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Attempts that failed visibly: no connection, no 200, a body that was cut or stalled.
    pub failed: u64,
    /// Segments that seemed complete but differ from the origin's. Anything but 0 is a bug of the proxy.
    pub wrong: u64,
    /// Time played, for all viewers together.
    pub played: Duration,
    /// Number of stalls.
    pub stalls: u64,
    /// Total time of stalls, for all viewers together.
    pub stalled: Duration,
}

impl Summary {
    /// The share of watching time in which playback stalled, 0 to 1.
    pub fn stalled_share(&self) -> f64 {
        let total = (self.played + self.stalled).as_secs_f64();
        if total > 0.0 {
            self.stalled.as_secs_f64() / total
        } else {
            0.0
        }
    }
}

/// Why a segment or playlist could not be loaded.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no answer: {0}")]
    Send(#[from] SendRequestError),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("body: {0}")]
    Body(#[from] PayloadError),
    #[error("{got} of {announced} bytes came")]
    Cut { got: u64, announced: u64 },
    #[error("no byte for {} s", IDLE_TIMEOUT.as_secs())]
    Stopped,
    #[error("the bytes are not the segment's")]
    Wrong,
}

async fn watch_all(base: String, count: usize, seats: &Seats) {
    join_all((0..count).map(|index| watch(client(&base, index), &base, index, count, seats))).await;
}

/// A viewer's own connections, with its own source address if possible: a proxy on the loopback interface then sees as many clients
/// as there are viewers.
fn client(base: &str, index: usize) -> Client {
    let mut connector = Connector::new().limit(0);
    if cfg!(target_os = "linux") && base.starts_with("http://127.") {
        let host = 2 + index as u32 % 0xff_fff0;
        connector = connector.local_address(Ipv4Addr::from_bits(0x7f00_0000 | host).into());
    }
    Client::builder()
        .connector(connector)
        .timeout(HEAD_TIMEOUT)
        .disable_redirects()
        .finish()
}

/// Lets one viewer watch in a loop.
async fn watch(client: Client, base: &str, index: usize, count: usize, seats: &Seats) {
    let client = &client;
    // viewers start at different times and positions
    sleep(super::mpegts::SEGMENT.mul_f64(index as f64 / count as f64)).await;
    let playlist = loop {
        match playlist(client, base).await {
            Ok(playlist) if !playlist.is_empty() => break playlist,
            Ok(_) => tracing::debug!("the playlist is empty"),
            Err(failure) => tracing::debug!(%failure, "no playlist"),
        }
        if let Some(seat) = seats.lock().get_mut(index) {
            seat.failed += 1;
        }
        sleep(RETRY_PAUSE).await;
    };
    let first = index * playlist.len() / count;
    for (path, length) in playlist.iter().cycle().skip(first) {
        let pause = seats.lock().get(index).map_or(Duration::ZERO, |seat| {
            seat.playback.pause(*length, Instant::now())
        });
        sleep(pause).await;
        for _ in 0..ATTEMPTS {
            let result = segment(client, base, path).await;
            let now = Instant::now();
            if let Some(seat) = seats.lock().get_mut(index) {
                match &result {
                    Ok(bytes) => {
                        seat.segments += 1;
                        seat.bytes += bytes;
                        seat.playback.load(*length, now);
                    }
                    Err(Failure::Wrong) => seat.wrong += 1,
                    Err(_) => seat.failed += 1,
                }
            }
            match result {
                Ok(_) => break,
                Err(failure) => tracing::debug!(path, %failure, "a segment did not come"),
            }
            sleep(RETRY_PAUSE).await;
        }
    }
}

/// The paths and durations of the segments.
async fn playlist(client: &Client, base: &str) -> Result<Vec<(String, Duration)>, Failure> {
    let mut text = Vec::new();
    load(client, base, STREAM, |bytes| {
        text.extend_from_slice(bytes);
        text.len() <= PLAYLIST_LIMIT
    })
    .await?;
    let folder = STREAM.rsplit_once('/').map_or("", |(folder, _)| folder);
    Ok(segments(&String::from_utf8_lossy(&text))
        .into_iter()
        .map(|(name, length)| (format!("{folder}/{name}"), length))
        .collect())
}

/// Loads and verifies a segment; returns its length.
async fn segment(client: &Client, base: &str, path: &str) -> Result<u64, Failure> {
    let mut expected = hls::segment(path).unwrap_or_default();
    let mut same = true;
    let len = load(client, base, path, |bytes| {
        same = bytes.len() <= expected.len() && expected.split_to(bytes.len()) == *bytes;
        same
    })
    .await?;
    if same && expected.is_empty() {
        Ok(len)
    } else {
        Err(Failure::Wrong)
    }
}

/// Passes the body at `path` to `take`, piece by piece, until that returns false; returns the number of bytes.
async fn load(
    client: &Client,
    base: &str,
    path: &str,
    mut take: impl FnMut(&Bytes) -> bool,
) -> Result<u64, Failure> {
    let request = client.get(format!("{base}{path}")).no_decompress();
    let mut response = request.send().await?;
    if response.status() != StatusCode::OK {
        return Err(Failure::Status(response.status()));
    }
    let announced = response
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let mut got = 0;
    // read to its end, so that the connection can be reused
    while let Some(bytes) = timeout(IDLE_TIMEOUT, response.next())
        .await
        .map_err(|_| Failure::Stopped)?
    {
        let bytes = bytes?;
        got += bytes.len() as u64;
        if !take(&bytes) {
            return Ok(got);
        }
    }
    match announced {
        // awc accepts a truncated body as complete
        Some(announced) if got != announced => Err(Failure::Cut { got, announced }),
        _ => Ok(got),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stalled_share_is_of_the_watching_time() {
        let summary = Summary {
            played: Duration::from_secs(30),
            stalled: Duration::from_secs(10),
            ..Summary::default()
        };
        assert_eq!(summary.stalled_share(), 0.25);
        assert_eq!(Summary::default().stalled_share(), 0.0);
    }
}
