//! A bounded queue to the disk threads. Adding never waits: what does not fit is refused.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A queue of jobs for a thread.
#[derive(Debug)]
pub struct Jobs<T> {
    /// A std mutex: held for a few instructions.
    waiting: Mutex<Waiting<T>>,
    ready: Condvar,
    most: usize,
    most_bytes: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    jobs: VecDeque<(T, usize)>,
    bytes: usize,
    closed: bool,
}

/// Result of waiting for a job.
#[derive(Debug)]
pub enum Next<T> {
    /// A job.
    Job(T),
    /// Timeout.
    Nothing,
    /// The queue is closed.
    Closed,
}

impl<T> Jobs<T> {
    /// A queue for at most `most` jobs that hold at most `most_bytes`.
    pub fn new(most: usize, most_bytes: usize) -> Self {
        Jobs {
            waiting: Mutex::new(Waiting {
                jobs: VecDeque::new(),
                bytes: 0,
                closed: false,
            }),
            ready: Condvar::new(),
            most,
            most_bytes,
        }
    }

    /// The limit on bytes.
    pub fn most_bytes(&self) -> usize {
        self.most_bytes
    }

    /// Adds a job that holds this many bytes.
    ///
    /// # Errors
    ///
    /// The job, if it does not fit or the queue is closed.
    pub fn push(&self, job: T, bytes: usize) -> Result<(), T> {
        let mut waiting = self.lock();
        let fits = waiting.jobs.len() < self.most
            && (bytes == 0 || waiting.bytes + bytes <= self.most_bytes);
        if waiting.closed || !fits {
            return Err(job);
        }
        waiting.bytes += bytes;
        waiting.jobs.push_back((job, bytes));
        drop(waiting);
        self.ready.notify_one();
        Ok(())
    }

    /// The next job; waits at most `patience`.
    pub fn next(&self, patience: Duration) -> Next<T> {
        let waiting = self.lock();
        let idle = |waiting: &mut Waiting<T>| waiting.jobs.is_empty() && !waiting.closed;
        let waited = self.ready.wait_timeout_while(waiting, patience, idle);
        let (mut waiting, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match waiting.jobs.pop_front() {
            Some((job, bytes)) => {
                waiting.bytes -= bytes;
                Next::Job(job)
            }
            None if waiting.closed => Next::Closed,
            None => Next::Nothing,
        }
    }

    /// Refuses new jobs. Queued ones are still returned.
    pub fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_and_nobody_waits() {
        let jobs = Jobs::new(3, 100);
        assert!(jobs.push(1, 60).is_ok());
        assert_eq!(jobs.push(2, 50), Err(2));
        assert!(jobs.push(3, 0).is_ok() && jobs.push(4, 40).is_ok());
        assert_eq!(jobs.push(5, 0), Err(5));
        let mut got = Vec::new();
        while let Next::Job(job) = jobs.next(Duration::ZERO) {
            got.push(job);
        }
        assert_eq!(got, [1, 3, 4]);
        assert!(jobs.push(6, 100).is_ok());
    }

    #[test]
    fn what_waits_when_it_is_closed_is_still_done() {
        let jobs = Jobs::new(3, 100);
        jobs.push(1, 0).unwrap();
        jobs.close();
        assert_eq!(jobs.push(2, 0), Err(2));
        assert!(matches!(jobs.next(Duration::MAX), Next::Job(1)));
        assert!(matches!(jobs.next(Duration::MAX), Next::Closed));
    }
}
