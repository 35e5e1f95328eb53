//! What a group of processes uses: CPU time and memory, from /proc.

use std::fs;

use crate::sys;

/// CPU time and memory of a process group.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time since the start, in seconds, of all its processes.
    pub cpu_seconds: f64,
    /// Resident memory in bytes; a page shared by n processes counts once (proportional set size).
    pub memory_bytes: u64,
    /// Processes in the group.
    pub processes: u32,
}

impl Usage {
    /// CPU time of the process group, without its memory, which is dear to ask for.
    #[must_use]
    pub fn cpu_of_group(group: u32) -> Self {
        let mut usage = Self::default();
        for (_, cpu) in members(group) {
            usage.cpu_seconds += cpu;
            usage.processes += 1;
        }
        usage
    }

    /// CPU time and memory of the process group.
    #[must_use]
    pub fn of_group(group: u32) -> Self {
        let mut usage = Self::default();
        for (pid, cpu) in members(group) {
            usage.cpu_seconds += cpu;
            usage.processes += 1;
            usage.memory_bytes += memory(pid);
        }
        usage
    }
}

/// CPU seconds of this process's children that have ended and were waited for.
#[must_use]
pub fn cpu_of_children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    // As in `members`.
    let waited = fields.split(' ').skip(13).take(2);
    let ticks: f64 = waited.filter_map(|f| f.parse::<f64>().ok()).sum();
    ticks / sys::ticks_per_second()
}

/// The processes of a group and their CPU seconds, those of children they waited for included.
fn members(group: u32) -> Vec<(u32, f64)> {
    let ticks = sys::ticks_per_second();
    let group = group.to_string();
    let Ok(folder) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    folder
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
            // proc_pid_stat(5), counted from field 3: group is 5, cutime and cstime are 16 and 17.
            if *fields.get(2)? != group {
                return None;
            }
            let waited: f64 = fields
                .get(13..15)?
                .iter()
                .filter_map(|f| f.parse::<f64>().ok())
                .sum();
            Some((pid, sys::cpu_time(pid)?.as_secs_f64() + waited / ticks))
        })
        .collect()
}

/// Proportional set size in bytes.
fn memory(pid: u32) -> u64 {
    fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|l| l.starts_with("Pss:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        })
        .map_or(0, |kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_of_this_test_uses_time_and_memory() {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let group = stat
            .rsplit_once(") ")
            .unwrap()
            .1
            .split(' ')
            .nth(2)
            .unwrap()
            .parse()
            .unwrap();
        let usage = Usage::of_group(group);
        assert!(
            usage.processes >= 1 && usage.memory_bytes > 100_000,
            "{usage:?}"
        );
    }
}
