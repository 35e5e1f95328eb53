//! One body over several connections: it is cut into parts, each part is fetched by Range on a connection of its own,
//! and they are handed out in order.
//!
//! The first part is the first response itself. As long as one connection is enough it stays the only one; a part
//! that cannot be had is given up with all behind it, and the body goes on the plain way. Parts get smaller towards
//! the end, and where none is left to open, the longest one is split, so that all connections end at about the same
//! time.

use std::{
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;

use super::{
    memory::Room,
    part::Part,
    reader::{BodyError, READ},
    resume::Replay,
    slots::Slot,
    source::{Source, Widened},
};
use crate::{
    path::continuation::Continuation,
    traffic::{tuning::Tuning, width::Width},
};

/// The smallest part that is cut off the rest.
const LEAST: u64 = 64 * 1024;

/// A body in parts.
pub struct Parallel {
    replay: Rc<Replay>,
    /// The whole, for the parts' requests.
    whole: Continuation,
    parts: VecDeque<Part>,
    /// The first byte that is in no part yet.
    frontier: u64,
    end: u64,
    width: Width,
    /// More connections are out of the question for this body.
    single: bool,
    /// Another connection than the first has brought something: the origin has ranges.
    proven: bool,
    /// The first response, which waits behind its part until that is so: it could still bring all the rest.
    kept: Option<Part>,
    /// The transfer's own: one connection may always be open, until all is here.
    slot: Option<Slot>,
}

impl Parallel {
    /// Begins with the first response as the only part.
    pub fn new(mut first: Source, widened: Widened) -> Self {
        let Widened {
            replay,
            whole,
            reach,
            end,
        } = widened;
        let origin = replay.origin();
        let settings = origin.transfers();
        let now = Instant::now();
        let width = Width::new(
            origin.usual_width(),
            settings.parallel_width,
            origin.width_period(),
            now,
        );
        let slot = first.take_slot();
        // What it was refused before says nothing of several at once.
        first.note_refusal();
        let part = Part {
            source: Some(first),
            next: whole.next(),
            end: reach,
            ahead: VecDeque::new(),
            behind: None,
            room: None,
        };
        origin
            .published()
            .counters
            .origin
            .parallel_transfers
            .increment();
        Parallel {
            parts: VecDeque::from([part]),
            frontier: reach,
            end,
            width,
            single: false,
            proven: false,
            kept: None,
            slot,
            replay,
            whole,
        }
    }

    /// The origin is not waited for just now.
    pub fn pause(&mut self) {
        self.width.hold_back();
        for source in self
            .parts
            .iter_mut()
            .filter_map(|part| part.source.as_mut())
        {
            source.pause();
        }
    }

    /// Whether no more is to come.
    pub fn is_done(&self) -> bool {
        self.parts.is_empty() && self.frontier >= self.end
    }

    /// The next piece in order; `None` at the end.
    pub fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        tuning: &Tuning,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        self.fill(cx, tuning);
        loop {
            let Some(front) = self.parts.front_mut() else {
                if self.frontier >= self.end {
                    return Poll::Ready(None);
                }
                if let Some(first) = self.kept.take() {
                    self.go_on_with(first);
                } else if let Err(error) = self.open_next(true) {
                    return Poll::Ready(Some(Err(error)));
                }
                continue;
            };
            if let Some(piece) = front.ahead.pop_front() {
                return Poll::Ready(Some(Ok(piece)));
            }
            match std::task::ready!(front.poll_source(cx, tuning)) {
                Some(Ok(piece)) => {
                    self.width.came(piece.len());
                    if self.kept.take().is_some() {
                        self.proven = true;
                    }
                    return Poll::Ready(Some(Ok(piece)));
                }
                Some(Err(error)) => {
                    let Some(first) = self.kept.take() else {
                        return Poll::Ready(Some(Err(error)));
                    };
                    self.give_up(0, &error);
                    self.go_on_with(first);
                }
                None => {
                    let done = self.parts.pop_front();
                    if !self.proven {
                        self.kept = done.and_then(Part::behind);
                    }
                    self.fill(cx, tuning);
                }
            }
        }
    }

    /// Reads the parts behind the first one, and opens further ones; their requests go out at once.
    fn fill(&mut self, cx: &mut Context<'_>, tuning: &Tuning) {
        loop {
            self.read_ahead(cx, tuning);
            self.heed_refusals();
            self.wait_for_no_other();
            if let Some(width) = self.width.judge(Instant::now()) {
                self.replay.origin().use_width(width);
                tracing::debug!(width, at_byte = self.frontier, "a body's width changed");
            }
            if !self.widen() {
                break;
            }
        }
        let is_here = |part: &Part| part.source.is_none();
        if self.frontier >= self.end && self.kept.is_none() && self.parts.iter().all(is_here) {
            self.slot = None;
        }
    }

    /// Reads what has come of the parts behind the first one.
    fn read_ahead(&mut self, cx: &mut Context<'_>, tuning: &Tuning) {
        let mut failed = None;
        'parts: for (i, part) in self.parts.iter_mut().enumerate().skip(1) {
            while let Poll::Ready(Some(read)) = part.poll_source(cx, tuning) {
                match read {
                    Ok(piece) => {
                        self.width.came(piece.len());
                        part.ahead.push_back(piece);
                        // The origin has ranges.
                        self.proven = true;
                    }
                    Err(error) => {
                        failed = Some((i, error));
                        break 'parts;
                    }
                }
            }
        }
        if self.proven {
            self.kept = None;
        }
        if let Some((i, error)) = failed {
            self.give_up(i, &error);
        }
    }

    /// Fewer connections as soon as the origin turns a part away (429, 503), or is late with it. What was asked for last
    /// waits until a connection is due for it; a part that others wait behind is asked for again, later.
    fn heed_refusals(&mut self) {
        let refused = self.parts.iter().filter(|part| part.is_refused()).count();
        if refused == 0 {
            return;
        }
        let origin = Rc::clone(self.replay.origin());
        let counters = &origin.published().counters.origin;
        counters.parts_refused.add(refused as u64);
        self.width.punish(Instant::now());
        origin.use_width(self.width.get());
        tracing::debug!(
            refused,
            width = self.width.get(),
            "the origin does not give so many parts at once"
        );
        // Nothing has come of it, and it is not the first, which the client waits for.
        let waits = |part: &Part| part.is_refused() && part.ahead.is_empty();
        while self.parts.len() > 1
            && self.busy() > self.width.get()
            && self.parts.back().is_some_and(waits)
            && let Some(last) = self.parts.pop_back()
        {
            self.frontier = last.next;
            // It was to be asked for once more, and is not.
            origin.refund(1.0);
        }
        for part in &mut self.parts {
            part.note_refusal();
        }
    }

    /// Where the part that is due was refused, and the first response is still there, that goes on at once: an origin
    /// that gives one answer at a time gives no part as long as the first response is kept.
    fn wait_for_no_other(&mut self) {
        let front = self.parts.front().and_then(|part| part.source.as_ref());
        if front.is_some_and(Source::is_asked_again)
            && let Some(first) = self.kept.take()
        {
            self.go_on_with(first);
        }
    }

    /// How many connections bring something.
    fn busy(&self) -> usize {
        let busy = self.parts.iter().filter(|part| part.source.is_some());
        busy.count()
    }

    /// A part cannot be had: what comes from there on goes the plain way.
    fn give_up(&mut self, i: usize, error: &BodyError) {
        let counters = &self.replay.origin().published().counters.origin;
        counters.parts_given_up.increment();
        self.width.punish(Instant::now());
        self.replay.origin().use_width(self.width.get());
        self.single = true;
        let from = self.parts[i].next
            - self.parts[i]
                .ahead
                .iter()
                .map(|piece| piece.len() as u64)
                .sum::<u64>();
        tracing::info!(id = self.replay.id(), trace_id = self.replay.trace_id().map(display), at_byte = from, %error, "a part of a body cannot be had, the body goes on over one connection");
        self.parts.truncate(i);
        self.frontier = from;
        self.rejoin();
    }

    /// Where the last part's response goes on to the end and nothing behind it is asked for, it brings the rest.
    fn rejoin(&mut self) {
        if let Some(last) = self.parts.back_mut()
            && last.end == self.frontier
            && let Some(source) = &mut last.source
            && source.runs_to_the_end()
        {
            source.limit(self.end);
            last.end = self.end;
            self.frontier = self.end;
        }
    }

    /// The first response brings all the rest after all. No part is before it.
    fn go_on_with(&mut self, mut first: Part) {
        first.end = self.end;
        if let Some(source) = &mut first.source {
            source.limit(self.end);
        }
        self.frontier = self.end;
        self.parts = VecDeque::from([first]);
    }

    /// Opens parts until there are as many connections as the width says, memory and slots allowing. Whether one was.
    fn widen(&mut self) -> bool {
        let mut opened = false;
        while !self.single {
            if self.busy() >= self.width.get() {
                break;
            }
            if self.frontier >= self.end && !self.shorten() {
                if !self.split() {
                    self.hurry();
                    break;
                }
                opened = true;
                continue;
            }
            let segment = self.segment();
            let held: u64 = self
                .parts
                .iter()
                .map(|part| part.end - part.next)
                .sum::<u64>()
                + self
                    .parts
                    .iter()
                    .flat_map(|part| &part.ahead)
                    .map(|piece| piece.len() as u64)
                    .sum::<u64>();
            let window = self.replay.origin().transfers().parallel_window;
            if held + segment > window.as_u64() {
                // The first part is what all the others wait for.
                if !self.split() {
                    self.width.hold_back();
                    self.rejoin();
                    break;
                }
            } else if self.open_next(false).is_err() {
                self.rejoin();
                break;
            }
            opened = true;
        }
        opened
    }

    /// Nothing is left to open: what comes now is waited for, and a part that stands still is asked for once more soon.
    fn hurry(&mut self) {
        let window = self.replay.origin().width_period() * 2;
        for source in self
            .parts
            .iter_mut()
            .filter_map(|part| part.source.as_mut())
        {
            source.hurry(window);
        }
    }

    /// The length of the next part: so that about two rounds of parts are left for all connections.
    fn segment(&self) -> u64 {
        let most = self.replay.origin().transfers().parallel_segment.as_u64();
        let left = match self.parts.back() {
            Some(last) if self.frontier >= self.end => last.end - last.next,
            _ => self.end - self.frontier,
        };
        (left / (2 * self.width.get() as u64)).clamp(LEAST.min(most), most)
    }

    /// All is in parts, but the last one runs to the end: the first response, or what it was resumed by. Cuts it short,
    /// if enough is left of it.
    fn shorten(&mut self) -> bool {
        let segment = self.segment();
        let most = self.replay.origin().transfers().parallel_segment.as_u64();
        let Some(last) = self.parts.back_mut() else {
            return false;
        };
        let cut = last.next + segment;
        // No part is longer than this.
        let runs = last.source.as_ref().is_some_and(Source::runs_to_the_end)
            || last.source.is_some() && last.end - last.next > most + most / 2;
        if !runs || cut + segment / 2 >= last.end {
            return false;
        }
        last.end = cut;
        if let Some(source) = &mut last.source {
            source.limit(cut);
        }
        self.frontier = cut;
        true
    }

    /// Gives the second half of what has most left to come to one more connection.
    fn split(&mut self) -> bool {
        let left = |part: &Part| part.source.as_ref().map_or(0, |_| part.end - part.next);
        let Some((i, part)) = self
            .parts
            .iter()
            .enumerate()
            .max_by_key(|(_, part)| left(part))
        else {
            return false;
        };
        let (half, end) = (left(part) / 2, part.end);
        if half < LEAST {
            return false;
        }
        let middle = end - half;
        let Ok(slot) = self.leave() else {
            return false;
        };
        let part = &mut self.parts[i];
        // The half takes its room along.
        let room = part.room.as_mut().and_then(|room| room.split_off(half));
        part.end = middle;
        if let Some(source) = &mut part.source {
            source.limit(middle);
        }
        let half = self.part(middle, end, Some(slot), room);
        self.parts.insert(i + 1, half);
        true
    }

    /// Room for what a part brings, and for what its connection reads at once.
    fn room(&self, bytes: u64) -> Result<Room, BodyError> {
        let memory = self.replay.origin().memory();
        memory
            .reserve(bytes.saturating_add(READ as u64))
            .ok_or(BodyError::Cut)
    }

    /// Leave for one more request that nobody else is waiting to make.
    fn leave(&self) -> Result<Slot, BodyError> {
        let origin = self.replay.origin();
        let slot = origin.try_slot().ok_or(BodyError::Cut)?;
        // One more request for the origin, like any other.
        let gate = &origin.published().gate;
        if !gate.admit_spare(Instant::now()) {
            return Err(BodyError::Cut);
        }
        Ok(slot)
    }

    /// A part, asked for on a connection of its own.
    fn part(&self, from: u64, end: u64, slot: Option<Slot>, room: Option<Room>) -> Part {
        let origin = self.replay.origin();
        origin.published().counters.origin.parts.increment();
        origin.earn_stalls();
        Part {
            source: Some(Source::part(
                Rc::clone(&self.replay),
                self.whole.part(from, end),
                slot,
            )),
            next: from,
            end,
            ahead: VecDeque::new(),
            behind: None,
            room,
        }
    }

    /// Opens the part at the frontier. One that the body cannot do without takes its slot whatever others do.
    fn open_next(&mut self, needed: bool) -> Result<(), BodyError> {
        let left = self.end - self.frontier;
        let segment = self.segment();
        // No crumb at the end; and all of it in one, where this is the only connection.
        let len = if left < segment + segment / 2 || self.single {
            left
        } else {
            segment
        };
        let (room, slot) = if needed {
            (None, None)
        } else {
            (Some(self.room(len)?), Some(self.leave()?))
        };
        let end = self.frontier + len;
        let part = self.part(self.frontier, end, slot, room);
        self.parts.push_back(part);
        self.frontier = end;
        Ok(())
    }
}
