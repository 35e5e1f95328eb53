//! Measures a link from outside, through real sockets on both hosts, and compares with what was asked.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use serde::Serialize;

use super::{emulator::Passed, shape::Link};
use crate::{
    network::{CLIENT, Layout, Network, PROXY},
    sys,
};

/// What one trial found.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// Round trips of small packets on the empty link: median, least and most, in milliseconds.
    pub round_trip_ms: [f64; 3],
    /// Packets lost from client to proxy, in percent.
    pub loss_up_percent: f64,
    /// Packets lost from proxy to client, in percent.
    pub loss_down_percent: f64,
    /// What one TCP connection carried from proxy to client once it was up to speed, bits of payload per second.
    pub flow_bits: f64,
    /// What the emulator itself counted over the whole trial.
    pub passed: Passed,
}

/// How much of each to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Round trips.
    pub pings: u32,
    /// Packets in each direction to count the loss; 0: none.
    pub packets: u32,
    /// How long the TCP connection sends; zero: not at all.
    pub flow: Duration,
}

/// Builds the link between two hosts and measures it.
///
/// # Errors
///
/// No root, or the network cannot be built.
pub fn measure(link: &Link, congestion: &str, seed: u64, effort: Effort) -> Result<Trial> {
    let network = Network::build(&Layout {
        client_link: Some(link.clone()),
        origin_link: None,
        lines: None,
        congestion: congestion.to_owned(),
        seed,
    })?;
    let round_trip_ms = ping(&network, effort.pings)?;
    let (loss_up_percent, loss_down_percent) = if effort.packets > 0 {
        (
            loss(&network, link, effort.packets, true)?,
            loss(&network, link, effort.packets, false)?,
        )
    } else {
        (0.0, 0.0)
    };
    let flow_bits = if effort.flow.is_zero() {
        0.0
    } else {
        flow(&network, effort.flow)?
    };
    let passed = network.client_link().unwrap_or_default();
    Ok(Trial {
        round_trip_ms,
        loss_up_percent,
        loss_down_percent,
        flow_bits,
        passed,
    })
}

/// Sends small packets there and back, one at a time.
fn ping(network: &Network, count: u32) -> Result<[f64; 3]> {
    let echo = network.proxy.inside(|| UdpSocket::bind((PROXY, 7)))??;
    echo.set_read_timeout(Some(Duration::from_secs(3)))?;
    let answering = std::thread::spawn(move || {
        sys::run_first();
        let mut packet = [0; 64];
        while let Ok((length, from)) = echo.recv_from(&mut packet) {
            if length == 1 || echo.send_to(&packet[..length], from).is_err() {
                break;
            }
        }
    });
    let times = network.client.inside(move || -> Result<Vec<f64>> {
        sys::run_first();
        let socket = UdpSocket::bind((CLIENT, 0))?;
        socket.connect((PROXY, 7))?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut times = Vec::new();
        for n in 0..count {
            let sent = Instant::now();
            socket.send(&n.to_be_bytes())?;
            let mut answer = [0; 64];
            // A lost one is no round trip; an answer to an earlier one is passed over.
            while let Ok(4) = socket.recv(&mut answer) {
                if answer[..4] == n.to_be_bytes() {
                    times.push(sent.elapsed().as_secs_f64() * 1e3);
                    break;
                }
            }
        }
        _ = socket.send(&[0]);
        Ok(times)
    })??;
    answering.join().map_err(|_| anyhow!("the echo panicked"))?;
    let mut sorted = times;
    sorted.sort_by(f64::total_cmp);
    let at = |i: usize| {
        sorted
            .get(i)
            .copied()
            .ok_or_else(|| anyhow!("not one of {count} packets came back"))
    };
    Ok([
        at(sorted.len() / 2)?,
        at(0)?,
        at(sorted.len().saturating_sub(1))?,
    ])
}

/// Sends numbered small packets one way, slowly enough not to fill a queue, and counts those that arrive.
fn loss(network: &Network, link: &Link, count: u32, up: bool) -> Result<f64> {
    const BYTES: usize = 32;
    let (from_host, from, to_host, to, shape) = if up {
        (&network.client, CLIENT, &network.proxy, PROXY, &link.up)
    } else {
        (&network.proxy, PROXY, &network.client, CLIENT, &link.down)
    };
    let before = to_host.inside(overflowed)?;
    let receiver = to_host.inside(move || UdpSocket::bind((to, 9)))??;
    receiver.set_read_timeout(Some(Duration::from_millis(100)))?;
    let arrived = Arc::new(AtomicU64::new(0));
    let quiet = shape.delay.get() + shape.jitter.get() + Duration::from_secs(1);
    let counting = std::thread::spawn({
        let arrived = Arc::clone(&arrived);
        move || {
            let mut packet = [0; 64];
            let mut last = Instant::now();
            loop {
                match receiver.recv(&mut packet) {
                    Ok(_) => {
                        arrived.fetch_add(1, Ordering::Relaxed);
                        last = Instant::now();
                    }
                    Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        if last.elapsed() > quiet {
                            return;
                        }
                    }
                    Err(_) => return,
                }
            }
        }
    });
    // Half the rate (28 bytes of headers), and no more than this machine can surely count.
    let per_second = (shape.rate.bits() / 8.0 / (BYTES as f64 + 28.0) / 2.0).min(40_000.0);
    from_host.inside(move || -> Result<()> {
        let socket = UdpSocket::bind((from, 0))?;
        socket.connect(SocketAddr::from((to, 9)))?;
        let start = Instant::now();
        for n in 0..count {
            let due = Duration::from_secs_f64(f64::from(n) / per_second);
            let elapsed = start.elapsed();
            if due > elapsed + Duration::from_micros(300) {
                std::thread::sleep(due - elapsed);
            }
            socket.send(&[0; BYTES])?;
        }
        Ok(())
    })??;
    counting
        .join()
        .map_err(|_| anyhow!("the counter panicked"))?;
    // What the receiving host had no room for was not lost on the link: a busy machine reads late.
    let overflowed = to_host.inside(overflowed)?.saturating_sub(before);
    let arrived = (arrived.load(Ordering::Relaxed) + overflowed) as f64;
    Ok(100.0 * (1.0 - arrived / f64::from(count)))
}

/// UDP packets that came to this thread's host and found the socket's buffer full.
fn overflowed() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap_or_default();
    let mut lines = text.lines().filter(|l| l.starts_with("Udp: "));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        return 0;
    };
    let at = names.split(' ').position(|name| name == "RcvbufErrors");
    at.and_then(|at| values.split(' ').nth(at)?.parse().ok())
        .unwrap_or(0)
}

/// One TCP connection from proxy to client, as fast as it goes; the first third of the time is for getting up to
/// speed.
fn flow(network: &Network, lasting: Duration) -> Result<f64> {
    let listener = network
        .proxy
        .inside(|| TcpListener::bind((PROXY, 5001)))??;
    let sending = std::thread::spawn(move || -> Result<()> {
        sys::run_much();
        let (mut stream, _) = listener.accept()?;
        let block = vec![0; 256 * 1024];
        while stream.write(&block).is_ok() {}
        Ok(())
    });
    let bits = network.client.inside(move || -> Result<f64> {
        sys::run_much();
        let mut stream = TcpStream::connect((PROXY, 5001))?;
        let start = Instant::now();
        let (mut block, mut bytes) = (vec![0; 256 * 1024], 0_usize);
        let mut counted_from = None;
        while start.elapsed() < lasting {
            let got = stream.read(&mut block)?;
            if counted_from.is_some() {
                bytes += got;
            } else if start.elapsed() > lasting / 3 {
                counted_from = Some(Instant::now());
            }
        }
        let counted_from = counted_from.ok_or_else(|| anyhow!("nothing came"))?;
        Ok(bytes as f64 * 8.0 / counted_from.elapsed().as_secs_f64())
    })??;
    sending
        .join()
        .map_err(|_| anyhow!("the sender panicked"))??;
    Ok(bits)
}
