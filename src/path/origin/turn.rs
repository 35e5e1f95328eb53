//! When a request may be sent: its exchange slot and its turn in the queue.

use std::time::Instant;

use awc::FrozenClientRequest;

use super::{
    slots::{NoSlot, Slot},
    target::kind_of,
    worker::Origin,
};
use crate::{
    path::{network::Network, range},
    traffic::tuning::Tuning,
};

/// A large response gives way to small ones that arrive up to this share of the exchange timeout later.
const LARGE_WAIT: f64 = 0.25;

impl Origin {
    /// A slot, if one is free for a request of this network.
    pub(super) fn free_slot(&self, head: &FrozenClientRequest, network: Network) -> Option<Slot> {
        let slots = &self.shared.slots;
        slots.take_free(&slots.ask(network, head.get_uri().path()))
    }

    /// Waits for a slot.
    ///
    /// # Errors
    ///
    /// [`NoSlot`] at the deadline.
    pub(super) async fn wait_for_slot(
        &self,
        head: &FrozenClientRequest,
        network: Network,
        tuning: &Tuning,
        deadline: Instant,
    ) -> Result<Slot, NoSlot> {
        let slots = &self.shared.slots;
        let mut ask = slots.ask(network, head.get_uri().path());
        ask.is_large = self.is_large(head);
        if let Some(slot) = slots.take_now(&ask) {
            return Ok(slot);
        }
        let mut turn = Instant::now();
        if ask.is_large && tuning.small_first {
            // Limited, so that it is not delayed forever.
            turn += tuning.exchange_timeout.mul_f64(LARGE_WAIT);
        }
        slots.take(&ask, turn, deadline).await
    }

    /// Whether the response will be large, as far as that is known.
    fn is_large(&self, head: &FrozenClientRequest) -> bool {
        let sizes = &self.state().sizes;
        let asked = head
            .headers()
            .get(actix_http::header::RANGE)
            .and_then(range::asked);
        asked
            .or_else(|| sizes.expect(kind_of(head)))
            .is_some_and(|bytes| sizes.is_large(bytes))
    }
}
