//! The system calls that std does not wrap: TUN devices, namespaces, precise waits, signals to processes.
//!
//! The only file of the lab with `unsafe`: each call below passes plain integers or pointers to locals that outlive
//! the call.
#![allow(unsafe_code)]

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::{fs::OpenOptionsExt, process::CommandExt},
    },
    path::Path,
    process::Command,
    time::Duration,
};

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Whether this process may make network devices and namespaces.
#[must_use]
pub fn is_root() -> bool {
    // SAFETY: takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Makes a TUN device (raw IP packets, no header before them) in the calling thread's network namespace. It lives as
/// long as the returned file, which does not block.
///
/// # Errors
///
/// The kernel refused: no root, no `/dev/net/tun`, or the name is taken.
pub fn open_tun(name: &str) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    // SAFETY: ifreq is plain data, all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "device name too long",
        ));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    request.ifr_ifru.ifru_flags = flags;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which lives on this stack.
    checked(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
    Ok(file)
}

/// Moves the calling thread into the network namespace at this path (`/run/netns/NAME`).
///
/// # Errors
///
/// The namespace is gone or the thread may not enter it.
pub fn enter_namespace(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    // SAFETY: a valid descriptor and a flag.
    checked(unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) })?;
    Ok(())
}

/// Waits until one of the two files can be read or the time is over; says which can be read.
///
/// # Errors
///
/// Those of ppoll(2), except an interrupting signal, which counts as nothing to read.
pub fn wait_readable(files: [BorrowedFd<'_>; 2], longest: Duration) -> io::Result<[bool; 2]> {
    let mut polls = files.map(|f| libc::pollfd {
        fd: f.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(longest.as_secs()).unwrap_or(1),
        tv_nsec: libc::c_long::from(longest.subsec_nanos()),
    };
    // SAFETY: two pollfd and a timespec on this stack; no signal mask.
    let result =
        unsafe { libc::ppoll(polls.as_mut_ptr(), 2, &raw const timeout, std::ptr::null()) };
    match checked(result) {
        Ok(_) => Ok(polls.map(|p| p.revents != 0)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok([false; 2]),
        Err(error) => Err(error),
    }
}

/// Lets the calling thread run before all ordinary ones and wake on time, for a late packet is a wrong measurement.
/// Quietly does nothing where that is not allowed: the emulator reports how late it was anyway.
pub fn run_first() {
    let priority = libc::sched_param { sched_priority: 10 };
    // SAFETY: plain integers and a struct on this stack; failure is harmless.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1);
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority);
    }
}

/// Lets the calling thread have nearly all of a processor that ordinary ones want, too: for what is busy itself, and would
/// with [`run_first`] take the processor from the emulator. Quietly does nothing where that is not allowed.
pub fn run_much() {
    // SAFETY: plain integers; failure is harmless. On Linux 0 is the calling thread.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, -20);
    }
}

/// Sends a signal to a process, or to a whole group when `pid` is negative. Gone already is fine.
pub fn signal(pid: i32, signal: i32) {
    // SAFETY: plain integers; failure means that nobody is there any more.
    unsafe {
        libc::kill(pid, signal);
    }
}

/// Makes the command's process die with the thread that starts it, so that a killed lab leaves nothing running.
pub fn die_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only prctl(2) is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            checked(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            Ok(())
        });
    }
}

/// Clock ticks per second of the CPU times in /proc.
#[must_use]
pub fn ticks_per_second() -> f64 {
    // SAFETY: asks for a constant.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 {
        f64::from(i32::try_from(ticks).unwrap_or(100))
    } else {
        100.0
    }
}

/// CPU time of a process so far, all its threads, those that ended included; none when it is gone.
#[must_use]
pub fn cpu_time(pid: u32) -> Option<Duration> {
    let pid = libc::pid_t::try_from(pid).ok()?;
    let mut clock: libc::clockid_t = 0;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: both calls write to locals of this function.
    let found = unsafe {
        libc::clock_getcpuclockid(pid, &raw mut clock) == 0
            && libc::clock_gettime(clock, &raw mut time) == 0
    };
    found.then(|| {
        Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        )
    })
}

/// The CPUs this process may run on.
#[must_use]
pub fn allowed_cpus() -> Vec<usize> {
    // SAFETY: cpu_set_t is plain data; the call fills it, the macro reads it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return vec![0, 1];
        }
        (0..1024)
            .filter(|cpu| libc::CPU_ISSET(*cpu, &set))
            .collect()
    }
}

/// Keeps the calling process, and those it starts, on these CPUs.
///
/// # Errors
///
/// One of them does not exist or is not allowed.
pub fn stay_on_cpus(cpus: &[usize]) -> io::Result<()> {
    // SAFETY: cpu_set_t is plain data on this stack.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        for cpu in cpus {
            libc::CPU_SET(*cpu, &mut set);
        }
        checked(libc::sched_setaffinity(
            0,
            size_of::<libc::cpu_set_t>(),
            &raw const set,
        ))?;
    }
    Ok(())
}

/// Allows as many open files as the hard limit does, and root 65,536 at least: a thousand clients need two thousand in a
/// proxy, and some reserve more.
pub fn raise_open_files() {
    // SAFETY: one rlimit on this stack; failure leaves the limit as it was.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            let more = libc::rlimit {
                rlim_cur: limit.rlim_max.max(65_536),
                rlim_max: limit.rlim_max.max(65_536),
            };
            if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const more) != 0 {
                limit.rlim_cur = limit.rlim_max;
                libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
            }
        }
    }
}
