//! Which parts of a body are requested, and when.
//!
//! Parts get smaller towards the end, and if none is left to request, the longest one is split, so that all connections finish at
//! about the same time.

use std::rc::Rc;

use super::{
    memory::Room,
    parallel::Parallel,
    part::{Fetch, Part},
    reader::READ,
    slots::Slot,
    source::Source,
};

/// The smallest part, in bytes.
const LEAST: u64 = 64 * 1024;

impl Parallel {
    /// Requests parts up to the current width, as memory and slots allow. Returns whether one was requested.
    pub(super) fn widen(&mut self) -> bool {
        let mut opened = false;
        while self.busy() < self.width.get() && self.asked() < self.most_asked() {
            if let Some(i) = self.gap() {
                // What the client waits for comes first.
                if !self.open_gap(i) {
                    break;
                }
            } else if self.frontier >= self.end && !self.shorten() {
                if !self.split() {
                    self.hurry();
                    break;
                }
            } else if self.is_far_enough() {
                // The first part is the one all others wait for.
                if !self.split() {
                    self.width.hold_back();
                    break;
                }
            } else if !self.open_next() {
                break;
            }
            opened = true;
        }
        opened
    }

    /// How many parts may have a request of their own.
    fn most_asked(&self) -> usize {
        // The original response's connection counts, whatever it delivers.
        let width = self.replay.origin().transfers().parallel_width - 1;
        self.grant.most().min(width)
    }

    /// Whether nothing must be requested behind the last part for now.
    fn is_far_enough(&self) -> bool {
        if let Some(limit) = self.limit {
            return self.frontier >= limit;
        }
        let window = self.replay.origin().transfers().parallel_window;
        self.held() + self.segment() > window.as_u64()
    }

    /// Bytes that all parts hold, or will hold.
    fn held(&self) -> u64 {
        self.parts
            .iter()
            .map(|part| part.left() + part.held())
            .sum()
    }

    /// Length of the next part: about two rounds of parts for all connections are left.
    pub(super) fn segment(&self) -> u64 {
        let most = self.most_of_a_part();
        let left = match self.parts.back() {
            Some(last) if self.frontier >= self.end => last.left(),
            _ => self.end - self.frontier,
        };
        (left / (2 * self.width.get() as u64)).clamp(LEAST.min(most), most)
    }

    fn most_of_a_part(&self) -> u64 {
        self.replay.origin().transfers().parallel_segment.as_u64()
    }

    /// Shortens the stall window of every part, because none is left to open and the last ones are waited for.
    fn hurry(&mut self) {
        let window = self.replay.origin().width_period() * 2;
        for source in self.parts.iter_mut().filter_map(Part::source_mut) {
            source.hurry(window);
        }
        if self.first_is_due()
            && let Some(first) = &mut self.first
        {
            first.hurry(window);
        }
    }

    /// Shortens the last part if it is long and no more part is left: what is left of it can then be divided.
    fn shorten(&mut self) -> bool {
        let (segment, most) = (self.segment(), self.most_of_a_part());
        let Some(last) = self.parts.back_mut() else {
            return false;
        };
        let cut = last.next + segment;
        // No requested part is longer than this.
        let runs = last.is_gap() || last.fetch.is_some() && last.left() > most + most / 2;
        if !runs || cut + segment / 2 >= last.end {
            return false;
        }
        last.limit(cut);
        self.frontier = cut;
        true
    }

    /// The first part without a request that the original response is not delivering.
    fn gap(&self) -> Option<usize> {
        let is_free = |part: &Part| part.is_gap() && !self.first_is_at(part.next);
        self.parts.iter().position(is_free)
    }

    /// Requests such a part, or the start of a long one.
    fn open_gap(&mut self, i: usize) -> bool {
        let most = self.most_of_a_part();
        let part = &self.parts[i];
        let cut = if part.left() > most + most / 2 {
            part.next + most
        } else {
            part.end
        };
        // It keeps the memory that it had reserved.
        let room = match part.room {
            Some(_) => None,
            None => match self.room(cut - part.next) {
                None => return false,
                room => room,
            },
        };
        let Some(slot) = self.leave() else {
            return false;
        };
        let fetch = self.fetch(self.parts[i].next, cut, Some(slot));
        let part = &mut self.parts[i];
        let end = std::mem::replace(&mut part.end, cut);
        part.fetch = Some(fetch);
        part.room = part.room.take().or(room);
        if cut < end {
            self.parts.insert(i + 1, Part::gap(cut, end));
        }
        true
    }

    /// Requests the next part to deliver, whatever the limits: the body has no other connection.
    pub(super) fn open_due(&mut self) {
        let Some((next, end)) = self.parts.front().map(|due| (due.next, due.end)) else {
            return;
        };
        let fetch = self.fetch(next, end, None);
        if let Some(due) = self.parts.front_mut() {
            due.fetch = Some(fetch);
        }
    }

    /// Splits the part with the most bytes left, and requests its second half.
    fn split(&mut self) -> bool {
        let longest = self
            .parts
            .iter()
            .enumerate()
            .max_by_key(|(_, part)| part.left());
        let Some((i, part)) = longest else {
            return false;
        };
        let (half, end) = (part.left() / 2, part.end);
        if half < LEAST {
            return false;
        }
        let middle = end - half;
        let room = self.limit.and_then(|_| self.room(half));
        if self.limit.is_some() && room.is_none() {
            return false;
        }
        let Some(slot) = self.leave() else {
            return false;
        };
        let fetch = self.fetch(middle, end, Some(slot));
        let part = &mut self.parts[i];
        // What is kept of the second half takes its share of the reserved memory.
        let room = room.or_else(|| part.room.as_mut()?.split_off(half));
        part.limit(middle);
        let half = Part {
            fetch: Some(fetch),
            room,
            ..Part::gap(middle, end)
        };
        self.parts.insert(i + 1, half);
        true
    }

    /// Requests the part at the frontier.
    fn open_next(&mut self) -> bool {
        let (left, segment) = (self.end - self.frontier, self.segment());
        // Avoids a tiny last part.
        let len = if left < segment + segment / 2 {
            left
        } else {
            segment
        };
        let Some(room) = self.room(len) else {
            return false;
        };
        let Some(slot) = self.leave() else {
            return false;
        };
        let (from, end) = (self.frontier, self.frontier + len);
        let fetch = self.fetch(from, end, Some(slot));
        self.parts.push_back(Part {
            fetch: Some(fetch),
            room: Some(room),
            ..Part::gap(from, end)
        });
        self.frontier = end;
        true
    }

    /// Reserves memory for what a part's connection reads at once, and for the part itself if it is kept.
    fn room(&self, bytes: u64) -> Option<Room> {
        let kept = if self.limit.is_none() { bytes } else { 0 };
        let memory = self.replay.origin().memory();
        memory.reserve(kept.saturating_add(READ as u64))
    }

    /// A slot for one more part: the spare one, otherwise one that no request needs.
    fn leave(&mut self) -> Option<Slot> {
        let kept = self.spare.take();
        kept.or_else(|| self.replay.origin().slot_for_a_part())
    }

    /// Sends the request for a part on its own connection.
    fn fetch(&self, from: u64, end: u64, slot: Option<Slot>) -> Fetch {
        let origin = self.replay.origin();
        origin.state().counters.parts.increment();
        origin.earn_stalls();
        Fetch {
            source: Source::part(Rc::clone(&self.replay), self.whole.part(from, end)),
            slot,
            under_way: origin.parts_under_way().part(),
        }
    }
}
