//! Reads the journal at startup and rebuilds the index.

use std::{io, sync::atomic::Ordering::Relaxed};

use super::{
    blocks::MOST,
    entry::Place,
    figures::count,
    id::Id,
    index::{BLOCK_COST, COST},
    journal::{Journal, Read},
    line::Line,
    new::New,
    purge::What,
    record::Record,
    shared::{Held, Room, Shared},
};

/// Records that are applied while the index is locked.
const BATCH: usize = 256;

/// Reads the whole journal.
///
/// A damaged line at the end was torn by a power failure; it was never confirmed as durable, and is cut off. A damaged line with
/// valid lines behind it could have been a purge: everything older is forgotten, and what the later lines add is kept.
///
/// # Errors
///
/// What the system says. What was read until then must be discarded.
pub fn replay(shared: &Shared, journal: &mut Journal) -> io::Result<()> {
    let mut bad = None;
    let mut batch = Vec::with_capacity(BATCH);
    journal.read(|read| {
        match read {
            Read::Bad(at) => {
                if bad.is_none() {
                    bad = Some(at);
                    count(&shared.counters.journal_damages);
                }
            }
            Read::Good(record, line) => {
                if bad.take().is_some() {
                    batch.clear();
                    shared.held().forget();
                    shared.lacking.store(true, Relaxed);
                }
                batch.push((*record, line));
                if batch.len() >= BATCH {
                    take(shared, &mut batch);
                }
            }
        }
        true
    })?;
    take(shared, &mut batch);
    if let Some(at) = bad {
        journal.cut(at)?;
    }
    settle(shared);
    Ok(())
}

/// Applies records.
fn take(shared: &Shared, batch: &mut Vec<(Record, Line)>) {
    // An upper bound: 8 bytes for each block, and the cost of a sparse extent once.
    let sums = batch.iter().map(|(record, _)| match record {
        Record::Blocks { sums, .. } => sums.len() as u64 * 16 + BLOCK_COST,
        _ => 0,
    });
    let cost = batch.len() as u64 * COST + sums.sum::<u64>();
    let fits = shared.charge(cost, Room::Any);
    let mut held = shared.held();
    for (record, line) in batch.drain(..) {
        held.apply(record, line, fits);
    }
}

/// Removes useless entries: heads without a body, incomplete bodies that cannot be continued, and objects that were replaced while
/// the journal was read.
fn settle(shared: &Shared) {
    let mut held = shared.held();
    let replaced = held.loading.take().unwrap_or_default();
    for slot in 0..held.index.slots() {
        let Some(place) = held.index.at(slot) else {
            continue;
        };
        if replaced.has(held.index.hash_of(place)) {
            shared.doom(&mut held, place);
        } else if !held.index.is_useful(place) {
            let bytes = held.index.remove(place);
            held.index.add_orphaned(bytes);
        }
    }
}

impl Held {
    /// Discards everything read so far.
    fn forget(&mut self) {
        self.index.clear();
        self.purges.clear();
    }

    /// Applies one record. Without `fits`, no objects are added.
    fn apply(&mut self, record: Record, line: Line, fits: bool) {
        match record {
            Record::Head(head) => {
                let hash = self.index.hash(&head.key);
                let variant = self.index.variant(&head.variant);
                let place = match self.index.place(head.id) {
                    Some(place) => place,
                    None if !fits => return,
                    None => {
                        if !self.make_way(hash, variant, head.serial) {
                            return;
                        }
                        self.index.insert(New {
                            hash,
                            variant,
                            id: head.id,
                            serial: head.serial,
                            length: head.length,
                            resumable: head.validator.is_some(),
                        })
                    }
                };
                self.index.set_head(place, line, 0, head.serial);
            }
            Record::Blocks { id, sums } => {
                if let Some(place) = self.index.place(id).filter(|_| fits) {
                    for (number, sum) in sums {
                        self.index.set_block(place, number, sum);
                    }
                }
            }
            Record::Length { id, length } => self.with(id, |held, place| {
                held.index.set_length(place, length);
            }),
            Record::Freed { id, from, to } => self.with(id, |held, place| {
                let bytes = held.index.clear_blocks(place, from..to.clamp(from, MOST));
                held.index.left(bytes);
            }),
            Record::Gone { id } => self.with(id, |held, place| {
                let bytes = held.index.remove(place);
                held.index.left(bytes);
            }),
            Record::Purge(purge) => {
                self.index.pass_serial(purge.serial);
                if purge.what == What::All && !purge.soft {
                    self.forget();
                } else {
                    self.purges.push(purge);
                }
            }
            Record::Swept { serial } => self.purges.retain(|purge| purge.serial != serial),
        }
    }

    fn with(&mut self, id: Id, then: impl FnOnce(&mut Self, Place)) {
        if let Some(place) = self.index.place(id) {
            then(self, place);
        }
    }

    /// Of two objects for the same requests the newer one counts. Returns whether one with this serial number is added.
    fn make_way(&mut self, hash: u128, variant: u64, serial: u64) -> bool {
        for place in self.index.same(hash, Some(variant)) {
            let known = self.index.head(place).map_or(0, |(_, serial)| serial);
            if known > serial {
                return false;
            }
            let bytes = self.index.remove(place);
            self.index.add_orphaned(bytes);
        }
        true
    }
}
