//! Writes log lines without blocking.
//!
//! The log's reader may be stuck (a pipe that is not read), gone (a closed pipe) or without space (a full disk). None of that may
//! delay a request, so a line is only put into a bounded buffer, and a separate thread writes. What does not fit or cannot be
//! written is dropped and counted, and reported in the log once writing works again.

use std::{
    fs::File,
    io::{self, Write},
    mem,
    os::fd::AsFd as _,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::traffic::counters::{LOG, LogCounters};

/// The most bytes that wait to be written; the writer may hold the same number in addition.
const ROOM: usize = 1024 * 1024;
/// How long to wait when a non-blocking descriptor (O_NONBLOCK, set by another process that shares it) is full.
const FULL: Duration = Duration::from_millis(20);

/// Accepts log lines and never waits. Clones share the buffer.
#[derive(Clone, Debug)]
pub struct Lines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// A std mutex: held to copy a line, never while one is written.
    waiting: Mutex<Waiting>,
    /// Signals that there is something to write.
    filled: Condvar,
    /// Signals that everything is written.
    emptied: Condvar,
    counters: &'static LogCounters,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Whether the writer thread is writing some.
    writing: bool,
}

impl Lines {
    /// Writes to standard error.
    pub fn to_stderr() -> Self {
        // Not through std's handle: a blocked write would hold its lock, and block a thread that panics.
        match io::stderr().as_fd().try_clone_to_owned() {
            Ok(stderr) => Self::to(File::from(stderr), &LOG),
            Err(_) => Self::to(io::stderr(), &LOG),
        }
    }

    fn to(out: impl Write + Send + 'static, counters: &'static LogCounters) -> Self {
        let lines = Lines(Arc::new(Shared {
            waiting: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            counters,
        }));
        let shared = Arc::clone(&lines.0);
        let writer = thread::Builder::new().name("log".to_owned());
        // Without the thread, lines are dropped and counted, as with a reader that is stuck.
        _ = writer.spawn(move || shared.write(out));
        lines
    }

    /// Adds one line, or counts it as dropped.
    pub fn push(&self, line: &[u8]) {
        let mut waiting = self.0.lock();
        if waiting.bytes.len() + line.len() > ROOM {
            drop(waiting);
            self.0.counters.dropped.increment();
            return;
        }
        let first = waiting.bytes.is_empty();
        waiting.bytes.extend_from_slice(line);
        drop(waiting);
        if first {
            self.0.filled.notify_one();
        }
    }

    /// Waits until everything is written, at most for `limit`. Returns whether it is.
    pub fn flush(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut waiting = self.0.lock();
        while waiting.writing || !waiting.bytes.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let woken = self.0.emptied.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

/// Used by tracing, which writes each event by one call.
impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer thread.
    fn write(&self, mut out: impl Write) {
        let mut taken = Vec::new();
        let mut told = self.counters.dropped.get();
        let mut torn = false;
        loop {
            self.take(&mut taken);
            // A line that was cut in the middle is ended before the next one.
            let cut = torn && write_whole(&mut out, b"\n") != 1;
            let written = if cut {
                0
            } else {
                write_whole(&mut out, &taken)
            };
            torn = match written {
                0 => torn,
                n => taken[n - 1] != b'\n',
            };
            let lost = taken[written..].iter().filter(|&&byte| byte == b'\n');
            self.counters.dropped.add(lost.count() as u64);
            let dropped = self.counters.dropped.get();
            if written == taken.len() && dropped > told {
                let lines = dropped - told;
                tracing::warn!(
                    lines,
                    "log lines were dropped: their reader stood still or had no room"
                );
                told = dropped;
            }
        }
    }

    /// Waits for something to write, and takes all of it.
    fn take(&self, taken: &mut Vec<u8>) {
        taken.clear();
        let mut waiting = self.lock();
        waiting.writing = false;
        while waiting.bytes.is_empty() {
            self.emptied.notify_all();
            let woken = self.filled.wait(waiting);
            waiting = woken.unwrap_or_else(PoisonError::into_inner);
        }
        waiting.writing = true;
        mem::swap(&mut waiting.bytes, taken);
    }
}

/// Writes everything, or as much as possible before an error.
fn write_whole(out: &mut impl Write, bytes: &[u8]) -> usize {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => break,
            Ok(n) => written += n,
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => thread::sleep(FULL),
                _ => break,
            },
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// A reader that the test controls: how much it accepts, or an error.
    struct Reader {
        answers: Receiver<io::Result<usize>>,
        read: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = self.answers.recv().map_err(io::Error::other)??;
            let taken = taken.min(bytes.len());
            self.read.lock().unwrap().extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    type Answers = SyncSender<io::Result<usize>>;

    fn lines() -> (Lines, Answers, Arc<Mutex<Vec<u8>>>, &'static LogCounters) {
        let (answer, answers) = sync_channel(1024);
        let read = Arc::default();
        let counters: &LogCounters = Box::leak(Box::default());
        let reader = Reader {
            answers,
            read: Arc::clone(&read),
        };
        (Lines::to(reader, counters), answer, read, counters)
    }

    #[test]
    fn a_reader_that_stands_still_costs_lines_and_no_time() {
        let (lines, answer, read, counters) = lines();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let most = 2 * ROOM / line.len();
        for _ in 0..most + 10 {
            lines.push(&line);
        }
        // The writer may have taken the first lines before it got stuck.
        assert!(counters.dropped.get() >= 10, "{}", counters.dropped.get());
        assert!(!lines.flush(Duration::from_millis(10)));
        answer.send(Ok(usize::MAX)).unwrap();
        answer.send(Ok(usize::MAX)).unwrap();
        assert!(lines.flush(LONG));
        let kept = read.lock().unwrap().len() / line.len();
        assert_eq!(kept as u64 + counters.dropped.get(), most as u64 + 10);
    }

    #[test]
    fn everything_is_written_before_a_flush_ends_in_however_small_pieces() {
        let (lines, answer, read, counters) = lines();
        lines.push(b"one\n");
        for n in [1, 2] {
            answer.send(Ok(n)).unwrap();
        }
        for kind in [io::ErrorKind::Interrupted, io::ErrorKind::WouldBlock] {
            answer.send(Err(kind.into())).unwrap();
        }
        answer.send(Ok(usize::MAX)).unwrap();
        assert!(lines.flush(LONG));
        assert_eq!(*read.lock().unwrap(), b"one\n");
        assert_eq!(counters.dropped.get(), 0);
    }

    #[test]
    fn what_a_full_disk_or_a_closed_pipe_does_not_take_is_counted_and_the_next_line_begins_a_line()
    {
        let (lines, answer, read, counters) = lines();
        let refused = || io::Error::from(io::ErrorKind::StorageFull);
        lines.push(b"one\n");
        answer.send(Ok(2)).unwrap();
        answer.send(Err(refused())).unwrap();
        assert!(lines.flush(LONG));
        assert_eq!(counters.dropped.get(), 1);
        lines.push(b"two\n");
        answer.send(Err(refused())).unwrap();
        assert!(lines.flush(LONG));
        assert_eq!(counters.dropped.get(), 2);
        lines.push(b"three\n");
        answer.send(Ok(1)).unwrap();
        answer.send(Ok(usize::MAX)).unwrap();
        assert!(lines.flush(LONG));
        assert_eq!(*read.lock().unwrap(), b"on\nthree\n");
        assert_eq!(counters.dropped.get(), 2);
    }
}
