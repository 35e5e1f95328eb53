//! What the origin gave lately, and what may still be asked of it again; over all workers.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Instant,
};

use crate::{path::transfers::Settings, traffic::budget::Budget};

/// Second connections for stalled bodies that are allowed before any body was fetched.
const FIRST_STALLS: f64 = 4.0;

/// The origin's recent past.
#[derive(Debug)]
pub struct Lately {
    /// Pays for requests for the rest of broken bodies.
    pub resumes: Budget,
    /// Pays for second connections for stalled bodies: filled by the bodies, not by time.
    pub stalls: Budget,
    /// How fast bodies came.
    pub pace: Average,
}

impl Lately {
    /// Nothing happened yet.
    pub fn new(settings: &Settings, now: Instant) -> Self {
        Lately {
            resumes: Budget::new(settings.resume_burst, settings.resume_rate, now),
            stalls: Budget::new(FIRST_STALLS, 0.0, now),
            pace: Average::default(),
        }
    }
}

/// A moving average: each new value counts for an eighth, as in TCP's round-trip time (RFC 6298 §2). Values that come
/// at once may lose one of them.
#[derive(Debug, Default)]
pub struct Average(AtomicU64);

impl Average {
    /// Adds a value above zero.
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
