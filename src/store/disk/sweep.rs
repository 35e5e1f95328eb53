//! Processes purges: reads the heads of older objects, and removes or expires those that a purge affects.

use std::{fs::File, sync::Arc, time::SystemTime};

use super::{
    entry::Place,
    head::StoredHead,
    journal::read_line,
    line::Line,
    purge::{Purge, Verdict, What, judge},
    record::Record,
    shared::{Purged, Shared},
};

/// Objects that are checked in one step.
const STEP: u32 = 64;

/// A pass over all objects.
#[derive(Debug)]
pub struct Sweep {
    purges: Vec<Purge>,
    next: u32,
    /// What was removed so far.
    pub gone: Purged,
}

/// An object that a purge affects: the time since when it is stale, or none if it is removed.
pub type Found = (Place, Box<StoredHead>, Option<SystemTime>);

impl Sweep {
    /// A pass for these purges.
    pub fn new(purges: Vec<Purge>) -> Self {
        Sweep {
            purges,
            next: 0,
            gone: Purged::default(),
        }
    }

    /// The purges that are processed when it is complete.
    pub fn purges(&self) -> &[Purge] {
        &self.purges
    }

    /// Checks more objects. Returns those that are affected, and whether the pass is complete.
    pub fn step(&mut self, shared: &Shared) -> (Vec<Found>, bool) {
        let before = self.purges.iter().map(|purge| purge.serial).max();
        let (lines, file, is_over) = {
            let held = shared.held();
            let slots = held.index.slots();
            let (places, end): (Vec<_>, _) = match &*self.purges {
                // A single key: no other objects are checked.
                [
                    Purge {
                        what: What::Url(key),
                        ..
                    },
                ] => (held.index.same(held.index.hash(key), None), slots),
                _ => {
                    let end = self.next.saturating_add(STEP).min(slots);
                    let places = (self.next..end).filter_map(|slot| held.index.at(slot));
                    (places.collect(), end)
                }
            };
            let lines: Vec<(Place, Line)> = (places.into_iter())
                .filter_map(|place| {
                    let (line, serial) = held.index.head(place)?;
                    (Some(serial) < before).then_some((place, line))
                })
                .collect();
            self.next = end;
            (lines, held.journal.clone(), end >= slots)
        };
        let found = lines.into_iter();
        let found = found.filter_map(|(place, line)| self.look(place, line, file.as_ref()?));
        (found.collect(), is_over)
    }

    fn look(&self, place: Place, line: Line, file: &Arc<File>) -> Option<Found> {
        // Objects with unreadable heads cannot be found anyway.
        let Ok((Record::Head(head), _)) = read_line(file, line) else {
            return None;
        };
        match judge(&self.purges, &head) {
            Verdict::Stays => None,
            Verdict::Gone => Some((place, head, None)),
            Verdict::Stale(since) => Some((place, head, Some(since))),
        }
    }
}
