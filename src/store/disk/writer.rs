//! The writer thread: writes blocks, then their journal records. Only this thread changes files.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    blocks,
    directory::Directory,
    entry::Place,
    figures::count,
    head::StoredHead,
    index::BLOCK_COST,
    jobs::Next,
    journal::Journal,
    line::Line,
    purge::Purge,
    record::Record,
    replay::replay,
    shared::{Job, Room, Shared},
    snapshot::Snapshot,
    sweep::Sweep,
    trouble::Pause,
};
use crate::store::body::BLOCK;

/// State of the writer thread.
#[derive(Debug)]
pub struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) journal: Option<Journal>,
    pub(super) snapshot: Option<Snapshot>,
    /// Length of the journal when it was last rewritten, in bytes.
    pub(super) base: u64,
    pub(super) pause: Pause,
    /// The next folder to scan for orphan bodies.
    pub(super) scan: Option<u16>,
    /// `Index::orphaned` when the scan began.
    pub(super) orphaned: u64,
    pub(super) sweep: Option<Sweep>,
    /// Current limit on disk space: `store.disk`, or less to leave `store.keep_free`.
    pub(super) cap: u64,
    /// Limit found when the system refused a write although space seemed free (a quota).
    pub(super) squeezed: u64,
    pub(super) next_tick: Instant,
    /// Buffer in which a block is assembled.
    pub(super) buffer: Vec<u8>,
}

impl Writer {
    /// A writer that pauses for `pause` after its first error.
    pub fn new(shared: &Arc<Shared>, pause: Duration) -> Self {
        Writer {
            shared: Arc::clone(shared),
            journal: None,
            snapshot: None,
            base: 0,
            pause: Pause::new(pause),
            scan: None,
            orphaned: 0,
            sweep: None,
            cap: shared.limit.load(Relaxed),
            squeezed: u64::MAX,
            next_tick: Instant::now(),
            buffer: Vec::new(),
        }
    }

    /// Reads the journal, then works until the tier is closed.
    pub fn run(mut self) {
        if let Err(error) = self.load() {
            self.fail(&error);
        }
        loop {
            let has_more = self.snapshot.is_some() || self.sweep.is_some() || self.scan.is_some();
            let patience = match has_more && !self.pause.is_on() {
                true => Duration::ZERO,
                false => self.next_tick.saturating_duration_since(Instant::now()),
            };
            match self.shared.jobs.next(patience) {
                Next::Job(job) => self.work(job),
                Next::Nothing => {}
                Next::Closed => break,
            }
            if !self.pause.is_on() {
                self.go_on();
            }
            if Instant::now() >= self.next_tick {
                self.tick();
            }
        }
        if let Some(journal) = &self.journal {
            // For a power failure; if it fails, some objects are fetched again.
            _ = journal.sync();
        }
        self.shared.directory.load().unlock();
    }

    pub(super) fn directory(&self) -> Arc<Directory> {
        self.shared.directory.load_full()
    }

    fn load(&mut self) -> io::Result<()> {
        let opened = Journal::open(&self.directory().journal());
        let result = opened.and_then(|mut journal| {
            self.shared.held().journal = Some(Arc::clone(journal.file()));
            let result = replay(&self.shared, &mut journal);
            self.journal = Some(journal);
            result
        });
        if result.is_err() {
            // A partly read journal must be discarded: the missing part could contain a purge.
            let mut held = self.shared.held();
            held.index.clear();
            held.purges.clear();
            held.loading = None;
            drop(held);
            self.shared.lacking.store(true, Relaxed);
        }
        self.base = self.shared.held().index.objects() as u64 * 512;
        self.begin_sweep();
        self.tell_length();
        result
    }

    fn work(&mut self, job: Job) {
        match job {
            Job::Head(place, head) => self.head(place, &head),
            Job::Block(place, number, pieces) => self.block(place, number, &pieces),
            Job::Length(id, length) => self.must_append(&Record::Length { id, length }),
            Job::Gone { id, line, file } => {
                if line {
                    self.must_append(&Record::Gone { id });
                }
                if let Some(bytes) = file {
                    self.remove(id, bytes);
                }
            }
            Job::Lost(id, number, bytes) => {
                self.must_append(&Record::Freed {
                    id,
                    from: number,
                    to: number + 1,
                });
                // If this fails, the space is overwritten later, or freed with the file.
                _ = self.directory().punch(id, u64::from(number) * BLOCK, BLOCK);
                self.shared.held().index.left(bytes);
            }
            Job::Purge {
                what,
                soft,
                at,
                serial,
                gone,
                reply,
            } => {
                let purge = Purge {
                    serial,
                    what,
                    soft,
                    at,
                };
                self.purge(purge, gone, reply);
            }
        }
    }

    /// Appends a record to the journal, and to the one being rewritten. Returns its position in both.
    pub(super) fn append(&mut self, record: &Record) -> io::Result<(Line, u64)> {
        let line = record.line();
        let journal = self.journal.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let at = journal.append(&line)?;
        let mut next = 0;
        if let Some(snapshot) = &mut self.snapshot {
            match snapshot.append(&line) {
                Ok(line) => next = line.at,
                // The existing journal is still valid.
                Err(_) => self.give_up_snapshot(),
            }
        }
        Ok((at, next))
    }

    /// Appends a record that must not be lost: otherwise the journal is rewritten as soon as possible.
    pub(super) fn must_append(&mut self, record: &Record) {
        if self.pause.is_on() {
            self.shared.lacking.store(true, Relaxed);
        } else if let Err(error) = self.append(record) {
            self.shared.lacking.store(true, Relaxed);
            self.fail(&error);
        }
    }

    pub(super) fn head(&mut self, place: Place, head: &StoredHead) {
        let serial = head.serial;
        // Its line needs space too.
        let fits = !self.pause.is_on() && self.make_room(head.bytes() as u64);
        if !self.shared.held().index.is_alive(place) {
            return;
        }
        let written = match fits {
            false => None,
            true => {
                let record = Record::Head(Box::new(head.clone()));
                self.append(&record).map_err(|error| self.fail(&error)).ok()
            }
        };
        match written {
            Some((line, next)) => {
                let mut held = self.shared.held();
                held.index.set_head(place, line, next, serial);
            }
            None => {
                // Without this head the object must not be found: an older one is no longer valid.
                self.shared.not_written();
                self.shared.doom(&mut self.shared.held(), place);
            }
        }
    }

    fn block(&mut self, place: Place, number: u32, pieces: &[Bytes]) {
        self.buffer.clear();
        pieces
            .iter()
            .for_each(|piece| self.buffer.extend_from_slice(piece));
        let (is_wanted, is_right, size) = {
            let held = self.shared.held();
            let is_wanted = held.index.is_alive(place) && held.index.block(place, number).is_none();
            let len = blocks::len(number, held.index.length(place));
            let is_right = len == self.buffer.len() as u64 && len > 0 && number < blocks::MOST;
            (is_wanted, is_right, held.index.size(place, number))
        };
        if !is_wanted {
            return;
        }
        let may = is_right && !self.pause.is_on();
        if !may || !self.shared.charge(BLOCK_COST, Room::Any) || !self.make_room(size) {
            self.shared.not_written();
            return;
        }
        // Freeing space may have removed this very object; its new file would then be an orphan.
        if !self.shared.held().index.is_alive(place) {
            self.shared.not_written();
            return;
        }
        let sum = blocks::sum(&self.buffer);
        let offset = u64::from(number) * BLOCK;
        // Data before the record that names it.
        let record = Record::Blocks {
            id: place.id,
            sums: vec![(number, sum)],
        };
        let written = self.directory().write(place.id, offset, &self.buffer);
        if let Err(error) = written.and_then(|()| self.append(&record)) {
            self.shared.not_written();
            self.fail(&error);
            return;
        }
        self.pause.forget();
        count(&self.shared.counters.written);
        // If it was removed meanwhile, its file is deleted with it.
        self.shared.held().index.set_block(place, number, sum);
        self.tell_length();
    }

    pub(super) fn tell_length(&self) {
        let len = self.journal.as_ref().map_or(0, Journal::len);
        self.shared.counters.journal.store(len, Relaxed);
    }
}
