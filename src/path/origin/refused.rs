//! Parts that the origin refuses, and parts that are given up for other requests.

use std::{rc::Rc, task::Context, time::Instant};

use super::{
    body_error::BodyError, parallel::Parallel, part::Part, rest_error::RestRefusal, source::Source,
};

impl Parallel {
    /// Gives up all parts but the original response's, if other requests need the connections.
    pub fn make_room(&mut self, cx: &mut Context<'_>) {
        if !self.member.is_called(cx.waker()) {
            return;
        }
        self.spare = None;
        // If the original response has failed, the next part is the body's only connection.
        let kept = usize::from(self.first.is_none());
        let mut given_up = 0;
        for part in self.parts.iter_mut().skip(kept) {
            given_up += u64::from(part.fetch.take().is_some());
        }
        let counters = &self.replay.origin().state().counters;
        counters.parts_yielded.add(given_up);
        self.withdraw();
    }

    /// Removes parts at the end that have received nothing.
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

    /// Reduces the number of connections when the origin refuses a part (429, 503) or is late with it. The last part requested
    /// waits until a connection is allowed for it; a part that others wait behind is requested again later.
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
        // Nothing of it has arrived, and it is not the first, which the client waits for.
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
            // Its retry was paid for, but is not made.
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

    /// A part cannot be fetched: the original response delivers it, and no more parts are requested.
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
