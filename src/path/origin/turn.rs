//! When a request may go out: its slot, or the answer of one for the same that it joined.

use std::{sync::Arc, time::Instant};

use awc::FrozenClientRequest;

use super::{
    collapse::{Joined, Key, Place, Whole},
    fetch_error::FetchError,
    slots::Slot,
    target::kind_of,
    worker::Origin,
};
use crate::{
    path::{network::Network, range},
    traffic::tuning::Tuning,
};

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
    /// A slot, if one is free for a request of this network.
    pub(super) fn free_slot(&self, head: &FrozenClientRequest, network: Network) -> Option<Slot> {
        let slots = &self.shared.slots;
        slots.take_free(&slots.ask(network, head.get_uri().path()))
    }

    /// Waits for leave to send a request, or for the answer of another one.
    ///
    /// # Errors
    ///
    /// [`FetchError::NoSlot`] at the deadline.
    pub(super) async fn turn(
        &self,
        head: &FrozenClientRequest,
        network: Network,
        is_get: bool,
        tuning: &Tuning,
        deadline: Instant,
    ) -> Result<Turn, FetchError> {
        let slots = &self.shared.slots;
        let mut ask = slots.ask(network, head.get_uri().path());
        ask.is_large = self.is_large(head);
        if let Some(slot) = slots.take_now(&ask) {
            return Ok(Turn::Own(slot, Joined::default()));
        }
        let mut turn = Instant::now();
        if ask.is_large && tuning.small_first {
            // Not for ever.
            turn += tuning.exchange_timeout.mul_f64(LARGE_WAIT);
        }
        let key = (is_get && tuning.collapse && self.may_fit(head, tuning))
            .then(|| Key::of(kind_of(head).0, head.headers()))
            .flatten();
        while let Some(key) = &key {
            let answer = match self.shared.collapse.join(key.clone()) {
                Place::Lead(lead) => {
                    let slot = slots.take(&ask, turn, deadline).await?;
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
        let slot = slots.take(&ask, turn, deadline).await?;
        Ok(Turn::Own(slot, Joined::default()))
    }

    /// Whether the answer may be small enough to be read whole, as far as that is known.
    fn may_fit(&self, head: &FrozenClientRequest, tuning: &Tuning) -> bool {
        let expected = self.published().sizes.expect(kind_of(head));
        expected.is_none_or(|bytes| bytes <= tuning.buffer.as_u64())
    }

    /// Whether it will bring more than most, as far as that is known.
    fn is_large(&self, head: &FrozenClientRequest) -> bool {
        let sizes = &self.published().sizes;
        let asked = head
            .headers()
            .get(actix_http::header::RANGE)
            .and_then(range::asked);
        asked
            .or_else(|| sizes.expect(kind_of(head)))
            .is_some_and(|bytes| sizes.is_large(bytes))
    }
}
