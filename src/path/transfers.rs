//! `[transfers]`: how broken and stalled bodies are continued, if the level has `resume` on.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Serialize};

use super::prefix::lies_beneath;
use crate::{reloadable::reloadable, traffic::quality::Class, units::OutOfRange};

/// How broken and stalled bodies are continued.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Requests for the rest of a body in a row without progress.
    pub resume_attempts: u32,
    /// Requests for the rest of one body in total.
    pub resume_limit: u32,
    /// Bytes of one body that may be received again, to skip what was already sent.
    #[serde(with = "crate::units::sized")]
    pub resume_reread: ByteSize,
    /// Bytes that count as progress: a request that brought them was useful.
    #[serde(with = "crate::units::sized")]
    pub resume_progress: ByteSize,
    /// Token bucket over all bodies, for requests for the rest: its size.
    pub resume_burst: f64,
    /// Tokens added each second.
    pub resume_rate: f64,
    /// Tokens added by each new body.
    pub resume_share: f64,
    /// Wait before the second attempt; it doubles, with jitter.
    #[serde(with = "humantime_serde")]
    pub backoff_min: Duration,
    /// Longest wait between two attempts.
    #[serde(with = "humantime_serde")]
    pub backoff_max: Duration,
    /// Waiting time over which throughput is judged.
    #[serde(with = "humantime_serde")]
    pub stall_window: Duration,
    /// Bytes per second below which a body may count as stalled.
    #[serde(with = "crate::units::sized")]
    pub stall_floor: ByteSize,
    /// Share of the origin's recent throughput, and of the body's own before, below which a body counts as stalled.
    pub stall_share: f64,
    /// Second connections for stalled bodies, as a share of all bodies.
    pub stall_budget: f64,
    /// From which class of the line to the origin on bodies are fetched over several connections.
    pub parallel_from: Class,
    /// Bodies with fewer bytes left are not fetched over several connections.
    #[serde(with = "crate::units::sized")]
    pub parallel_least: ByteSize,
    /// The largest part that one connection fetches at a time.
    #[serde(with = "crate::units::sized")]
    pub parallel_segment: ByteSize,
    /// The most connections for one body.
    pub parallel_width: usize,
    /// Path prefixes, as clients send them, whose bodies are never fetched over several connections.
    pub parallel_except: Vec<String>,
    /// The most memory for one body, until it is its turn.
    #[serde(with = "crate::units::sized")]
    pub parallel_window: ByteSize,
    /// The most memory for all bodies.
    #[serde(with = "crate::units::sized")]
    pub parallel_memory: ByteSize,
}

reloadable!(Settings {
    resume_attempts: NextRequest,
    resume_limit: NextRequest,
    resume_reread: NextRequest,
    resume_progress: NextRequest,
    resume_burst: NextRequest,
    resume_rate: NextRequest,
    resume_share: NextRequest,
    backoff_min: NextRequest,
    backoff_max: NextRequest,
    stall_window: NextRequest,
    stall_floor: NextRequest,
    stall_share: NextRequest,
    stall_budget: NextRequest,
    parallel_from: NextRequest,
    parallel_least: NextRequest,
    parallel_segment: NextRequest,
    parallel_width: NextRequest,
    parallel_except: NextRequest,
    parallel_window: NextRequest,
    parallel_memory: NextRequest,
});

impl Settings {
    /// Whether the body of `path` may be fetched over several connections.
    pub fn may_come_in_parts(&self, path: &str) -> bool {
        !self
            .parallel_except
            .iter()
            .any(|prefix| lies_beneath(path, prefix))
    }

    /// Checks the values.
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
        for path in &self.parallel_except {
            let is_path = path.starts_with('/') && !path.contains(['?', '#']);
            let must = "paths that begin with a slash, without a query";
            OutOfRange::unless(is_path, "transfers.parallel_except", must, path)?;
        }
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
