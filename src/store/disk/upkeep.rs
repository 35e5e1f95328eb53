//! Background work of the writer: freeing space, rewriting the journal, removing orphan files, and recovering from disk errors.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant, SystemTime},
};

use rustix::io::Errno;

use super::{
    blocks::EXTENT, directory::FOLDERS, entry::UNIT, eviction::Victim, figures::count, id::Id,
    journal::Journal, record::Record, snapshot::Snapshot, trouble::Trouble, writer::Writer,
};
use crate::store::body::BLOCK;

/// How often disk space is checked.
const TICK: Duration = Duration::from_secs(1);

/// A journal shorter than this (in bytes) is not rewritten.
const SHORT: u64 = 1024 * 1024;

/// How long space is freed in one tick after a limit was reduced.
const SHRINK: Duration = Duration::from_millis(200);

impl Writer {
    /// Disk space in use, in bytes: bodies and their folders, the journal, and the same again while it is rewritten.
    fn used(&self) -> u64 {
        let journal = self.journal.as_ref().map_or(0, Journal::len);
        let factor = 1 + u64::from(self.snapshot.is_some());
        let folders = u64::from(FOLDERS) * UNIT;
        self.shared.held().index.on_disk() + journal * factor + folders
    }

    /// Frees space for `more` bytes. False if that is impossible.
    pub(super) fn make_room(&mut self, more: u64) -> bool {
        while self.used() + more > self.cap.min(self.squeezed) {
            if !self.evict() {
                return false;
            }
        }
        true
    }

    /// Evicts one extent. Returns whether there was one.
    fn evict(&mut self) -> bool {
        let Some(victim) = self.shared.held().index.evict() else {
            return false;
        };
        count(&self.shared.counters.evictions);
        match victim {
            Victim::Object(id, bytes) => {
                self.must_append(&Record::Gone { id });
                self.remove(id, bytes);
            }
            Victim::Blocks(place, part, bytes) => {
                self.must_append(&Record::Freed {
                    id: place.id,
                    from: part.start,
                    to: part.end,
                });
                let offset = u64::from(part.start) * BLOCK;
                let len = u64::from(EXTENT) * BLOCK;
                if self.directory().punch(place.id, offset, len).is_ok() {
                    self.shared.held().index.left(bytes);
                } else {
                    // The file system does not support holes: the whole object is removed.
                    let more = self.shared.held().index.remove(place);
                    self.must_append(&Record::Gone { id: place.id });
                    self.remove(place.id, bytes + more);
                }
            }
        }
        true
    }

    /// Deletes the file of an object that was removed from the index, with this disk space.
    pub(super) fn remove(&mut self, id: Id, bytes: u64) {
        match self.directory().remove(id) {
            Ok(()) => self.shared.held().index.left(bytes),
            Err(error) => {
                self.shared.held().index.add_orphaned(bytes);
                self.shared.may_have_orphans.store(true, Relaxed);
                self.fail(&error);
            }
        }
    }

    /// Does one step of background work.
    pub(super) fn go_on(&mut self) {
        if self.shared.may_have_orphans.swap(false, Relaxed) {
            self.scan = Some(0);
            self.orphaned = self.shared.held().index.orphaned();
        }
        if let Some(folder) = self.scan {
            self.scan = Some(folder + 1).filter(|&next| next < FOLDERS);
            match self.clean(folder as u8) {
                Ok(()) if self.scan.is_none() => {
                    self.shared.held().index.cleaned(self.orphaned);
                }
                Ok(()) => {}
                Err(error) => {
                    self.shared.may_have_orphans.store(true, Relaxed);
                    self.fail(&error);
                }
            }
        }
        self.step_snapshot();
        if let Some(sweep) = self.sweep.take() {
            self.step_sweep(sweep);
        }
    }

    /// Deletes orphan bodies in one folder.
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

    pub(super) fn give_up_snapshot(&mut self) {
        if self.snapshot.take().is_none() {
            return;
        }
        // It may have been started because the journal lacked a record.
        self.shared.lacking.store(true, Relaxed);
        // The next one overwrites it anyway.
        _ = std::fs::remove_file(self.directory().next_journal());
    }

    /// Starts rewriting the journal, if it has twice the necessary length, or lacks a record.
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

    /// Rewrites the whole journal now.
    fn rewrite(&mut self) -> io::Result<()> {
        self.shared.lacking.store(false, Relaxed);
        let old = self.journal.as_ref().map(Journal::file).cloned();
        let mut snapshot = Snapshot::begin(&self.shared, &self.directory())?;
        while !snapshot.step(&self.shared, old.as_ref())? {}
        self.snapshot = Some(snapshot);
        self.finish_snapshot()
    }

    /// Checks disk space.
    pub(super) fn tick(&mut self) {
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
        // If the free space is unknown, the limit still applies.
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

    /// Pauses writing after an error.
    pub(super) fn fail(&mut self, error: &io::Error) {
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

    /// Tests whether the disk works again.
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

    /// Opens the directory again after it vanished: its content is lost.
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
        self.shared.may_have_orphans.store(true, Relaxed);
        Ok(())
    }
}
