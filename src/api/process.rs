//! Processor time, memory and open files of this process.

use std::{
    fs,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Processor time and memory of this process, from `/proc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    /// Processor time so far, in user and system mode.
    pub cpu: Duration,
    /// Resident memory, in bytes.
    pub resident: u64,
}

impl Usage {
    /// The current values; none without `/proc`.
    pub(super) fn now() -> Option<Self> {
        Self::parse(
            &fs::read_to_string("/proc/self/stat").ok()?,
            &fs::read_to_string("/proc/self/status").ok()?,
        )
    }

    /// Parses proc_pid_stat(5) and proc_pid_status(5).
    fn parse(stat: &str, status: &str) -> Option<Self> {
        // USER_HZ is 100 on every architecture.
        const TICK: Duration = Duration::from_millis(10);
        // Field 3 follows the name, which may contain spaces and brackets.
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3)?.parse::<u32>().ok();
        let kib: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?
            .trim()
            .strip_suffix(" kB")?
            .parse()
            .ok()?;
        Some(Self {
            cpu: TICK * (ticks(14)? + ticks(15)?),
            resident: kib * 1024,
        })
    }
}

/// Processor time between two calls, as a share of one core: 2 means two busy cores.
#[derive(Debug)]
pub(super) struct CpuShare {
    /// Time, processor time and share of the last call; none before the first.
    last: Option<(Instant, Duration, f64)>,
}

/// One for the process, like its processor time. A std mutex: never held across an await.
static CPU_SHARE: Mutex<CpuShare> = Mutex::new(CpuShare { last: None });

impl CpuShare {
    /// A call this soon after another returns the same share, because the kernel's 10 ms ticks are too coarse.
    const SOONEST: Duration = Duration::from_millis(500);

    /// The share since the last call by anyone; at the first call, since the process started.
    pub(super) fn now(started: Instant, cpu: Duration) -> f64 {
        let mut share = CPU_SHARE.lock().unwrap_or_else(PoisonError::into_inner);
        share.look(started, Instant::now(), cpu)
    }

    fn look(&mut self, started: Instant, now: Instant, cpu: Duration) -> f64 {
        let (from, before, share) = self.last.unwrap_or((started, Duration::ZERO, 0.0));
        let passed = now.saturating_duration_since(from);
        if passed < Self::SOONEST {
            return share;
        }
        let share = cpu.saturating_sub(before).as_secs_f64() / passed.as_secs_f64();
        self.last = Some((now, cpu, share));
        share
    }
}

/// Open files of this process, with sockets, and their limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenFiles {
    /// Currently open.
    pub open: usize,
    /// The soft limit.
    pub most: u64,
}

impl OpenFiles {
    /// The current number; none without `/proc`.
    pub(super) fn now() -> Option<Self> {
        let (most, _) = rlimit::Resource::NOFILE.get().ok()?;
        // Since Linux 6.2 the directory's size is the number (proc_pid_fd(5)); before, its entries are counted, including the one
        // of this scan.
        let open = match fs::metadata("/proc/self/fd").ok()?.len() {
            0 => fs::read_dir("/proc/self/fd")
                .ok()?
                .count()
                .saturating_sub(1),
            told => usize::try_from(told).ok()?,
        };
        Some(Self { open, most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_does_not_shift_the_fields() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 3 0 100 1 2 3";
        let usage = Usage::parse(stat, "Name:\ta\nVmRSS:\t    2048 kB\n").unwrap();
        assert_eq!(usage.cpu, Duration::from_secs(3));
        assert_eq!(usage.resident, 2 << 20);
        assert!(Usage::now().is_some());
    }

    #[test]
    fn the_share_of_a_core_is_that_since_the_last_look_and_a_look_at_once_does_not_change_it() {
        let started = Instant::now();
        let seconds = |at: f64| started + Duration::from_secs_f64(at);
        let mut share = CpuShare { last: None };
        let mut look = |at, cpu| share.look(started, seconds(at), Duration::from_secs_f64(cpu));
        // Since the process started.
        assert_eq!(look(10.0, 5.0), 0.5);
        // Two busy cores.
        assert_eq!(look(12.0, 9.0), 2.0);
        assert_eq!(look(12.1, 9.1), 2.0);
        // The time of the early call is included in the next one.
        assert_eq!(look(14.0, 9.5), 0.25);
        assert_eq!(look(15.0, 9.5), 0.0);
    }
}
