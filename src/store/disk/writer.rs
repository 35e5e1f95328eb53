//! The thread that writes: blocks, then the journal's lines of them. It alone changes files.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use rustix::io::Errno;
use tokio::sync::oneshot;

use super::{
    blocks::{self, EXTENT},
    directory::{Directory, FOLDERS},
    figures::count,
    head::StoredHead,
    index::{BLOCK_COST, Line, Place, Victim},
    jobs::Next,
    journal::Journal,
    purge::{Purge, What},
    record::{Id, Record},
    replay::replay,
    shared::{Job, Purged, Shared},
    snapshot::Snapshot,
    sweep::Sweep,
    trouble::{Pause, Trouble},
};
use crate::store::body::BLOCK;

/// How often the disk is looked at.
const TICK: Duration = Duration::from_secs(1);

/// A journal shorter than this is not written anew, in bytes.
const SHORT: u64 = 1024 * 1024;

/// How long a purge is worked off before it is answered; what is left goes on behind.
const SWEEP: Duration = Duration::from_secs(1);

/// How long room is made at a tick, where a bound became smaller.
const SHRINK: Duration = Duration::from_millis(200);

/// What writes.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    journal: Option<Journal>,
    snapshot: Option<Snapshot>,
    /// How long the journal was when all in it still held, in bytes.
    base: u64,
    pause: Pause,
    /// The next folder that is looked through for bodies that nobody knows.
    scan: Option<u16>,
    sweep: Option<Sweep>,
    /// What may be used of the disk now: `store.disk`, or what leaves `store.keep_free`.
    cap: u64,
    /// What may be used at most, after the system refused more than it said was there: a quota.
    squeezed: u64,
    next_tick: Instant,
    /// A block is put together here.
    buffer: Vec<u8>,
}

impl Writer {
    /// A writer that stops for `pause` after its first error.
    pub fn new(shared: &Arc<Shared>, pause: Duration) -> Self {
        Writer {
            shared: Arc::clone(shared),
            journal: None,
            snapshot: None,
            base: 0,
            pause: Pause::new(pause),
            scan: None,
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
            // So that all of it is there after a power failure; without it some is fetched again.
            _ = journal.sync();
        }
        self.shared.directory.load().unlock();
    }

    fn directory(&self) -> Arc<Directory> {
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
            // Half of it must not be believed: what is missing could have been a purge.
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
                if file {
                    self.remove(id);
                }
            }
            Job::Lost(id, number) => self.must_append(&Record::Freed {
                id,
                from: number,
                to: number + 1,
            }),
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

    /// Adds a record, to the journal and to the one that is being written anew. Where it lies in both.
    fn append(&mut self, record: &Record) -> io::Result<(Line, u64)> {
        let line = record.line();
        let journal = self.journal.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let at = journal.append(&line)?;
        let mut next = 0;
        if let Some(snapshot) = &mut self.snapshot {
            match snapshot.append(&line) {
                Ok(line) => next = line.at,
                // The journal that is there still holds.
                Err(_) => self.give_up_snapshot(),
            }
        }
        Ok((at, next))
    }

    /// Adds a record that must not be lost: else the journal is written anew as soon as that works.
    fn must_append(&mut self, record: &Record) {
        if self.pause.is_on() {
            self.shared.lacking.store(true, Relaxed);
        } else if let Err(error) = self.append(record) {
            self.shared.lacking.store(true, Relaxed);
            self.fail(&error);
        }
    }

    fn head(&mut self, place: Place, head: &StoredHead) {
        let serial = head.serial;
        // Its line takes room, too.
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
                // Without this head the object must not be found: an older one does not hold any more.
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
        if !may || !self.shared.charge(BLOCK_COST) || !self.make_room(size) {
            self.shared.not_written();
            return;
        }
        let sum = blocks::sum(&self.buffer);
        let offset = u64::from(number) * BLOCK;
        // Data first: what the journal names is there.
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
        // Gone meanwhile, its file is removed by what took it out.
        self.shared.held().index.set_block(place, number, sum);
        self.tell_length();
    }

    /// What is used of the disk, in bytes: bodies, the journal, and as much again while it is written anew.
    fn used(&self) -> u64 {
        let journal = self.journal.as_ref().map_or(0, Journal::len);
        let factor = 1 + u64::from(self.snapshot.is_some());
        self.shared.held().index.bytes() + journal * factor
    }

    /// Makes room for `more` bytes. False: there is none to be had.
    fn make_room(&mut self, more: u64) -> bool {
        while self.used() + more > self.cap.min(self.squeezed) {
            if !self.evict() {
                return false;
            }
        }
        true
    }

    /// One extent goes. Whether one did.
    fn evict(&mut self) -> bool {
        let Some(victim) = self.shared.held().index.evict() else {
            return false;
        };
        count(&self.shared.counters.evictions);
        match victim {
            Victim::Object(id) => {
                self.must_append(&Record::Gone { id });
                self.remove(id);
            }
            Victim::Blocks(place, part) => {
                self.must_append(&Record::Freed {
                    id: place.id,
                    from: part.start,
                    to: part.end,
                });
                let offset = u64::from(part.start) * BLOCK;
                let len = u64::from(EXTENT) * BLOCK;
                if self.directory().punch(place.id, offset, len).is_err() {
                    // No holes here: it goes as a whole.
                    self.shared.held().index.remove(place);
                    self.must_append(&Record::Gone { id: place.id });
                    self.remove(place.id);
                }
            }
        }
        true
    }

    fn remove(&mut self, id: Id) {
        if let Err(error) = self.directory().remove(id) {
            self.shared.littered.store(true, Relaxed);
            self.fail(&error);
        }
    }

    /// Does a little of what goes on behind.
    fn go_on(&mut self) {
        if self.shared.littered.swap(false, Relaxed) {
            self.scan = Some(0);
        }
        if let Some(folder) = self.scan {
            self.scan = Some(folder + 1).filter(|&next| next < FOLDERS);
            if let Err(error) = self.clean(folder as u8) {
                self.fail(&error);
            }
        }
        self.step_snapshot();
        if let Some(sweep) = self.sweep.take() {
            self.step_sweep(sweep);
        }
    }

    /// Removes the bodies of one folder that nobody knows.
    fn clean(&mut self, folder: u8) -> io::Result<()> {
        let directory = self.directory();
        for id in directory.bodies(folder)? {
            let is_known = self.shared.held().index.place(id).is_some();
            if !is_known {
                directory.remove(id)?;
                count(&self.shared.counters.orphans);
            }
        }
        Ok(())
    }

    fn step_snapshot(&mut self) {
        let old = self.journal.as_ref().map(Journal::file).cloned();
        let Some(snapshot) = &mut self.snapshot else {
            return;
        };
        match snapshot.step(&self.shared, old.as_ref()) {
            Ok(false) => {}
            Ok(true) => {
                if let Err(error) = self.finish_snapshot() {
                    self.fail(&error);
                }
            }
            Err(error) => self.fail(&error),
        }
    }

    fn finish_snapshot(&mut self) -> io::Result<()> {
        if let Some(snapshot) = self.snapshot.take() {
            let finished = snapshot.finish(&self.shared, &self.directory());
            let journal = finished.inspect_err(|_| self.shared.lacking.store(true, Relaxed))?;
            self.base = journal.len();
            self.journal = Some(journal);
            self.tell_length();
        }
        Ok(())
    }

    fn give_up_snapshot(&mut self) {
        if self.snapshot.take().is_none() {
            return;
        }
        // It may have been begun for what the journal lacks.
        self.shared.lacking.store(true, Relaxed);
        // It is written over by the next one.
        _ = std::fs::remove_file(self.directory().next_journal());
    }

    /// Writes the journal anew, behind, where it has twice the length that it needs, or lacks something.
    fn shorten(&mut self) {
        let len = self.journal.as_ref().map_or(0, Journal::len);
        let is_long = len > SHORT && len > 2 * self.base;
        let is_needed = is_long || self.shared.lacking.load(Relaxed);
        if !is_needed || self.snapshot.is_some() || !self.make_room(len) {
            return;
        }
        self.shared.lacking.store(false, Relaxed);
        match Snapshot::begin(&self.shared, &self.directory()) {
            Ok(snapshot) => self.snapshot = Some(snapshot),
            Err(error) => {
                self.shared.lacking.store(true, Relaxed);
                self.fail(&error);
            }
        }
    }

    /// Writes all of the journal anew, now.
    fn rewrite(&mut self) -> io::Result<()> {
        self.shared.lacking.store(false, Relaxed);
        let old = self.journal.as_ref().map(Journal::file).cloned();
        let mut snapshot = Snapshot::begin(&self.shared, &self.directory())?;
        while !snapshot.step(&self.shared, old.as_ref())? {}
        self.snapshot = Some(snapshot);
        self.finish_snapshot()
    }

    /// Makes a purge durable, works it off for a while, and answers.
    fn purge(&mut self, mut purge: Purge, gone: Purged, reply: oneshot::Sender<Option<Purged>>) {
        if purge.serial == 0 {
            // It was asked for while the journal was read.
            let mut held = self.shared.held();
            purge.serial = held.index.next_serial();
            let unnumbered = held.purges.iter_mut().find(|known| known.serial == 0);
            if let Some(known) = unnumbered {
                known.serial = purge.serial;
            }
        }
        let is_all = purge.what == What::All && !purge.soft;
        let mut gone = gone;
        if is_all {
            let mut held = self.shared.held();
            gone.objects += held.index.objects() as u64;
            gone.bytes += held.index.bytes();
            gone.complete = true;
            held.index.clear();
            held.purges.clear();
            self.sweep = None;
            self.shared.littered.store(true, Relaxed);
        }
        let serial = purge.serial;
        let appended = self.append(&Record::Purge(purge));
        let synced = appended.and_then(|_| match &self.journal {
            Some(journal) => journal.sync(),
            None => Err(io::ErrorKind::NotFound.into()),
        });
        if let Err(error) = synced {
            self.shared.lacking.store(true, Relaxed);
            self.fail(&error);
            // Where nothing can be written, all can still be forgotten: then nothing that was purged comes back, either.
            if let Err(error) = self.directory().forget_journal() {
                tracing::warn!(%error, "a purge may come undone by a restart");
                _ = reply.send(None);
                return;
            }
        }
        if !is_all {
            gone = self.sweep_now(serial);
        }
        // Who asked may have left.
        _ = reply.send(Some(gone));
    }

    /// Works off the purge of this serial number, for a while.
    fn sweep_now(&mut self, serial: u64) -> Purged {
        let own: Vec<Purge> = {
            let held = self.shared.held();
            let own = held.purges.iter().filter(|purge| purge.serial == serial);
            own.cloned().collect()
        };
        let mut sweep = Sweep::new(own);
        let end = Instant::now() + SWEEP;
        loop {
            let is_over = self.sweep_step(&mut sweep);
            if is_over {
                self.swept(&sweep);
                sweep.gone.complete = true;
                return sweep.gone;
            }
            if Instant::now() >= end {
                // One walk for all that are left.
                self.begin_sweep();
                return sweep.gone;
            }
        }
    }

    fn begin_sweep(&mut self) {
        let purges = self.shared.held().purges.clone();
        self.sweep = (!purges.is_empty()).then(|| Sweep::new(purges));
    }

    fn step_sweep(&mut self, mut sweep: Sweep) {
        if self.sweep_step(&mut sweep) {
            self.swept(&sweep);
        } else if self.sweep.is_none() {
            self.sweep = Some(sweep);
        }
    }

    /// One step; whether it was the last one.
    fn sweep_step(&mut self, sweep: &mut Sweep) -> bool {
        let (found, is_over) = sweep.step(&self.shared);
        for (place, mut head, stale_since) in found {
            let mut held = self.shared.held();
            let bytes = held.index.bytes_of(place);
            match stale_since {
                None => {
                    let Some(file) = held.index.doom(place) else {
                        continue;
                    };
                    drop(held);
                    // Not by the queue: it must be in the journal before the purge is said to be worked off.
                    self.must_append(&Record::Gone { id: place.id });
                    if file {
                        self.remove(place.id);
                    }
                }
                Some(since) => {
                    head.freshness.expire(since);
                    head.serial = held.index.next_serial();
                    drop(held);
                    self.head(place, &head);
                }
            }
            sweep.gone.objects += 1;
            sweep.gone.bytes += bytes;
        }
        is_over
    }

    /// These purges are worked off.
    fn swept(&mut self, sweep: &Sweep) {
        for purge in sweep.purges() {
            let serial = purge.serial;
            self.must_append(&Record::Swept { serial });
            let mut held = self.shared.held();
            held.purges.retain(|purge| purge.serial != serial);
        }
    }

    /// Looks at the disk.
    fn tick(&mut self) {
        let now = Instant::now();
        self.next_tick = now + TICK;
        if !self.pause.is_on() && !self.directory().is_there() {
            let error = io::Error::new(io::ErrorKind::NotFound, "the store's directory is gone");
            self.fail(&error);
        }
        if self.pause.is_over(now) {
            self.recover();
        }
        let limit = self.shared.limit.load(Relaxed);
        let keep_free = self.shared.keep_free.load();
        // Where it cannot be told, the bound still holds.
        let space = self.directory().space();
        self.cap = space.map_or(limit, |space| {
            let free = self.used() + space.free;
            limit.min(free.saturating_sub(keep_free.bytes(space)))
        });
        self.squeezed = self.squeezed.saturating_add(limit / 1000);
        let end = Instant::now() + SHRINK;
        while self.used() > self.cap.min(self.squeezed) && Instant::now() < end {
            if !self.evict() {
                break;
            }
        }
        if !self.pause.is_on() {
            self.shorten();
        }
        self.shared.give_back();
        self.tell_length();
    }

    /// Something failed: nothing is written for a while.
    fn fail(&mut self, error: &io::Error) {
        count(&self.shared.counters.write_errors);
        let errno = Errno::from_io_error(error);
        if matches!(errno, Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) {
            let used = self.used();
            self.squeezed = used - used / 16;
        }
        if self.pause.is_on() {
            return;
        }
        self.give_up_snapshot();
        self.pause.begin(Instant::now());
        let trouble = Trouble::of(error, SystemTime::now());
        tracing::warn!(%error, "nothing is written to the store's disk for a while");
        self.shared.trouble.store(Some(Arc::new(trouble)));
    }

    /// Tries whether the disk works again.
    fn recover(&mut self) {
        let worked = self.reopen().and_then(|()| self.directory().probe());
        let worked = worked.and_then(|()| match self.shared.lacking.load(Relaxed) {
            true => self.rewrite(),
            false => Ok(()),
        });
        match worked {
            Ok(()) => {
                self.pause.end();
                self.shared.trouble.store(None);
                tracing::info!("the store's disk is written to again");
            }
            Err(error) => {
                self.shared.lacking.store(true, Relaxed);
                self.pause.begin(Instant::now());
                self.fail(&error);
            }
        }
    }

    /// Opens the directory again where it vanished: what was in it is gone.
    fn reopen(&mut self) -> io::Result<()> {
        let directory = self.directory();
        if directory.is_there() {
            return Ok(());
        }
        let again = directory.open_again().map_err(io::Error::other)?;
        let journal = Journal::open(&again.journal())?;
        let mut held = self.shared.held();
        held.index.clear();
        held.purges.clear();
        drop(held);
        self.journal = Some(journal);
        self.sweep = None;
        self.shared.directory.store(Arc::new(again));
        self.shared.lacking.store(true, Relaxed);
        self.shared.littered.store(true, Relaxed);
        Ok(())
    }

    fn tell_length(&self) {
        let len = self.journal.as_ref().map_or(0, Journal::len);
        self.shared.counters.journal.store(len, Relaxed);
    }
}
