//! An exchange that is under way, as the slot queue records it.

use std::{sync::Arc, time::Instant};

use super::slot_request::SlotRequest;
use crate::path::origin::holder::Holder;

/// An exchange that is under way, with or without a slot.
#[derive(Debug)]
pub(super) struct Entry {
    /// What it waits for, written by the exchange.
    pub(super) holder: Arc<Holder>,
    /// The request by which it got its slot.
    pub(super) ask: SlotRequest,
    /// When it got its slot.
    pub(super) taken: Instant,
    /// Why it continues without a slot.
    pub(super) why: Why,
}

/// Why an exchange continues without a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It waited for its client.
    Parked,
    /// The origin was silent.
    Silent,
    /// The origin was silent, and its slot was lent to another request to test whether the origin answers that.
    Probe,
    /// Its body was moving, but it had held its slot for long while others waited.
    Moves,
}

impl Why {
    pub(super) fn is_silent(self) -> bool {
        matches!(self, Why::Silent | Why::Probe)
    }

    /// How much it adds to the counts of lasting exchanges and of probes.
    pub(super) fn counts(self) -> (usize, usize) {
        let lasts = matches!(self, Why::Silent | Why::Moves);
        (usize::from(lasts), usize::from(self == Why::Probe))
    }
}
