//! Rewrites the journal with only what is still valid, in small steps; meanwhile new records are appended to both journals.

use std::{fs::File, io, sync::Arc};

use super::{
    directory::Directory,
    entry::Place,
    figures::count,
    journal::{Journal, read_line},
    line::Line,
    record::Record,
    shared::Shared,
};

/// Objects that are copied in one step.
const STEP: u32 = 64;

/// Checksums in one line.
const SUMS: usize = 4096;

/// A journal that is being rewritten.
#[derive(Debug)]
pub struct Snapshot {
    journal: Journal,
    next: u32,
}

impl Snapshot {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn begin(shared: &Shared, directory: &Directory) -> io::Result<Self> {
        let mut journal = Journal::open(&directory.next_journal())?;
        journal.cut(0)?;
        let purges = shared.held().purges.clone();
        for purge in purges {
            journal.append(&Record::Purge(purge).line())?;
        }
        Ok(Snapshot { journal, next: 0 })
    }

    /// Appends a line that was also appended to the old journal.
    ///
    /// # Errors
    ///
    /// What the system says: then it must be abandoned.
    pub fn append(&mut self, line: &[u8]) -> io::Result<Line> {
        self.journal.append(line)
    }

    /// Copies more objects from `old`. Returns whether it is complete.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn step(&mut self, shared: &Shared, old: Option<&Arc<File>>) -> io::Result<bool> {
        let (objects, slots) = {
            let held = shared.held();
            let slots = held.index.slots();
            let end = self.next.saturating_add(STEP).min(slots);
            let places = (self.next..end).filter_map(|slot| held.index.at(slot));
            let objects: Vec<_> = places
                .filter_map(|place| {
                    let (line, _) = held.index.head(place)?;
                    let length = held.index.length(place);
                    Some((place, line, length, held.index.blocks(place)))
                })
                .collect();
            self.next = end;
            (objects, slots)
        };
        for (place, line, length, blocks) in objects {
            self.copy(shared, old, place, line, length, &blocks)?;
        }
        Ok(self.next >= slots)
    }

    fn copy(
        &mut self,
        shared: &Shared,
        old: Option<&Arc<File>>,
        place: Place,
        line: Line,
        length: Option<u64>,
        blocks: &[(u32, u64)],
    ) -> io::Result<()> {
        let Some((Record::Head(head), bytes)) = old.and_then(|old| read_line(old, line).ok())
        else {
            // Without its head the object is lost.
            count(&shared.counters.checksum_failures);
            shared.doom(&mut shared.held(), place);
            return Ok(());
        };
        let copied = self.journal.append(&bytes)?;
        if let Some(length) = length.filter(|_| head.length.is_none()) {
            let id = place.id;
            self.journal.append(&Record::Length { id, length }.line())?;
        }
        for sums in blocks.chunks(SUMS) {
            let record = Record::Blocks {
                id: place.id,
                sums: sums.to_vec(),
            };
            self.journal.append(&record.line())?;
        }
        shared.held().index.set_next(place, copied.at);
        Ok(())
    }

    /// Replaces the journal by the complete copy.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn finish(self, shared: &Shared, directory: &Directory) -> io::Result<Journal> {
        self.journal.sync()?;
        directory.turn_over()?;
        let mut held = shared.held();
        held.index.turn_over();
        held.journal = Some(Arc::clone(self.journal.file()));
        drop(held);
        Ok(self.journal)
    }
}
