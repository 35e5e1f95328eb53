//! Moves packets between two TUN devices as their lines say. One thread, woken when a packet comes or is due.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    fs::File,
    io::{self, Read, Write},
    os::fd::AsFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use fileproxy_testbed::random::mix;
use serde::{Deserialize, Serialize};

use super::{
    line::{Fate, Line},
    shape::{Link, Shape},
};
use crate::sys;

/// Packets read in one go before those that are due are sent.
const BATCH: usize = 64;

/// What went through one direction so far.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets that came to the line.
    pub packets: u64,
    /// Their bytes, IP headers included.
    pub bytes: u64,
    /// Packets lost, as asked.
    pub lost: u64,
    /// Packets dropped because the queue was full.
    pub queue_full: u64,
    /// Packets delivered.
    pub delivered: u64,
    /// Bytes delivered, IP headers included.
    pub delivered_bytes: u64,
    /// Packets handed over more than a millisecond after they were due: the machine was too busy.
    pub late: u64,
    /// The worst of these, in microseconds.
    pub latest_us: u64,
    /// The least time from a packet's coming to its being handed over, in microseconds; 0 before the first one.
    #[serde(default)]
    pub least_us: u64,
}

/// Both directions.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Passed {
    /// From A to B.
    pub up: Traffic,
    /// From B to A.
    pub down: Traffic,
}

/// Whether all hosts of side A share the line or each address has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// One line for all.
    Shared,
    /// Queue, rate, loss and jitter of its own for each address on side A.
    PerAddress,
}

struct Waiting {
    at: u64,
    order: u64,
    came: u64,
    packet: Vec<u8>,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Waiting {}
impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

struct Direction {
    shape: Shape,
    seed: u64,
    /// Where the address of side A stands in the IPv4 header; none when the line is shared.
    address_at: Option<usize>,
    lines: HashMap<[u8; 4], Line>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    order: u64,
    passed: Traffic,
}

impl Direction {
    fn new(shape: &Shape, seed: u64, address_at: Option<usize>) -> Self {
        Self {
            shape: shape.clone(),
            seed,
            address_at,
            lines: HashMap::new(),
            waiting: BinaryHeap::new(),
            order: 0,
            passed: Traffic::default(),
        }
    }

    fn accept(&mut self, now: u64, packet: Vec<u8>) -> Option<Vec<u8>> {
        let address: [u8; 4] = self
            .address_at
            .and_then(|at| packet.get(at..at + 4))
            .and_then(|bytes| bytes.try_into().ok())
            .unwrap_or_default();
        let line = self.lines.entry(address).or_insert_with(|| {
            Line::new(
                &self.shape,
                mix(self.seed ^ u64::from(u32::from_be_bytes(address))),
            )
        });
        self.passed.packets += 1;
        self.passed.bytes += packet.len() as u64;
        match line.offer(now, packet.len()) {
            Fate::Arrives(at) => {
                self.order += 1;
                self.waiting.push(Reverse(Waiting {
                    at,
                    order: self.order,
                    came: now,
                    packet,
                }));
                None
            }
            Fate::Lost => {
                self.passed.lost += 1;
                Some(packet)
            }
            Fate::Dropped => {
                self.passed.queue_full += 1;
                Some(packet)
            }
        }
    }

    fn due(&self) -> Option<u64> {
        self.waiting.peek().map(|w| w.0.at)
    }

    fn release(&mut self, now: u64) -> Option<Vec<u8>> {
        if self.due()? > now {
            return None;
        }
        let Reverse(waiting) = self.waiting.pop()?;
        let late = (now - waiting.at) / 1000;
        self.passed.late += u64::from(late > 1000);
        self.passed.latest_us = self.passed.latest_us.max(late);
        let held = ((now - waiting.came) / 1000).max(1);
        self.passed.least_us = match self.passed.least_us {
            0 => held,
            least => least.min(held),
        };
        self.passed.delivered += 1;
        self.passed.delivered_bytes += waiting.packet.len() as u64;
        Some(waiting.packet)
    }
}

/// A running emulator; dropping it takes the link down.
#[derive(Debug)]
pub struct Emulator {
    stop: Arc<AtomicBool>,
    passed: Arc<Mutex<Passed>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Emulator {
    /// Joins two TUN devices.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub fn start(a: File, b: File, link: &Link, sharing: Sharing, seed: u64) -> io::Result<Self> {
        let per = |at| (sharing == Sharing::PerAddress).then_some(at);
        let up = Direction::new(&link.up, mix(seed), per(12));
        let down = Direction::new(&link.down, mix(seed ^ 1), per(16));
        let stop = Arc::new(AtomicBool::new(false));
        let passed = Arc::new(Mutex::new(Passed::default()));
        let mtu = link.mtu as usize;
        let thread = std::thread::Builder::new().name("link".into()).spawn({
            let (stop, passed) = (Arc::clone(&stop), Arc::clone(&passed));
            move || {
                sys::run_first();
                carry([a, b], [up, down], mtu, &stop, &passed)
            }
        })?;
        Ok(Self {
            stop,
            passed,
            thread: Some(thread),
        })
    }

    /// What went through so far.
    #[must_use]
    pub fn passed(&self) -> Passed {
        *self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the emulator's thread ended by itself, which it never should.
    #[must_use]
    pub fn died(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && let Ok(Err(error)) = thread.join()
        {
            eprintln!("link: {error}");
        }
    }
}

fn carry(
    mut tuns: [File; 2],
    mut directions: [Direction; 2],
    mtu: usize,
    stop: &AtomicBool,
    passed: &Mutex<Passed>,
) -> io::Result<()> {
    let start = Instant::now();
    let now = || u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let mut spare: Vec<Vec<u8>> = Vec::new();
    let mut readable = [true, true];
    while !stop.load(Ordering::Relaxed) {
        for side in 0..2 {
            if readable[side] {
                for _ in 0..BATCH {
                    let mut packet = spare.pop().unwrap_or_default();
                    packet.resize(mtu, 0);
                    match tuns[side].read(&mut packet) {
                        Ok(length) => packet.truncate(length),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            spare.push(packet);
                            break;
                        }
                        // The device is going down with its namespace: wait for the stop.
                        Err(_) => {
                            spare.push(packet);
                            std::thread::sleep(Duration::from_millis(1));
                            break;
                        }
                    }
                    let is_ipv4 = packet.len() >= 20 && packet[0] >> 4 == 4;
                    let back = if is_ipv4 {
                        directions[side].accept(now(), packet)
                    } else {
                        Some(packet)
                    };
                    spare.extend(back);
                }
            }
            while let Some(packet) = directions[side].release(now()) {
                // A packet the host does not take (device down) is lost like any other.
                _ = tuns[1 - side].write(&packet);
                spare.push(packet);
            }
        }
        spare.truncate(4096);
        {
            let mut shared = passed.lock().unwrap_or_else(PoisonError::into_inner);
            *shared = Passed {
                up: directions[0].passed,
                down: directions[1].passed,
            };
        }
        let due = directions.iter().filter_map(Direction::due).min();
        let longest = due.map_or(50_000_000, |at| at.saturating_sub(now()).min(50_000_000));
        readable = sys::wait_readable(
            [tuns[0].as_fd(), tuns[1].as_fd()],
            Duration::from_nanos(longest),
        )?;
    }
    Ok(())
}
