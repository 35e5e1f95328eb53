//! State shared by all transfers from one origin, over all workers: throughput, line quality, and budgets for requests that
//! continue bodies.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;

use super::{connection::Connection, memory::Memory};
use crate::{
    path::{tcp, transfers::Settings},
    traffic::{
        counters::OriginCounters,
        line::{Line, LineStatus, Look},
        quality::Class,
        token_bucket::TokenBucket,
    },
};

/// Second connections for stalled bodies that are allowed before any body was fetched.
const FIRST_STALLS: f64 = 4.0;
/// Segments received out of order for each lost one, roughly: those of one round trip.
const OUT_OF_ORDER_FOR_EACH_LOST: u64 = 8;

/// Per-origin state shared by all workers: retry budgets, throughput, line quality.
#[derive(Debug)]
pub struct TransferState {
    /// One token for each request for the rest of a broken body.
    pub resumes: TokenBucket,
    /// One token for each second connection beside a stalled body. Refilled by bodies, not by time.
    pub stalls: TokenBucket,
    /// Throughput of completed bodies, in bytes per second.
    pub pace: Average,
    /// Memory for the parts of bodies.
    pub memory: Arc<Memory>,
    /// How many connections the last body in parts used in the end; the next one starts with as many.
    pub width: AtomicUsize,
    /// Quality of the line to the origin. A std mutex: held for a few instructions, a few times a second.
    line: Mutex<Line>,
}

impl TransferState {
    /// The state before the first transfer.
    pub fn new(settings: &Settings, counters: Arc<OriginCounters>, now: Instant) -> Self {
        TransferState {
            resumes: TokenBucket::new(settings.resume_burst, settings.resume_rate, now),
            stalls: TokenBucket::new(FIRST_STALLS, 0.0, now),
            pace: Average::default(),
            memory: Memory::new(settings.parallel_memory.as_u64(), counters),
            width: AtomicUsize::new(1),
            line: Mutex::default(),
        }
    }

    /// Judges the line by TCP_INFO of one connection, and publishes its class. Returns the class in force.
    pub fn look(&self, connection: &Connection, origin_line: &ArcSwap<LineStatus>) -> Class {
        let Ok(info) = tcp::info(&*connection.socket()) else {
            return self.line().0;
        };
        // This end receives: a lost segment shows by those after it, which arrive out of order until it is retransmitted.
        let lost = info.received_out_of_order() / OUT_OF_ORDER_FOR_EACH_LOST;
        let look = Look {
            round_trip: info.round_trip(),
            segments: info.received(),
            lost,
        };
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let before = line.class();
        if let Some(class) = line.observe(look) {
            tracing::info!(from = %before, to = %class, round_trip = ?look.round_trip, loss = ?look.loss(), "the line to the origin changed its class");
        }
        origin_line.store(Arc::new(LineStatus::from(&*line)));
        line.class()
    }

    /// The class and the smoothed round-trip time of the line, as last measured.
    pub fn line(&self) -> (Class, Duration) {
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        (line.class(), line.last().round_trip)
    }
}

/// A moving average in which each new value counts for an eighth, as in TCP's round-trip time (RFC 6298 §2). Concurrent updates may
/// lose one.
#[derive(Debug, Default)]
pub struct Average(AtomicU64);

impl Average {
    /// Adds a value greater than zero.
    pub fn add(&self, value: f64) {
        let average = self
            .get()
            .map_or(value, |average| average + (value - average) / 8.0);
        self.0.store(average.to_bits(), Relaxed);
    }

    /// The average; `None` before the first value.
    pub fn get(&self) -> Option<f64> {
        match self.0.load(Relaxed) {
            0 => None,
            bits => Some(f64::from_bits(bits)),
        }
    }
}
