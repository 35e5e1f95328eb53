//! Parts that the origin does not give, and those that are given up for others.

use std::{rc::Rc, task::Context, time::Instant};

use super::{
    body_error::BodyError, parallel::Parallel, part::Part, rest_error::RestRefusal, source::Source,
};

impl Parallel {
    /// Gives up all that is not the first response's, where others need the room.
    pub fn make_room(&mut self, cx: &mut Context<'_>) {
        if !self.member.is_called(cx.waker()) {
            return;
        }
        self.spare = None;
        // Where the first response broke, the part that is due is the body's one connection.
        let kept = usize::from(self.first.is_none());
        let mut given_up = 0;
        for part in self.parts.iter_mut().skip(kept) {
            given_up += u64::from(part.fetch.take().is_some());
        }
        let counters = &self.replay.origin().state().counters;
        counters.parts_yielded.add(given_up);
        self.withdraw();
    }

    /// Parts at the back of which nothing came are none any more.
    fn withdraw(&mut self) {
        while self.parts.len() > 1
            && let Some(last) = self.parts.back()
            && last.is_gap()
            && last.ahead.is_empty()
        {
            self.frontier = last.next;
            self.parts.pop_back();
        }
    }

    /// Fewer connections as soon as the origin turns a part away (429, 503), or is late with it. What was asked for last
    /// waits until a connection is due for it; a part that others wait behind is asked for again, later.
    pub(super) fn heed_refusals(&mut self) {
        let refusals = || {
            self.parts
                .iter()
                .filter_map(Part::source)
                .filter_map(Source::refusal)
        };
        let refused = refusals().count();
        if refused == 0 {
            return;
        }
        let meant = refusals().any(|refusal| refusal != RestRefusal::Late);
        let turned_away = refusals().any(|refusal| refusal == RestRefusal::TurnedAway);
        let origin = Rc::clone(self.replay.origin());
        let counters = &origin.state().counters;
        counters.parts_refused.add(refused as u64);
        if turned_away {
            origin.part_turned_away();
        }
        let now = Instant::now();
        let was = self.width.get();
        let is_over = self.width.punish(now) && was == 1 && meant;
        origin.use_width(self.width.get());
        tracing::debug!(
            refused,
            width = self.width.get(),
            "the origin does not give so many parts at once"
        );
        // Nothing has come of it, and it is not the first, which the client waits for.
        let waits = |part: &Part| {
            part.ahead.is_empty()
                && part
                    .source()
                    .is_some_and(|source| source.refusal().is_some())
        };
        while self.parts.len() > 1
            && self.busy() > self.width.get()
            && let Some(last) = self.parts.back()
            && waits(last)
        {
            self.frontier = last.next;
            self.parts.pop_back();
            // It was to be asked for once more, and is not.
            origin.refund(1.0);
        }
        for part in &mut self.parts {
            if is_over && self.first.is_some() && waits(part) {
                part.fetch = None;
                origin.refund(1.0);
            } else if let Some(source) = part.source_mut() {
                source.note_refusal();
            }
        }
        if is_over {
            self.grant.end();
            self.replay.refused(now);
            self.withdraw();
        }
    }

    /// A part cannot be had: the first response brings it, and no more are asked for.
    pub(super) fn give_up(&mut self, i: usize, error: &BodyError) {
        let origin = self.replay.origin();
        let part = &mut self.parts[i];
        let now = Instant::now();
        if part.source().and_then(Source::refusal) == Some(RestRefusal::Denied) {
            self.replay.refused(now);
        }
        origin.state().counters.parts_given_up.increment();
        self.width.punish(now);
        origin.use_width(self.width.get());
        self.grant.end();
        tracing::info!(id = self.replay.id(), trace_id = self.replay.trace_id().map(tracing::field::display), at_byte = part.next, %error, "a part of a body cannot be had, the body goes on over one connection");
        part.fetch = None;
    }
}
