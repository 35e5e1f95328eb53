//! When a request may go out: how long it waits for its slot, by how much it will bring.

use std::time::{Duration, Instant};

use awc::FrozenClientRequest;

use super::{
    fetch::{FetchError, kind_of},
    slots::Slot,
    worker::Origin,
};
use crate::{path::range, traffic::tuning::Tuning};

/// A large answer waits for small ones that come up to this share of the exchange timeout later.
const LARGE_WAIT: f64 = 0.25;

impl Origin {
    /// Waits for leave to send a request.
    ///
    /// # Errors
    ///
    /// [`FetchError::NoSlot`] at the deadline.
    pub(super) async fn turn(
        &self,
        head: &FrozenClientRequest,
        tuning: &Tuning,
        deadline: Instant,
    ) -> Result<Slot, FetchError> {
        let slots = &self.shared.slots;
        if let Some(slot) = slots.take_free() {
            return Ok(slot);
        }
        let turn = Instant::now() + self.handicap(head, tuning);
        Ok(slots.take(turn, deadline).await?)
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
            .or_else(|| Some(sizes.expect(kind_of(head))?.bytes))
            .is_some_and(|bytes| sizes.is_large(bytes));
        if is_large {
            tuning.exchange_timeout.mul_f64(LARGE_WAIT)
        } else {
            Duration::ZERO
        }
    }
}
