//! An exchange that is under way, as the queue knows it.

use std::{sync::Arc, time::Instant};

use super::slot_request::SlotRequest;
use crate::path::origin::holder::Holder;

/// An exchange that is under way: with a slot, or beyond them.
#[derive(Debug)]
pub(super) struct Entry {
    /// What it waits for, as it says itself.
    pub(super) holder: Arc<Holder>,
    /// The request by which it got its slot.
    pub(super) ask: SlotRequest,
    /// When it got that.
    pub(super) taken: Instant,
    /// Why it goes on without a slot.
    pub(super) why: Why,
}

/// Why an exchange goes on without a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// It waited for its client.
    Parked,
    /// The origin was silent.
    Silent,
    /// The origin was silent, and its slot went to another request to find out whether it answers that.
    Probe,
    /// Its body moved, but it held a slot for long while others waited.
    Moves,
}

impl Why {
    pub(super) fn is_silent(self) -> bool {
        matches!(self, Why::Silent | Why::Probe)
    }

    /// How much it adds to those that last, and to those that probe.
    pub(super) fn counts(self) -> (usize, usize) {
        let lasts = matches!(self, Why::Silent | Why::Moves);
        (usize::from(lasts), usize::from(self == Why::Probe))
    }
}
