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
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    reader::BodyError,
    resume::Replay,
    slots::Slot,
    source::{Source, Widened},
};
use crate::{
    path::range::Continuation,
    traffic::{tuning::Tuning, width::Width},
};

/// The smallest part that is cut off the rest.
const LEAST: u64 = 64 * 1024;

/// Bytes that parts may hold, over all transfers.
#[derive(Debug)]
pub struct Memory {
    used: AtomicUsize,
    most: usize,
}

impl Memory {
    /// Room for so many bytes.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Memory {
            used: AtomicUsize::new(0),
            most,
        })
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Room> {
        let fits = |used: usize| used.checked_add(bytes).filter(|&used| used <= self.most);
        self.used.fetch_update(Relaxed, Relaxed, fits).ok()?;
        Some(Room {
            memory: Arc::clone(self),
            bytes,
        })
    }
}

/// Room that is given back when this is dropped.
#[derive(Debug)]
struct Room {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Relaxed);
    }
}

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
    /// The transfer's own: one connection may always be open.
    _slot: Option<Slot>,
}

struct Part {
    source: Option<Source>,
    /// The next byte of the source.
    next: u64,
    /// The byte behind the part.
    end: u64,
    ahead: VecDeque<Bytes>,
    _room: Option<Room>,
}

impl Part {
    /// Reads what the source has, up to the part's end.
    fn poll_source(
        &mut self,
        cx: &mut Context<'_>,
        tuning: &Tuning,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        let Some(source) = &mut self.source else {
            return Poll::Ready(None);
        };
        match std::task::ready!(source.poll_piece(cx, tuning)) {
            Some(Ok(mut piece)) => {
                piece.truncate(usize::try_from(self.end - self.next).unwrap_or(usize::MAX));
                self.next += piece.len() as u64;
                if self.next == self.end {
                    // What comes behind it belongs to the next part.
                    self.source = None;
                }
                Poll::Ready(Some(Ok(piece)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None if self.next == self.end => {
                self.source = None;
                Poll::Ready(None)
            }
            None => Poll::Ready(Some(Err(BodyError::Cut))),
        }
    }
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
        let part = Part {
            source: Some(first),
            next: whole.next(),
            end: reach,
            ahead: VecDeque::new(),
            _room: None,
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
            _slot: slot,
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
                if let Err(error) = self.open_next(true) {
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
                    return Poll::Ready(Some(Ok(piece)));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.parts.pop_front();
                    self.widen();
                }
            }
        }
    }

    /// Reads the parts behind the first one, and opens further ones.
    fn fill(&mut self, cx: &mut Context<'_>, tuning: &Tuning) {
        let mut failed = None;
        for (i, part) in self.parts.iter_mut().enumerate().skip(1) {
            while let Poll::Ready(Some(read)) = part.poll_source(cx, tuning) {
                match read {
                    Ok(piece) => {
                        self.width.came(piece.len());
                        part.ahead.push_back(piece);
                    }
                    Err(error) => {
                        failed = Some((i, error));
                        break;
                    }
                }
            }
            if failed.is_some() {
                break;
            }
        }
        if let Some((i, error)) = failed {
            self.give_up(i, &error);
        }
        if let Some(width) = self.width.judge(Instant::now()) {
            self.replay.origin().use_width(width);
            tracing::debug!(width, at_byte = self.frontier, "a body's width changed");
        }
        self.widen();
    }

    /// A part cannot be had: what comes from there on goes the plain way.
    fn give_up(&mut self, i: usize, error: &BodyError) {
        let counters = &self.replay.origin().published().counters.origin;
        counters.parts_given_up.increment();
        self.width.punish(Instant::now());
        self.single = true;
        // Where the part before it still has its whole response, that one goes on to the end.
        let from = self.parts[i].next
            - self.parts[i]
                .ahead
                .iter()
                .map(|piece| piece.len() as u64)
                .sum::<u64>();
        tracing::info!(at_byte = from, %error, "a part of a body cannot be had, the body goes on over one connection");
        self.parts.truncate(i);
        self.frontier = from;
        if let [first] = self.parts.make_contiguous()
            && first.source.as_ref().is_some_and(Source::runs_to_the_end)
        {
            first.end = self.end;
            self.frontier = self.end;
            if let Some(source) = &mut first.source {
                source.limit(self.end);
            }
        }
    }

    /// Opens parts until there are as many connections as the width says, memory and slots allowing.
    fn widen(&mut self) {
        if self.single {
            return;
        }
        loop {
            let busy = self
                .parts
                .iter()
                .filter(|part| part.source.is_some())
                .count();
            if busy >= self.width.get() {
                return;
            }
            if self.frontier >= self.end && !self.shorten() {
                if !self.split() {
                    return self.hurry();
                }
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
                if self.split() {
                    continue;
                }
                self.width.hold_back();
                return;
            }
            if self.open_next(false).is_err() {
                return;
            }
        }
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

    /// All is in parts, but the first response still runs to the end: cuts it short, if enough is left of it.
    fn shorten(&mut self) -> bool {
        let segment = self.segment();
        let Some(last) = self.parts.back_mut() else {
            return false;
        };
        let cut = last.next + segment;
        let runs = last.source.as_ref().is_some_and(Source::runs_to_the_end);
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
        let Ok((room, slot)) = self.leave(half) else {
            return false;
        };
        let part = &mut self.parts[i];
        part.end = middle;
        if let Some(source) = &mut part.source {
            source.limit(middle);
        }
        let half = self.part(middle, end, slot, room);
        self.parts.insert(i + 1, half);
        true
    }

    /// Leave for one more request that nobody else is waiting to make, and room for what it brings.
    fn leave(&self, bytes: u64) -> Result<(Option<Room>, Option<Slot>), BodyError> {
        let origin = self.replay.origin();
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let room = origin.memory().reserve(bytes).ok_or(BodyError::Cut)?;
        let slot = origin.try_slot().ok_or(BodyError::Cut)?;
        // One more request for the origin, like any other.
        let gate = &origin.published().gate;
        gate.admit(Instant::now(), Duration::ZERO)
            .map_err(|_| BodyError::Cut)?;
        Ok((Some(room), Some(slot)))
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
            _room: room,
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
            self.leave(len)?
        };
        let end = self.frontier + len;
        let part = self.part(self.frontier, end, slot, room);
        self.parts.push_back(part);
        self.frontier = end;
        Ok(())
    }
}
