//! One body over several connections: it is divided into parts, each part is fetched by a Range request on its own connection, and
//! they are delivered in order, or, to a stored object, as they arrive.
//!
//! The original response stays open until the body is complete: it delivers its own part, and later whatever cannot be fetched
//! otherwise. So a body in parts is never worse off than a plain GET. Fetched parts are kept, whatever happens to others.

use std::{
    collections::VecDeque,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;

use super::{
    body_error::BodyError,
    first::First,
    grant::Grant,
    parallel_plan::ParallelPlan,
    part::{Fetch, Part},
    parts_under_way::{Anchor, Member},
    replay::Replay,
    reserve::Reserve,
    slots::Slot,
    source::Source,
};
use crate::{
    path::continuation::Continuation,
    traffic::{tuning::Tuning, width::Width},
};

/// A body that is fetched in parts.
pub struct Parallel {
    pub(super) replay: Rc<Replay>,
    /// The whole body, from which the parts' requests are derived.
    pub(super) whole: Continuation,
    /// In order, without those that are complete and delivered; the first one is delivered next.
    pub(super) parts: VecDeque<Part>,
    /// Position behind the last part.
    pub(super) frontier: u64,
    pub(super) end: u64,
    pub(super) width: Width,
    pub(super) grant: Grant,
    /// Where bytes are delivered as they arrive: the position before which parts may be requested. None where they are delivered in
    /// order, and those that arrive early are kept.
    pub(super) limit: Option<u64>,
    /// Fallback: the original response, kept open until the body is complete. None once it has failed.
    pub(super) first: Option<First>,
    reserve: Reserve,
    /// Since when the client waits for the next part; none while it does not.
    waits_since: Option<Instant>,
    /// The body's own slot: one connection is always allowed until the body is complete.
    slot: Option<Slot>,
    /// Permits one more slot for the part that the client waits for; otherwise it would go to queued requests, and the part would
    /// be left to the original response.
    anchor: Option<Anchor>,
    /// The slot kept by `anchor`, while no part uses it.
    pub(super) spare: Option<Slot>,
    pub(super) member: Member,
}

impl Parallel {
    /// Starts with the original response as the only part.
    pub fn new(mut first: Source, plan: ParallelPlan) -> Self {
        let ParallelPlan { replay, whole, end } = plan;
        let origin = replay.origin();
        let now = Instant::now();
        let width = Width::new(
            origin.usual_width(),
            origin.transfers().parallel_width,
            origin.width_period(),
            now,
        );
        origin.state().counters.parallel_transfers.increment();
        let slot = first.take_slot();
        Parallel {
            parts: VecDeque::from([Part::gap(whole.next(), end)]),
            frontier: end,
            end,
            width,
            grant: Grant::new(replay.allowance(now)),
            limit: None,
            first: Some(First::new(first, whole.next())),
            reserve: Reserve::default(),
            waits_since: None,
            slot,
            anchor: origin.anchor(),
            spare: None,
            member: origin.parts_under_way().join(),
            replay,
            whole,
        }
    }

    /// Stops the clocks for stalls and idle reads, because nobody waits for the origin just now.
    pub fn pause(&mut self) {
        self.width.hold_back();
        self.waits_since = None;
        for source in self.parts.iter_mut().filter_map(Part::source_mut) {
            source.pause();
        }
        if let Some(first) = &mut self.first {
            first.pause();
        }
    }

    /// Called while the client reads nothing: slots go to other requests.
    pub fn park(&mut self, cx: &Context<'_>) {
        self.pause();
        let sources = self.parts.iter_mut().filter_map(Part::source_mut);
        sources.for_each(|source| source.park(cx));
        if let Some(slot) = &mut self.slot {
            slot.waits_for_client();
        }
    }

    /// Whether the end was reached.
    pub fn is_done(&self) -> bool {
        self.parts.is_empty() && self.frontier >= self.end
    }

    /// The next piece and its position; `None` at the end. In order, unless there is a `limit`: then as they arrive, and no part is
    /// requested from that position on.
    pub fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        tuning: &Tuning,
        limit: Option<u64>,
    ) -> Poll<Option<Result<(u64, Bytes), BodyError>>> {
        self.limit = limit;
        if let Some(early) = self.early() {
            return Poll::Ready(Some(Ok(early)));
        }
        self.make_room(cx);
        if let Some(slot) = &mut self.slot {
            slot.moves();
        }
        self.fill(cx, tuning);
        match self.poll_front(cx, tuning) {
            Poll::Pending => self
                .early()
                .map_or(Poll::Pending, |early| Poll::Ready(Some(Ok(early)))),
            piece => piece,
        }
    }

    /// What has arrived of the parts behind the first one, if it may be delivered.
    fn early(&mut self) -> Option<(u64, Bytes)> {
        self.limit?;
        let i = (1..self.parts.len()).find(|&i| !self.parts[i].ahead.is_empty())?;
        let part = &mut self.parts[i];
        let early = part.ahead.pop_front();
        if part.is_here() && part.ahead.is_empty() {
            part.room = None;
            // The last one tells how far parts were requested.
            if i + 1 < self.parts.len() {
                self.parts.remove(i);
            }
        }
        early
    }

    /// The next piece in order.
    fn poll_front(
        &mut self,
        cx: &mut Context<'_>,
        tuning: &Tuning,
    ) -> Poll<Option<Result<(u64, Bytes), BodyError>>> {
        loop {
            let Some(front) = self.parts.front_mut() else {
                if self.frontier >= self.end {
                    return Poll::Ready(None);
                }
                self.go_on();
                continue;
            };
            if !front.ahead.is_empty() {
                return match self.hand_out() {
                    Some(piece) => Poll::Ready(Some(Ok(piece))),
                    None => Poll::Pending,
                };
            }
            if front.is_here() {
                self.parts.pop_front();
                self.waits_since = None;
                self.fill(cx, tuning);
            } else if front.is_gap() {
                if self.first.is_none() {
                    self.open_due();
                } else if let Some(piece) = ready!(self.poll_first(cx, tuning)) {
                    return Poll::Ready(Some(piece));
                }
            } else {
                let Poll::Ready(read) = front.poll_source(cx, tuning) else {
                    self.waits_since.get_or_insert_with(Instant::now);
                    return Poll::Pending;
                };
                match read {
                    Some(Ok(bytes)) => self.came(0, bytes),
                    Some(Err(error)) if self.first.is_none() => {
                        return Poll::Ready(Some(Err(error)));
                    }
                    Some(Err(error)) => self.give_up(0, &error),
                    None => {}
                }
            }
        }
    }

    /// The next bytes to deliver; none while the last ones before a gap are held back (see `reserve`).
    fn hand_out(&mut self) -> Option<(u64, Bytes)> {
        let mut most = u64::MAX;
        if self.grant.is_over()
            && let Some(first) = &self.first
        {
            let (mut gap, mut left) = (self.frontier, 0);
            for part in &self.parts {
                left += part.held();
                if part.is_gap() {
                    gap = part.next;
                    break;
                }
                left += part.left();
            }
            if gap < self.end {
                most = self.reserve.most(left, gap.saturating_sub(first.next()))?;
            }
        }
        let ahead = &mut self.parts.front_mut()?.ahead;
        let (at, mut piece) = ahead.pop_front()?;
        if most < piece.len() as u64 {
            ahead.push_front((at + most, piece.split_off(most as usize)));
        }
        Some((at, piece))
    }

    /// Reads the parts behind the first one and requests further ones at once.
    fn fill(&mut self, cx: &mut Context<'_>, tuning: &Tuning) {
        loop {
            self.read_ahead(cx, tuning);
            self.heed_refusals();
            self.read_past(cx, tuning);
            if let Some(width) = self.width.judge(Instant::now()) {
                self.replay.origin().use_width(width);
                tracing::debug!(width, at_byte = self.frontier, "a body's width changed");
            }
            if !self.widen() {
                break;
            }
        }
        if self.frontier >= self.end && self.parts.iter().all(Part::is_here) {
            self.drop_first();
            (self.slot, self.spare, self.anchor) = (None, None, None);
        }
    }

    /// Reads what has arrived for the parts behind the first one. What may be delivered at once is, before more is read.
    fn read_ahead(&mut self, cx: &mut Context<'_>, tuning: &Tuning) {
        for i in 1..self.parts.len() {
            while (self.limit.is_none() || self.parts[i].ahead.is_empty())
                && let Poll::Ready(Some(read)) = self.parts[i].poll_source(cx, tuning)
            {
                match read {
                    Ok(bytes) => self.came(i, bytes),
                    Err(error) => self.give_up(i, &error),
                }
            }
        }
    }

    /// Counts bytes that the request of part `i` brought.
    fn came(&mut self, i: usize, bytes: usize) {
        self.width.came(bytes);
        if let Some(first) = &mut self.first {
            first.came(bytes);
        }
        let part = &mut self.parts[i];
        let is_here = part.is_here();
        let Some(fetch) = &mut part.fetch else {
            return;
        };
        if fetch.under_way.answered() && self.grant.given() {
            self.replay.tolerated(Instant::now());
        }
        if is_here && let Some(Fetch { slot, .. }) = part.fetch.take() {
            let room = self.replay.origin().has_room_for_a_part(0);
            if self.spare.is_none() && self.anchor.is_some() && room && !self.grant.is_over() {
                self.spare = slot;
            }
        }
    }

    /// Connections that deliver something that is needed.
    pub(super) fn busy(&self) -> usize {
        self.asked() + usize::from(self.first_is_due())
    }

    /// Parts with a request of their own.
    pub(super) fn asked(&self) -> usize {
        self.parts
            .iter()
            .filter(|part| part.fetch.is_some())
            .count()
    }

    /// Whether the original response delivers what the client waits for.
    pub(super) fn first_is_due(&self) -> bool {
        let due = self.parts.iter().find(|part| !part.is_here());
        due.is_some_and(|due| due.is_gap() && self.first_is_at(due.next))
    }

    pub(super) fn first_is_at(&self, position: u64) -> bool {
        self.first
            .as_ref()
            .is_some_and(|first| first.next() == position)
    }

    /// Adds a part at the frontier, without a request: for when no part is left and the body is not complete.
    fn go_on(&mut self) {
        let left = self.end - self.frontier;
        let segment = self.segment();
        let end = if self.grant.is_over() || left < segment + segment / 2 {
            self.end
        } else {
            self.frontier + segment
        };
        self.parts.push_back(Part::gap(self.frontier, end));
        self.frontier = end;
    }

    /// What the original response delivers of the next part, after skipping what lies before it. `None` if it failed; the part is
    /// then fetched otherwise.
    fn poll_first(
        &mut self,
        cx: &mut Context<'_>,
        tuning: &Tuning,
    ) -> Poll<Option<Result<(u64, Bytes), BodyError>>> {
        let (Some(first), Some(due)) = (&mut self.first, self.parts.front_mut()) else {
            return Poll::Ready(None);
        };
        while first.next() < due.next {
            if let Err(error) = ready!(first.poll_past(cx, tuning.idle_read, due.next)) {
                self.lose_first(&error);
                return Poll::Ready(None);
            }
        }
        match first.poll_piece(cx, tuning, due.end) {
            Poll::Ready(Some(Ok(piece))) => {
                let at = due.next;
                due.next += piece.len() as u64;
                self.width.came(piece.len());
                Poll::Ready(Some(Ok((at, piece))))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Ready(None) => Poll::Ready(Some(Err(BodyError::Cut))),
            Poll::Pending => Poll::Pending,
        }
    }

    fn lose_first(&mut self, error: &BodyError) {
        self.drop_first();
        let counters = &self.replay.origin().state().counters;
        counters.firsts_lost.increment();
        tracing::debug!(id = self.replay.id(), %error, "the first response of a body in parts broke");
    }

    fn drop_first(&mut self) {
        if let Some(first) = self.first.take() {
            let counters = &self.replay.origin().state().counters;
            counters.parts_wasted.add(first.wasted);
        }
    }

    /// Reads the original response up to what is missing: at once if it will be needed, else a little now and then.
    fn read_past(&mut self, cx: &mut Context<'_>, tuning: &Tuning) {
        let here = self.parts.iter().find(|part| !part.is_here());
        let here = here.map_or(self.frontier, |part| part.next);
        let is_late = self.is_late();
        let needed = is_late || self.needs_first();
        while let Some(first) = &mut self.first
            && first.next() < here
            && (needed || first.may_trickle())
        {
            match first.poll_past(cx, tuning.idle_read, here) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => self.lose_first(&error),
                Poll::Pending => break,
            }
        }
        if let Some(first) = &mut self.first {
            if !needed {
                // Nobody waits for it, so it is not late.
                first.pause();
            }
            // It has reached the part that the origin refuses.
            if let Some(due) = self.parts.front_mut()
                && due.ahead.is_empty()
                && (is_late || due.source().is_some_and(Source::is_asked_again))
                && first.next() == due.next
            {
                due.fetch = None;
            }
        }
    }

    /// Whether the client has waited so long for one part that the original response may be faster.
    fn is_late(&self) -> bool {
        let stall = self.replay.origin().transfers().stall_window;
        self.waits_since
            .is_some_and(|since| since.elapsed() > stall)
    }

    /// Whether the original response will have to deliver something that was planned for others.
    fn needs_first(&self) -> bool {
        let over = self.grant.is_over() && self.frontier < self.end;
        let asked_again = self.parts.front().and_then(Part::source);
        over || self.parts.iter().any(Part::is_gap)
            || asked_again.is_some_and(Source::is_asked_again)
    }
}

impl Drop for Parallel {
    fn drop(&mut self) {
        self.drop_first();
    }
}
