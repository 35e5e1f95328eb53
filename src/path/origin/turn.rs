//! When a request may go out: its slot, or the answer of one for the same that it joined.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use awc::FrozenClientRequest;

use super::{
    collapse::{Joined, Key, Place, Whole},
    fetch::{FetchError, kind_of},
    slots::Slot,
    worker::Origin,
};
use crate::{path::range, traffic::tuning::Tuning};

/// A large answer waits for small ones that come up to this share of the exchange timeout later.
const LARGE_WAIT: f64 = 0.25;

/// What a request waited for.
pub(super) enum Turn {
    /// It goes out, also for those who joined it.
    Own(Slot, Joined),
    /// It need not.
    Shared(Arc<Whole>),
}

impl Origin {
    /// Waits for leave to send a request, or for the answer of another one.
    ///
    /// # Errors
    ///
    /// [`FetchError::NoSlot`] at the deadline.
    pub(super) async fn turn(
        &self,
        head: &FrozenClientRequest,
        is_get: bool,
        tuning: &Tuning,
        deadline: Instant,
    ) -> Result<Turn, FetchError> {
        let slots = &self.shared.slots;
        if let Some(slot) = slots.take_free() {
            return Ok(Turn::Own(slot, Joined::default()));
        }
        let turn = Instant::now() + self.handicap(head, tuning);
        let key = (is_get && tuning.collapse && self.may_fit(head, tuning))
            .then(|| Key::of(kind_of(head).0, head.headers()))
            .flatten();
        while let Some(key) = &key {
            let answer = match self.shared.collapse.join(key.clone()) {
                Place::Lead(lead) => {
                    let slot = slots.take(turn, deadline).await?;
                    return Ok(Turn::Own(slot, lead.close()));
                }
                Place::Follow(answer) => answer,
            };
            match tokio::time::timeout_at(deadline.into(), answer).await {
                Ok(Ok(Some(whole))) if whole.answers(head.headers()) => {
                    let published = self.published();
                    published.counters.origin.collapsed.increment();
                    published.sizes.add(whole.body.len() as u64);
                    return Ok(Turn::Shared(whole));
                }
                // Not for everybody, or not for this one.
                Ok(Ok(_)) => break,
                // The one that was joined gave up before it went out.
                Ok(Err(_)) => {}
                Err(_) => return Err(slots.timed_out().into()),
            }
        }
        let slot = slots.take(turn, deadline).await?;
        Ok(Turn::Own(slot, Joined::default()))
    }

    /// Whether the answer may be small enough to be read whole, as far as that is known.
    fn may_fit(&self, head: &FrozenClientRequest, tuning: &Tuning) -> bool {
        let expected = self.published().sizes.expect(kind_of(head));
        expected.is_none_or(|bytes| bytes <= tuning.buffer.as_u64())
    }

    /// How much later than others it goes: one that will bring more than most waits for the small ones, but not for
    /// ever.
    fn handicap(&self, head: &FrozenClientRequest, tuning: &Tuning) -> Duration {
        if !tuning.small_first {
            return Duration::ZERO;
        }
        let sizes = &self.published().sizes;
        let asked = head
            .headers()
            .get(actix_http::header::RANGE)
            .and_then(range::asked);
        let is_large = asked
            .or_else(|| sizes.expect(kind_of(head)))
            .is_some_and(|bytes| sizes.is_large(bytes));
        if is_large {
            tuning.exchange_timeout.mul_f64(LARGE_WAIT)
        } else {
            Duration::ZERO
        }
    }
}
