//! Processor time, memory and open files of this process.

use std::{fs, time::Duration};

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
}
