//! `[transfers]`: how a body that breaks or stalls is kept going, where the level has `resume` on.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use crate::{traffic::quality::Class, units::OutOfRange};

/// How a broken or stalled body is continued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Requests for the rest of a body, one after the other without progress.
    pub resume_attempts: u32,
    /// Requests for the rest of one body in all.
    pub resume_limit: u32,
    /// Bytes of one body that may be read once more, to get past what was sent already.
    #[serde(with = "crate::units::sized")]
    pub resume_reread: ByteSize,
    /// Bytes that count as progress: a request that brought them was worth it.
    #[serde(with = "crate::units::sized")]
    pub resume_progress: ByteSize,
    /// Requests for the rest that the origin may get in one go, over all bodies.
    pub resume_burst: f64,
    /// And each second after that.
    pub resume_rate: f64,
    /// And for each body that was begun.
    pub resume_share: f64,
    /// Wait before the second attempt; it doubles, with jitter.
    #[serde(with = "humantime_serde")]
    pub backoff_min: Duration,
    /// Longest wait between two attempts.
    #[serde(with = "humantime_serde")]
    pub backoff_max: Duration,
    /// Over how much waiting for the origin a rate is judged.
    #[serde(with = "humantime_serde")]
    pub stall_window: Duration,
    /// Bytes per second under which a body may be stalled.
    #[serde(with = "crate::units::sized")]
    pub stall_floor: ByteSize,
    /// Share of what the origin gave lately, and of what the body came at before, under which it is stalled.
    pub stall_share: f64,
    /// Second connections for stalled bodies, as a share of all bodies.
    pub stall_budget: f64,
    /// From which class of the line to the origin on bodies come over several connections.
    pub parallel_from: Class,
    /// A body with less to come is not worth several connections.
    #[serde(with = "crate::units::sized")]
    pub parallel_least: ByteSize,
    /// What one connection fetches at a time.
    #[serde(with = "crate::units::sized")]
    pub parallel_segment: ByteSize,
    /// Connections for one body at most.
    pub parallel_width: usize,
    /// What one body may hold in memory.
    #[serde(with = "crate::units::sized")]
    pub parallel_window: ByteSize,
    /// What all bodies may hold in memory.
    #[serde(with = "crate::units::sized")]
    pub parallel_memory: ByteSize,
}

impl Settings {
    /// Checks what no single value shows.
    ///
    /// # Errors
    ///
    /// [`OutOfRange`] for the first key that makes no sense.
    pub fn check(&self) -> Result<(), OutOfRange> {
        let (blink, hour) = (Duration::from_millis(1), Duration::from_secs(3600));
        let share = |key, is: f64| OutOfRange::unless((0.0..=1.0).contains(&is), key, "0 to 1", is);
        let count =
            |key, is: f64| OutOfRange::unless((0.0..=1e6).contains(&is), key, "0 to 1000000", is);
        count("transfers.resume_attempts", self.resume_attempts.into())?;
        count("transfers.resume_limit", self.resume_limit.into())?;
        count("transfers.resume_burst", self.resume_burst)?;
        count("transfers.resume_rate", self.resume_rate)?;
        share("transfers.resume_share", self.resume_share)?;
        let size = |key, is: ByteSize, from: u64, to: u64| {
            let must = format!("{} to {}", ByteSize(from), ByteSize(to));
            OutOfRange::unless((from..=to).contains(&is.as_u64()), key, must, is)
        };
        size(
            "transfers.parallel_segment",
            self.parallel_segment,
            16 << 10,
            64 << 20,
        )?;
        size(
            "transfers.parallel_window",
            self.parallel_window,
            self.parallel_segment.as_u64() * 2,
            1 << 30,
        )?;
        let width = self.parallel_width;
        OutOfRange::unless(
            (1..=256).contains(&width),
            "transfers.parallel_width",
            "1 to 256",
            width,
        )?;
        share("transfers.stall_share", self.stall_share)?;
        share("transfers.stall_budget", self.stall_budget)?;
        OutOfRange::unless_between("transfers.backoff_min", blink, self.backoff_min, hour)?;
        OutOfRange::unless_between(
            "transfers.backoff_max",
            self.backoff_min,
            self.backoff_max,
            hour,
        )?;
        OutOfRange::unless_between(
            "transfers.stall_window",
            blink * 100,
            self.stall_window,
            hour,
        )
    }
}
