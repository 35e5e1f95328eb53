//! Access to an object on disk, for the object in memory: reads and writes its blocks.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use super::{
    entry::Place,
    head::StoredHead,
    shared::{Done, Job, Read, Shared},
};

/// Access to an object on disk. While it is held, the file exists for its readers, even after the object was replaced or purged. No
/// method waits.
#[derive(Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    place: Place,
}

impl Handle {
    /// For an entry that was pinned for it.
    pub(super) fn new(shared: &Arc<Shared>, place: Place) -> Self {
        Handle {
            shared: Arc::clone(shared),
            place,
        }
    }

    /// Whether a block can be read from disk.
    pub fn has(&self, number: u32) -> bool {
        self.shared.held().index.block(self.place, number).is_some()
    }

    /// The first block from `number` on that can be read from disk.
    pub fn next(&self, number: u32) -> Option<u32> {
        self.shared.held().index.next_block(self.place, number)
    }

    /// The blocks of `part` that are not on disk but could be.
    pub fn lacks(&self, part: Range<u64>) -> Vec<u64> {
        let held = self.shared.held();
        if !held.index.is_alive(self.place) || !self.shared.is_writing() {
            return Vec::new();
        }
        let is_here = |&number: &u64| {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            held.index.block(self.place, number).is_some()
        };
        part.filter(|number| !is_here(number)).collect()
    }

    /// Whether the whole body can be read from disk.
    pub fn is_whole(&self) -> bool {
        self.shared.held().index.is_whole(self.place)
    }

    /// Disk space of the body's file, in bytes.
    pub fn bytes(&self) -> u64 {
        self.shared.held().index.bytes_of(self.place)
    }

    /// Complete length of the body, if known.
    pub fn length(&self) -> Option<u64> {
        self.shared.held().index.length(self.place)
    }

    /// Queues a block for writing. `pieces` are its bytes in order. Counted if that is not possible.
    pub fn write(&self, number: u32, pieces: Vec<Bytes>) {
        if self.has(number) || !self.shared.held().index.is_alive(self.place) {
            return;
        }
        let bytes = pieces.iter().map(Bytes::len).sum();
        let job = Job::Block(self.place, number, pieces);
        if !self.shared.is_writing() || self.shared.jobs.push(job, bytes).is_err() {
            self.shared.not_written();
        }
    }

    /// Queues a block for reading; `done` is called on another thread with the bytes, or with none if they cannot be read and are
    /// missing.
    pub fn read(&self, number: u32, done: impl FnOnce(Option<Bytes>) + Send + 'static) {
        let read = Read::Block(self.place, number, Done::new(done));
        self.shared.read(read);
    }

    /// Whether it can still be found on disk.
    pub fn is_alive(&self) -> bool {
        self.shared.held().index.is_alive(self.place)
    }

    /// Counts a use of a block that was answered from memory.
    pub fn mark_used(&self, number: u32) {
        self.shared.held().index.mark_used(self.place, number);
    }

    /// Writes a new head. Its id and serial number are set here.
    pub fn set_head(&self, mut head: StoredHead) {
        let mut held = self.shared.held();
        if !held.index.is_alive(self.place) {
            return;
        }
        head.id = self.place.id;
        head.serial = held.index.next_serial();
        let bytes = head.bytes();
        let job = Job::Head(self.place, Box::new(head));
        if self.shared.jobs.push(job, bytes).is_err() {
            // The old head must not be restored after a restart.
            self.shared.not_written();
            self.shared.doom(&mut held, self.place);
        }
    }

    /// Sets the complete length.
    pub fn set_length(&self, length: u64) {
        let mut held = self.shared.held();
        if held.index.is_alive(self.place) && held.index.length(self.place).is_none() {
            held.index.set_length(self.place, length);
            self.shared.must(Job::Length(self.place.id, length));
        }
    }

    /// Removes the object durably. Readers with a handle can still read it.
    pub fn remove(&self) {
        self.shared.doom(&mut self.shared.held(), self.place);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut held = self.shared.held();
        let Some(bytes) = held.index.unpin(self.place) else {
            return;
        };
        let gone = Job::Gone {
            id: self.place.id,
            line: false,
            file: Some(bytes),
        };
        if !self.shared.must(gone) {
            held.index.add_orphaned(bytes);
        }
    }
}
