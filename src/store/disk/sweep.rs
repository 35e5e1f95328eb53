//! Works purges off: reads the heads of older objects, and takes out or makes stale those that a purge means.

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

/// Objects that are looked at in one step.
const STEP: u32 = 64;

/// A walk over all objects.
#[derive(Debug)]
pub struct Sweep {
    purges: Vec<Purge>,
    next: u32,
    /// What went so far.
    pub gone: Purged,
}

/// What is to be done with an object.
pub type Found = (Place, Box<StoredHead>, Option<SystemTime>);

impl Sweep {
    /// A walk for these purges.
    pub fn new(purges: Vec<Purge>) -> Self {
        Sweep {
            purges,
            next: 0,
            gone: Purged::default(),
        }
    }

    /// The purges that are worked off once it is over.
    pub fn purges(&self) -> &[Purge] {
        &self.purges
    }

    /// Looks at some more objects. Those that a purge means, with the time since when they are stale, or none for those that
    /// go; and whether that was all.
    pub fn step(&mut self, shared: &Shared) -> (Vec<Found>, bool) {
        let before = self.purges.iter().map(|purge| purge.serial).max();
        let (lines, file, is_over) = {
            let held = shared.held();
            let slots = held.index.slots();
            let (places, end): (Vec<_>, _) = match &*self.purges {
                // One key: nothing else is looked at.
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
        // What cannot be read cannot be found, either.
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
